import { ContinualDiffusionError } from '../errors.js'
import { call } from './call.js'

/**
 * Refuses work on the CPU that can't fit in memory, from its size alone: the system would promise that memory, and end the process
 * when it is used.
 *
 * @param bytes that it takes at least
 * @param what takes them, and what to do
 * @throws ContinualDiffusionError `ERR_OUT_OF_MEMORY`
 */
export function checkFits(bytes: number, device: string, what: string): void {
  if (device !== 'cpu') return // whose own allocator refuses
  const available = call((addon) => addon.availableMemory())
  if (bytes <= available) return
  const inMiB = (value: number) => `${Math.ceil(value / 2 ** 20).toLocaleString('en')} MiB`
  throw new ContinualDiffusionError(
    'ERR_OUT_OF_MEMORY',
    `${what}: it takes at least ${inMiB(bytes)} of memory, and ${inMiB(available)} are available`,
  )
}

/**
 * Bytes of memory that work on a device takes now, and the most that it has taken in this process.
 *
 * @category Learner
 */
export interface MemoryUse {
  /** On a CUDA device: its tensors. On the CPU: the whole process. */
  readonly used: number
  readonly peak: number
}

/** @param device `cpu` or `cuda:N` */
export function memoryUse(device: string): MemoryUse {
  if (device !== 'cpu') return call((addon) => addon.cudaMemory(Number(device.slice('cuda:'.length))))
  return { used: process.memoryUsage.rss(), peak: process.resourceUsage().maxRSS * 1024 }
}
