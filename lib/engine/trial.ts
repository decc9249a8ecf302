import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { Addon } from './addon.js'
import { mpiLibraries } from './launch.js'
import { addonFile } from './load.js'

/** A CUDA device that the trial process found. */
export interface TriedDevice {
  /** e.g. `NVIDIA H200`; `CUDA device` where the addon was built without CUDA's headers. */
  readonly name: string
  /** Why it can't be used; null where it can, or was not tried. */
  readonly error: string | null
  /** Why libtorch's operators serve in the place of our kernels; null where ours do, or were not tried. */
  readonly noKernels: string | null
}

/** Version and library of a transport, or why there is none. */
export type TriedTransport = { readonly version: string; readonly library: string } | { readonly error: string }

/** What a child process that loaded the addon said. */
export interface Trial {
  readonly version: string
  readonly libtorchVersion: string
  /** Null where libtorch is a CPU build. */
  readonly cudaVersion: string | null
  readonly cudaDevices: readonly TriedDevice[]
  /** Why CUDA could not start, e.g. by reason of too old a driver; null where it could, also without a driver or device. */
  readonly cudaError: string | null
  /** As `Addon.cpu()`. */
  readonly cpu: ReturnType<Addon['cpu']>
  /** What carries sums between processes. */
  readonly mpi: TriedTransport
  readonly nccl: TriedTransport
}

const script = `
const [file, wanted, ...libraries] = process.argv.slice(1)
const addon = require(file)
const { version, libtorchVersion, cudaVersion } = addon
const failureOf = (run) => {
  try {
    return run() ?? null
  } catch (error) {
    return error.message
  }
}
let names = []
const cudaError = cudaVersion === null ? null : failureOf(() => void (names = addon.cudaDevices()))
const cudaDevices = names.map((name, i) => {
  const tried = wanted === 'all' || wanted === String(i)
  const error = tried ? failureOf(() => addon.tryCudaDevice(i)) : null
  return { name, error, noKernels: tried && error === null ? 'the process that tried them ended' : null }
})
const firstOf = (libraries) => {
  const errors = []
  for (const library of libraries) {
    try {
      return { version: addon.transportVersion(library), library: library ?? 'libnccl.so.2' }
    } catch (error) {
      errors.push(error.message)
    }
  }
  return { error: errors.at(-1) }
}
const transports = { mpi: firstOf(libraries), nccl: firstOf([undefined]) }
// Said before our kernels are tried, and once more after: were they to take this process down, the rest still stands.
const say = () => {
  const found = { version, libtorchVersion, cudaVersion, cudaDevices, cudaError, cpu: addon.cpu(), ...transports }
  require('node:fs').writeSync(1, JSON.stringify(found) + '\\n')
}
say()
cudaDevices.forEach((device, i) => {
  if (device.noKernels !== null) device.noKernels = failureOf(() => addon.tryCudaKernels(i))
})
say()
`

const limit = 120_000 // ms; a GPU's first use takes seconds

/**
 * Loads an addon in a child process, so that a crash of it, or of a driver, takes that one; asks it for its facts, and
 * lets it compute something on CUDA devices.
 *
 * @param options.file default: this package's addon
 * @param options.device number of the CUDA device to try; default: all of them
 * @throws Error how the process ended, where it ended before it could answer
 */
export function trial({ file = addonFile, device }: { file?: string; device?: number } = {}): Promise<Trial> {
  if (!existsSync(file)) return Promise.reject(new Error(`it is not built: there is no ${file}`))
  const args = ['-e', script, file, String(device ?? 'all'), ...mpiLibraries(process.env)]
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { timeout: limit }, (error, stdout, stderr) => {
      const answer = stdout.split('\n').at(-2)
      if (answer !== undefined) return resolve(JSON.parse(answer) as Trial)
      const said = /^\s*(?:\w*Error|terminate called|.*what\(\)).*$/m.exec(stderr)?.[0]?.trim()
      const ended = error?.killed
        ? `its process gave no answer in ${limit / 1000} s`
        : error?.signal
          ? `its process ended by ${error.signal}`
          : `exit code ${error?.code ?? 0}`
      reject(new Error(said ? `${said} (${ended})` : ended))
    })
  })
}
