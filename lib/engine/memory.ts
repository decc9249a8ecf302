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
