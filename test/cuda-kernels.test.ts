import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { engineRecord, loadAddon } from '../lib/engine/load.js'
import { nativeCheck, run } from './support/native-check.js'

it('our CUDA kernels, run by the processor, give what libtorch’s operators give in float64', async () => {
  const { stdout } = await run(await nativeCheck('cuda_kernels'))
  const errors = stdout.trim().split('\n')
  expect(errors).toHaveLength(103)
  for (const line of errors) {
    const [name, error] = line.split(' ')
    expect(Number(error), name).toBeLessThan(name?.includes('BFloat16') ? 0.01 : 5e-6)
  }
}, 600_000)

const { cudaVersion } = loadAddon()
if (cudaVersion === null) console.warn('skipped: this libtorch has no CUDA (npm run check:cuda brings one)')

describe.skipIf(cudaVersion === null)('NVRTC', () => {
  it('compiles them for the GPUs that libtorch serves, and for newer ones than it knows', async () => {
    // Without a driver NVRTC is not loaded by libtorch, which knows where it lies beside it.
    const nvidia = path.join(engineRecord()?.libtorch.path ?? '', '..', 'nvidia')
    const packages = await readdir(nvidia).catch(() => [])
    const env = { ...process.env, LD_LIBRARY_PATH: packages.map((name) => path.join(nvidia, name, 'lib')).join(':') }
    const { stdout } = await run(await nativeCheck('cuda_kernels'), ['75', '80', '90', '100', '120', '999'], { env })
    const lines = stdout.trim().split('\n')
    expect(lines.map((line) => line.split(' ', 2).join(' '))).toEqual([
      '75 cubin',
      '80 cubin',
      '90 cubin',
      '100 cubin',
      '120 cubin',
      '999 PTX',
    ])
    for (const line of lines) expect(new Set(line.split(' ').slice(2)).size).toBe(25)
  }, 600_000)
})
