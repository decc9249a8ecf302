import { types } from 'node:util'
import { ContinualDiffusionError } from '../errors.js'
import type { Device, Precision } from '../validation/fields.js'
import { warn } from '../validation/printable.js'
import { call } from './call.js'
import { type Trial, trial } from './trial.js'

/**
 * Turns what the user asked for into what the addon takes.
 *
 * @param local number of this process among those of a group on this machine: each takes a CUDA device of its own, where none is named
 * @returns `device`: `cpu` or `cuda:N`; `precision`: `fp32`, `tf32` or `bf16`
 * @throws ContinualDiffusionError `ERR_DEVICE_UNAVAILABLE` for a device that isn't there or doesn't work,
 *   `ERR_INVALID_ARGUMENT` for a precision that the device doesn't have
 */
export async function resolveDevice(
  device: Device,
  precision: Precision,
  local = 0,
): Promise<{ device: string; precision: 'fp32' | 'tf32' | 'bf16' }> {
  const found = await resolve(device, local)
  if (precision === 'tf32' && found === 'cpu') {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      "precision is 'tf32' and the device is 'cpu'; only CUDA devices have tf32: use 'fp32', 'bf16' or 'auto'",
    )
  }
  if (precision !== 'auto') return { device: found, precision }
  // Every GPU that the supported libtorch versions run on multiplies bf16. Processors gain by it only with AMX: by AVX-512's
  // bf16 instructions alone, steps take longer than in float32 (docs/performance.md).
  const faster = found !== 'cpu' || call((addon) => addon.cpu().amx)
  return { device: found, precision: faster ? 'bf16' : 'fp32' }
}

async function resolve(device: Device, local: number): Promise<string> {
  if (device === 'cpu') return device
  const version = call((addon) => addon.cudaVersion)
  if (version === null) {
    if (device === 'auto') return 'cpu'
    throw unavailable(
      device,
      "the libtorch in use is a CPU build; use 'cpu' or 'auto', or install again with a CUDA build of libtorch",
    )
  }
  const index = device.includes(':') ? Number(device.slice(device.indexOf(':') + 1)) : await deviceOf(local)
  const { why, cause } = reasonAgainst(await tried(index), index, version)
  if (why === null) return `cuda:${index}`
  if (device !== 'auto') throw unavailable(device, why, cause)
  // Without a GPU the CPU is what was asked for. With one that fails, all would be slow for a reason that nobody sees.
  if (cause !== undefined && !warned) {
    warned = true
    warn(`computing on the CPU, because the GPU can't be used: ${cause.message}`, 'CPU_FOR_GPU')
  }
  return 'cpu'
}

/** A launcher may show each process only its own devices. */
async function deviceOf(local: number): Promise<number> {
  if (local === 0) return 0
  const found = await tried(local)
  const devices = types.isNativeError(found) ? 0 : found.cudaDevices.length
  return devices === 0 ? local : local % devices
}

let warned = false

/** Why a device can't be used, by what the trial process said of it; `cause` where something failed. */
export function reasonAgainst(
  found: Trial | Error,
  index: number,
  version: string,
): { why: string | null; cause?: Error } {
  if (types.isNativeError(found)) {
    return {
      why: `a trial process that starts CUDA ${version} failed: ${found.message}; see that nvidia-smi works, or use 'cpu'`,
      cause: found,
    }
  }
  const { cudaDevices, cudaError } = found
  if (cudaError !== null) {
    return {
      why: `CUDA ${version} can't start: ${cudaError} See that nvidia-smi works and shows CUDA ${version} or newer, or use 'cpu'`,
      cause: new Error(cudaError),
    }
  }
  if (cudaDevices.length === 0) {
    const container = 'in a container, that it was started with access to the GPU'
    return {
      why: `no CUDA device found by libtorch's CUDA ${version}; see that nvidia-smi lists one and, ${container}`,
    }
  }
  const device = cudaDevices[index]
  if (device === undefined) {
    return { why: `CUDA devices found: ${cudaDevices.map(({ name }, i) => `cuda:${i} (${name})`).join(', ')}` }
  }
  if (device.error === null) return { why: null }
  return { why: `${device.name} fails at a first computation: ${device.error}`, cause: new Error(device.error) }
}

/** The trial process's answers, by the device tried: they take seconds, and stay the same while this process lives. */
const trials = new Map<number, Promise<Trial>>()

function tried(device: number): Promise<Trial | Error> {
  const known = trials.get(device) ?? trial({ device }).then((found) => withoutFailedKernels(found, device))
  trials.set(device, known)
  return known.catch((error: Error) => {
    trials.delete(device) // it may go better the next time
    return error
  })
}

/** Lets libtorch's operators serve where the trial told why our kernels can't. */
function withoutFailedKernels(found: Trial, device: number): Trial {
  const why = found.cudaDevices[device]?.noKernels
  if (why) {
    call((addon) => addon.useNoCudaKernels(device, why))
    warn(
      `cuda:${device} computes without the kernels of continual-diffusion, and so slower: ${why}`,
      'CONTINUAL_DIFFUSION_NO_KERNELS',
    )
  }
  return found
}

function unavailable(device: string, why: string, cause?: unknown): ContinualDiffusionError {
  return new ContinualDiffusionError('ERR_DEVICE_UNAVAILABLE', `device '${device}' is not available: ${why}`, { cause })
}
