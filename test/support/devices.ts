import { loadAddon } from '../../lib/engine/load.js'
import { trial } from '../../lib/engine/trial.js'

export type TestDevice = 'cpu' | 'cuda'

/** The devices to test on, in fp32 unless a test says otherwise: the CPU and, where one works, the first CUDA device. */
export const devices: readonly TestDevice[] = (await cudaWorks()) ? ['cpu', 'cuda'] : ['cpu']

if (devices.length === 1) console.warn('skipped: no CUDA device')

async function cudaWorks(): Promise<boolean> {
  if (loadAddon().cudaVersion === null) return false
  const { cudaDevices } = await trial({ device: 0 })
  return cudaDevices[0]?.error === null
}

/**
 * How far a number may be from an oracle's: on the CPU as far as the test says. On CUDA other kernels sum in other orders, for
 * which 10⁻³ leaves room and which TF32 in the place of fp32 would still miss in most.
 */
export function tolerance(device: TestDevice, onCpu: number): number {
  return device === 'cpu' ? onCpu : Math.max(onCpu, 1e-3)
}
