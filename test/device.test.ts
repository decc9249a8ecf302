import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { reasonAgainst } from '../lib/engine/device.js'
import { addonFile, loadAddon } from '../lib/engine/load.js'
import { type Trial, type TriedDevice, trial } from '../lib/engine/trial.js'
import { classIncremental, finetune, Learner, presets } from '../lib/index.js'
import { devices } from './support/devices.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { bandsData, collect, failure, tinyLearner, tinyUNet } from './support/tiny.js'

const run = promisify(execFile)

/** Tries a module that stands in for an addon with CUDA. */
async function trialOf(functions: string, device?: number): Promise<Trial> {
  const file = path.join(await temporaryFolder(), 'addon.cjs')
  const facts = `version: '1', libtorchVersion: '2', cudaVersion: '13.0', cpu: () => ({})`
  await writeFile(file, `module.exports = { ${facts}, ${functions} }`)
  return trial({ file, ...(device === undefined ? {} : { device }) })
}

const refuse = `(text) => { throw Object.assign(new Error(text), { code: 'ERR_DEVICE_UNAVAILABLE' }) }`

describe('the trial process', () => {
  it('tries the device asked for, or all, and tells what fails', async () => {
    const addon = `
      cudaDevices: () => ['A', 'B'], tryCudaDevice: (i) => { if (i === 1) (${refuse})('CUDA error: no kernel image') },
      tryCudaKernels: () => null`
    const [good, bad] = [
      { name: 'A', error: null, noKernels: null },
      { name: 'B', error: 'CUDA error: no kernel image', noKernels: null },
    ]
    expect((await trialOf(addon)).cudaDevices).toEqual([good, bad])
    expect((await trialOf(addon, 0)).cudaDevices).toEqual([good, { ...bad, error: null }])
    expect((await trialOf(addon, 1)).cudaDevices).toEqual([good, bad])
  })

  it('tells why our kernels do not serve', async () => {
    const devices = `cudaDevices: () => ['A', 'B', 'C'], tryCudaDevice: () => undefined`
    const { cudaDevices } = await trialOf(`${devices}, tryCudaKernels: (i) => {
      if (i === 1) throw new Error('CUDA error: an illegal memory access')
      return i === 2 ? 'NVRTC can not be used' : null
    }`)
    const said = [null, 'CUDA error: an illegal memory access', 'NVRTC can not be used']
    expect(cudaDevices).toEqual(said.map((noKernels, i) => ({ name: 'ABC'[i], error: null, noKernels })))
  })

  it('that our kernels take down tells so, and the device can be used', async () => {
    const devices = `cudaDevices: () => ['A', 'B'], tryCudaDevice: () => undefined`
    const { cudaDevices } = await trialOf(`${devices}, tryCudaKernels: () => process.abort()`, 1)
    expect(cudaDevices).toEqual([
      { name: 'A', error: null, noKernels: null },
      { name: 'B', error: null, noKernels: 'the process that tried them ended' },
    ])
  })

  it('tells why CUDA did not start', async () => {
    const { cudaDevices, cudaError } = await trialOf(`cudaDevices: () => (${refuse})('driver too old')`)
    expect({ cudaDevices, cudaError }).toEqual({ cudaDevices: [], cudaError: 'driver too old' })
  })

  it('that the driver takes down is an error with its signal', async () => {
    await expect(trialOf('cudaDevices: () => process.abort()')).rejects.toThrow(/its process ended by SIGABRT/)
  })
})

