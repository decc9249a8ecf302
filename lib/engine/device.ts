import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { call } from './call.js'
import { ContinualDiffusionError } from './errors.js'
import { addonFile } from './load.js'

/** Where to compute; `auto`: on the first CUDA device when there is one that works, else on the CPU. */
export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

/**
 * In what to multiply: `fp32`; `tf32`, CUDA only; `bf16`, with weights, optimiser state and losses kept in float32.
 * `auto`: bf16 where the hardware multiplies bf16 natively, else fp32.
 */
export type Precision = 'auto' | 'fp32' | 'tf32' | 'bf16'

/**
 * Turns what the user asked for into what the addon takes.
 *
 * @returns `device`: `cpu` or `cuda:N`; `precision`: `fp32`, `tf32` or `bf16`
 * @throws ContinualDiffusionError `ERR_DEVICE_UNAVAILABLE` for a device that isn't there or doesn't work,
 *   `ERR_INVALID_ARGUMENT` for a precision that the device doesn't have
 */
export async function resolveDevice(
  device: Device,
  precision: Precision,
): Promise<{ device: string; precision: 'fp32' | 'tf32' | 'bf16' }> {
  const found = await resolve(device)
  if (precision === 'tf32' && found === 'cpu') {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      "precision is 'tf32', which only CUDA devices have, and the device is 'cpu'; use 'fp32', 'bf16' or 'auto'",
    )
  }
  if (precision !== 'auto') return { device: found, precision }
  // Every GPU that the supported libtorch versions run on multiplies bf16. Processors gain by it only with AMX: by AVX-512's
  // bf16 instructions alone, steps take longer than in float32 (docs/performance.md).
  const faster = found !== 'cpu' || call((addon) => addon.cpu().amx)
  return { device: found, precision: faster ? 'bf16' : 'fp32' }
}

async function resolve(device: Device): Promise<string> {
  if (device === 'cpu') return device
  const version = call((addon) => addon.cudaVersion)
  if (version === null) {
    if (device === 'auto') return 'cpu'
    throw unavailable(
      device,
      "the libtorch in use is a CPU build; use 'cpu' or 'auto', or install again with a CUDA build of libtorch",
    )
  }
  let devices: string[]
  try {
    devices = await probe()
  } catch (cause) {
    if (device === 'auto') return 'cpu'
    throw unavailable(device, "starting CUDA failed in a trial process; see the cause, or use 'cpu'", cause)
  }
  if (devices.length === 0 && device === 'auto') return 'cpu'
  const index = device.includes(':') ? Number(device.slice(device.indexOf(':') + 1)) : 0
  if (index >= devices.length) {
    const there = devices.length === 0 ? 'none' : devices.map((name, i) => `cuda:${i} (${name})`).join(', ')
    throw unavailable(device, `CUDA devices found: ${there}`)
  }
  return `cuda:${index}`
}

/** The answer of the trial process: it takes seconds, and stays the same while this process lives. */
let probed: Promise<string[]> | undefined

/**
 * Names of the CUDA devices, asked for in a child process, so that a driver which takes its process down with it takes
 * that one.
 */
function probe(): Promise<string[]> {
  probed ??= cudaDevices().catch((error: unknown) => {
    probed = undefined
    throw error
  })
  return probed
}

async function cudaDevices(): Promise<string[]> {
  const script = 'process.stdout.write(JSON.stringify(require(process.argv[1]).cudaDevices()))'
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', script, addonFile], { timeout: 120_000 })
  return JSON.parse(stdout) as string[]
}

function unavailable(device: string, why: string, cause?: unknown): ContinualDiffusionError {
  return new ContinualDiffusionError('ERR_DEVICE_UNAVAILABLE', `device '${device}' is not available: ${why}`, { cause })
}