describe('what is said of a device', () => {
  const found = (cudaDevices: readonly TriedDevice[], cudaError: string | null = null): Trial => {
    const cpu = { capability: '', bf16: false, amx: false, threads: 1 }
    const none = { error: 'not looked for' }
    return {
      version: '1',
      libtorchVersion: '2',
      cudaVersion: '13.0',
      cudaDevices,
      cudaError,
      cpu,
      mpi: none,
      nccl: none,
    }
  }
  const good = { name: 'NVIDIA H200', error: null, noKernels: null }

  it.each<[string, Trial | Error, number, RegExp | null, boolean]>([
    ['works', found([good]), 0, null, false],
    ['there is none', found([]), 0, /^no CUDA device found by libtorch's CUDA 13\.0; see that nvidia-smi lists/, false],
    ['it is another', found([good]), 1, /^CUDA devices found: cuda:0 \(NVIDIA H200\)$/, false],
    ['it fails', found([{ ...good, error: 'CUDA error: x' }]), 0, /^NVIDIA H200 fails at .*: CUDA error: x$/, true],
    ['the driver is old', found([], 'Too old.'), 0, /^CUDA 13\.0 can't start: Too old\. See .*13\.0 or newer/, true],
    ['the trial crashed', new Error('ended by SIGSEGV'), 0, /CUDA 13\.0 failed: ended by SIGSEGV; see/, true],
  ])('%s', (_, answer, index, why, failed) => {
    const reason = reasonAgainst(answer, index, '13.0')
    if (why === null) expect(reason).toEqual({ why: null })
    else expect(reason.why).toMatch(why)
    expect(reason.cause instanceof Error).toBe(failed)
  })
})

const { cudaVersion } = loadAddon()
if (cudaVersion === null) console.warn('skipped: this libtorch has no CUDA to start (npm run check:cuda brings one)')

describe.skipIf(cudaVersion === null)('with a driver that is a stand-in', () => {
  let folder: string

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'fake-driver-'))
    const source = fileURLToPath(new URL('native/fake-driver.c', import.meta.url))
    const library = path.join(folder, 'libcuda.so.1')
    await run(process.env.CC ?? 'cc', ['-shared', '-fPIC', '-Wall', '-Wextra', '-Werror', source, '-o', library])
  })

  afterAll(() => rm(folder, { recursive: true }))

  /** What a process with this driver says when it makes a learner. */
  async function created(device: string, driver: Record<string, string>): Promise<{ stdout: string; stderr: string }> {
    const index = new URL('../dist/index.js', import.meta.url).href
    const code = `
      const { Learner } = await import(${JSON.stringify(index)})
      const options = { unet: ${JSON.stringify(tinyUNet)}, device: ${JSON.stringify(device)} }
      console.log(await Learner.create(options).then(({ device }) => device, ({ code, message }) => code + ' ' + message))`
    const env = { ...process.env, LD_LIBRARY_PATH: folder, ...driver }
    return run(process.execPath, ['--input-type=module', '-e', code], { env })
  }

  const old = { FAKE_DRIVER_VERSION: '12020' }

  it.each<[string, Record<string, string>, RegExp]>([
    ['that is too old', old, /CUDA \d+\.\d can't start: .*driver on your system is too old \(found version 12020\)/],
    ['that has no device', {}, /no CUDA device found by libtorch's CUDA/],
    ['that fails', { FAKE_DRIVER_INIT: '999' }, /can't start: .*CUDA unknown error/],
    ['that does not fit the hardware', { FAKE_DRIVER_INIT: '803' }, /unsupported display driver/],
    ['that takes its process down', { FAKE_DRIVER_CRASH: '1' }, /trial process that starts CUDA.*SIGABRT/],
  ])('%s, the device is not available, and auto is the CPU', async (_, driver, why) => {
    const { stdout } = await created('cuda', driver)
    expect(stdout).toMatch(/^ERR_DEVICE_UNAVAILABLE device 'cuda' is not available: /)
    expect(stdout).toMatch(why)
    const auto = await created('auto', driver)
    expect(auto.stdout).toBe('cpu\n')
    const fails = Object.keys(driver).length > 0
    if (fails) expect(auto.stderr).toMatch(/Warning: computing on the CPU, because the GPU can't be used: /)
    else expect(auto.stderr).toBe('')
  })

  it('doctor says why', async () => {
    const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
    const { stdout } = await run(process.execPath, [main, 'doctor'], {
      env: { ...process.env, LD_LIBRARY_PATH: folder, ...old },
    })
    expect(stdout).toMatch(/CUDA \d+\.\d can't start: .*too old \(found version 12020\)/)
    expect(stdout).not.toMatch(/no CUDA device found/)
  })
})

it.skipIf(!devices.includes('cuda'))(
  'without memory on the GPU for a step, says so, and learners can be used on',
  async () => {
    const learner = await tinyLearner({ unet: presets.fashionMnist, device: 'cuda' })
    const other = await tinyLearner({ device: 'cuda' })
    const [task] = classIncremental(bandsData(32), { tasks: 1 }).tasks
    const learn = (batchSize: number) => collect(learner.learn(task!, finetune(), { steps: 1, batchSize }))
    const images = await other.sample({ count: 2, seed: 1 })
    // About 20 MB an image.
    const error = await failure(learn(100_000))
    expect(error.code).toBe('ERR_OUT_OF_MEMORY')
    expect(error.message).toMatch(/^cuda:0 is out of memory: .*\n.*smaller batch/)
    expect(learner.stepsDone).toBe(0)
    expect((await learn(8)).at(-1)?.loss).toBeLessThan(2)
    expectClose((await other.sample({ count: 2, seed: 1 })).data, images.data, 0.02)
  },
  300_000,
)

it('the addon in use answers as its trial process does', async () => {
  expect((await trial({ file: addonFile })).cudaVersion).toBe(cudaVersion)
  if (devices.includes('cuda')) {
    const learner = await Learner.create({ unet: tinyUNet, device: 'auto' })
    expect(learner).toMatchObject({ device: 'cuda:0', precision: 'bf16' })
    return learner.dispose()
  }
  const error = await failure(Learner.create({ unet: tinyUNet, device: 'cuda' }))
  expect(error.code).toBe('ERR_DEVICE_UNAVAILABLE')
  expect(error.message).toMatch(cudaVersion === null ? /is a CPU build/ : /no CUDA device found|can't start|fails at/)
  const learner = await Learner.create({ unet: tinyUNet, device: 'auto' })
  expect(learner.device).toBe('cpu')
  learner.dispose()
})
