import { execFile } from 'node:child_process'
import { chmod, cp, lstat, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readSafetensors, type StoredTensor, writeSafetensors } from '../lib/files/safetensors.js'
import {
  ContinualDiffusionError,
  finetune,
  generativeDistillation,
  Learner,
  type LoadOptions,
  paperSchedule,
} from '../lib/index.js'
import { asNobody, temporaryFolder } from './support/folders.js'
import { goldenPath } from './support/golden.js'
import { bandsStream, collect, failure, tinyLearner } from './support/tiny.js'

const weightsFile = 'diffusion_pytorch_model.safetensors'

/** A copy of a diffusers folder as a map of tensors, to be spoiled and written somewhere. */
async function diffusersFolder(change: (tensors: Map<string, StoredTensor>) => void = () => {}): Promise<string> {
  const folder = await temporaryFolder()
  await cp(goldenPath('unet/tiny-gray'), folder, { recursive: true })
  const file = path.join(folder, weightsFile)
  const { tensors, metadata } = await readSafetensors(file)
  const changed = new Map(tensors)
  change(changed)
  await writeSafetensors(file, changed, metadata)
  return folder
}

async function load(folder: string, options: LoadOptions = {}): Promise<Learner> {
  const learner = await Learner.load(folder, { device: 'cpu', precision: 'fp32', ...options })
  onTestFinished(() => learner.dispose())
  return learner
}

describe('a diffusers folder', () => {
  it.each(['tiny-gray', 'tiny-rgb'])(
    '%s, loaded and saved again, has the same weights file byte for byte',
    async (name) => {
      const learner = await load(goldenPath(`unet/${name}`))
      expect(learner).toMatchObject({ tasksLearned: 0, seed: 0, stepsDone: 0 })
      const folder = path.join(await temporaryFolder(), 'saved')
      await learner.save(folder)
      const [before, after] = [
        await readFile(goldenPath(`unet/${name}/${weightsFile}`)),
        await readFile(path.join(folder, weightsFile)),
      ]
      expect(after.equals(before)).toBe(true)
      const config = async (at: string) => {
        const { _diffusers_version, ...rest } = JSON.parse(await readFile(path.join(at, 'config.json'), 'utf8'))
        return rest
      }
      expect(await config(folder)).toEqual(await config(goldenPath(`unet/${name}`)))
    },
  )

  it('gives its schedule and sampler by its scheduler_config.json', async () => {
    const folder = await diffusersFolder()
    const scheduler = {
      _class_name: 'DDIMScheduler',
      _diffusers_version: '0.16.0',
      num_train_timesteps: 500,
      beta_schedule: 'squaredcos_cap_v2',
      prediction_type: 'v_prediction',
      clip_sample: false,
    }
    await writeFile(path.join(folder, 'scheduler_config.json'), JSON.stringify(scheduler))
    const learner = await load(folder)
    // What is left out has diffusers' defaults, not ours.
    expect(learner.schedule).toMatchObject({ timesteps: 500, betas: 'cosine', prediction: 'v', zeroTerminalSnr: false })
    expect(learner.sampler).toMatchObject({ kind: 'ddim', clip: false, spacing: 'leading' })
    const saved = path.join(folder, 'saved')
    await learner.save(saved)
    const written = JSON.parse(await readFile(path.join(saved, 'scheduler_config.json'), 'utf8'))
    expect(written).toMatchObject({ ...scheduler, _diffusers_version: expect.any(String), timestep_spacing: 'leading' })
    const again = await load(saved)
    expect([again.schedule, again.sampler]).toEqual([learner.schedule, learner.sampler])
  })

  it('of a pipeline has the schedule of the scheduler beside it, named either way', async () => {
    const pipeline = await temporaryFolder()
    await rename(await diffusersFolder(), path.join(pipeline, 'unet'))
    await mkdir(path.join(pipeline, 'scheduler'))
    const scheduler = { _class_name: 'FlowMatchEulerDiscreteScheduler', shift: 3 }
    await writeFile(path.join(pipeline, 'scheduler', 'scheduler_config.json'), JSON.stringify(scheduler))
    await writeFile(path.join(pipeline, 'model_index.json'), '{}')
    for (const folder of [pipeline, path.join(pipeline, 'unet')]) {
      expect((await load(folder)).schedule).toMatchObject({ kind: 'flow', shift: 3 })
      const error = await failure(load(folder, { schedule: { timesteps: 100 } }))
      expect(error.message).toMatch(/schedule is given, but .*scheduler_config.json says the network's/)
    }
  })

  it('without a schedule takes the one that is given, or the paper’s with a warning', async () => {
    const folder = await diffusersFolder()
    const warnings: (Error & { code?: string })[] = []
    const note = (warning: Error) => warnings.push(warning)
    process.on('warning', note)
    onTestFinished(() => void process.off('warning', note))
    const schedule = { timesteps: 500, betas: 'cosine' } as const
    expect((await load(folder, { schedule })).schedule).toMatchObject(schedule)
    await setImmediate()
    expect(warnings).toEqual([])
    expect((await load(folder)).schedule).toEqual(paperSchedule)
    await setImmediate()
    expect(warnings.map(({ code }) => code)).toEqual(['CONTINUAL_DIFFUSION_NO_SCHEDULE'])
  })

  it.each<[string, object, RegExp]>([
    ['another class', { _class_name: 'PNDMScheduler' }, /_class_name is 'PNDMScheduler'/],
    [
      'other noise levels',
      { _class_name: 'EulerDiscreteScheduler', use_beta_sigmas: true },
      /use_beta_sigmas is true; expected false/,
    ],
    ['another order', { _class_name: 'DPMSolverMultistepScheduler', solver_order: 3 }, /solver_order is 3; expected 2/],
  ])('with a scheduler of %s is refused', async (_, scheduler, message) => {
    const folder = await diffusersFolder()
    await writeFile(path.join(folder, 'scheduler_config.json'), JSON.stringify(scheduler))
    const error = await failure(load(folder))
    expect(error.code).toBe('ERR_BAD_CHECKPOINT')
    expect(error.message).toMatch(message)
    expect(error.message).toContain('scheduler_config.json')
  })

  it('may hold its weights in half precision', async () => {
    const folder = await diffusersFolder((tensors) => {
      tensors.set('conv_in.bias', {
        dtype: 'BF16',
        shape: [32],
        // 1.5, −2, the smallest subnormal, and zeros.
        data: Uint16Array.from({ length: 32 }, (_, i) => [0x3fc0, 0xc000, 0x0001][i] ?? 0),
      })
      tensors.set('conv_out.bias', { dtype: 'F16', shape: [1], data: Uint16Array.of(0xb800) })
    })
    const saved = path.join(folder, 'saved')
    await (await load(folder)).save(saved)
    const { tensors } = await readSafetensors(path.join(saved, weightsFile))
    expect(tensors.get('conv_in.bias')?.data.slice(0, 4)).toEqual(Float32Array.of(1.5, -2, 2 ** -133, 0))
    expect(tensors.get('conv_out.bias')?.data).toEqual(Float32Array.of(-0.5))
  })

  it.each<[string, (tensors: Map<string, StoredTensor>) => void, RegExp]>([
    [
      'a missing tensor',
      (t) => t.delete('conv_in.bias'),
      /missing tensor 'conv_in.bias'; expected exactly the network's tensors$/,
    ],
    [
      'an extra tensor',
      (t) => t.set('class_embedding.weight', { dtype: 'F32', shape: [1], data: new Float32Array(1) }),
      /unexpected tensor 'class_embedding.weight'; expected/,
    ],
    [
      'a tensor of another shape',
      (t) => t.set('conv_in.bias', { dtype: 'F32', shape: [4, 8], data: new Float32Array(32) }),
      /tensor 'conv_in.bias' has shape \[4,8\]; expected \[32\]/,
    ],
    [
      'a tensor of another dtype',
      (t) => t.set('conv_in.bias', { dtype: 'I32', shape: [32], data: new Int32Array(32) }),
      /tensor 'conv_in.bias' has dtype I32; expected F32, F16 or BF16/,
    ],
  ])('with %s is refused by name', async (_, change, message) => {
    const folder = await diffusersFolder(change)
    const error = await failure(load(folder))
    expect(error).toBeInstanceOf(ContinualDiffusionError)
    expect(error.code).toBe('ERR_BAD_CHECKPOINT')
    expect(error.message).toMatch(message)
    expect(error.message).toContain(weightsFile)
  })

  it.each<[string, (folder: string) => Promise<void>, RegExp]>([
    ['no weights', (f) => rmFile(f, weightsFile), /safetensors: there is no such file/],
    ['no config.json', (f) => rmFile(f, 'config.json'), /config.json: there is no such file/],
    ['no files, as there is no such folder', (f) => rm(f, { recursive: true }), /^\S+: there is no such folder/],
    [
      'a file in place of the folder',
      async (f) => {
        await rm(f, { recursive: true })
        await writeFile(f, '')
      },
      /^\S+: it is not a folder; name the folder/,
    ],
    ['a broken config.json', (f) => writeFile(path.join(f, 'config.json'), '{"a": '), /config.json: not JSON/],
    [
      'an option that we do not have',
      async (f) => {
        const config = JSON.parse(await readFile(path.join(f, 'config.json'), 'utf8'))
        await writeFile(path.join(f, 'config.json'), JSON.stringify({ ...config, act_fn: 'tanh' }))
      },
      /config.json: act_fn is 'tanh'; expected/,
    ],
  ])('with %s is refused', async (_, spoil, message) => {
    const folder = await diffusersFolder()
    await spoil(folder)
    const error = await failure(load(folder))
    expect(error.code).toBe('ERR_BAD_CHECKPOINT')
    expect(error.message).toMatch(message)
  })
})

async function rmFile(folder: string, name: string): Promise<void> {
  await rm(path.join(folder, name))
}

const stream = bandsStream()
const [first, second] = stream.tasks as [(typeof stream.tasks)[0], (typeof stream.tasks)[0]]
const quick = { steps: 5, batchSize: 8, lr: 1e-3 }

async function filesOf(folder: string): Promise<Map<string, string>> {
  const names = await readdir(folder)
  return new Map(
    await Promise.all(names.map(async (n) => [n, (await readFile(path.join(folder, n))).toString('hex')] as const)),
  )
}

describe("a learner's folder", () => {
  it.each([0, 0.9])('goes on from where it stood, to the bit (EMA %f)', async (ema) => {
    const folder = await temporaryFolder()
    const learner = await tinyLearner({ ema, seed: 7, sampler: { steps: 4 } })
    await collect(learner.learn(first, generativeDistillation(), quick))
    await learner.save(path.join(folder, 'after-1'))
    const resumed = await load(path.join(folder, 'after-1'))
    expect(resumed).toMatchObject({
      unet: learner.unet,
      schedule: learner.schedule,
      sampler: learner.sampler,
      precision: 'fp32',
      seed: 7,
      ema,
      tasksLearned: 1,
      stepsDone: 5,
    })
    for (const [name, one] of [
      ['a', learner],
      ['b', resumed],
    ] as const) {
      await collect(one.learn(second, generativeDistillation(), quick))
      await one.save(path.join(folder, name))
    }
    expect(await filesOf(path.join(folder, 'b'))).toEqual(await filesOf(path.join(folder, 'a')))
    expect((await resumed.sample({ count: 2 })).data).toEqual((await learner.sample({ count: 2 })).data)
  })

  it('is replaced by the next save, and nothing else stays', async () => {
    const parent = await temporaryFolder()
    const folder = path.join(parent, 'run')
    const learner = await tinyLearner()
    await learner.save(folder)
    const before = await filesOf(folder)
    await collect(learner.learn(first, finetune(), quick))
    await learner.save(folder)
    expect(await readdir(parent)).toEqual(['run'])
    expect([...before.keys()].sort()).toEqual(
      ['config.json', weightsFile, 'learner.json', 'scheduler_config.json', 'training.safetensors'].sort(),
    )
    expect((await filesOf(folder)).get(weightsFile)).not.toEqual(before.get(weightsFile))
    expect((await load(folder)).tasksLearned).toBe(1)
  })

  it('that lost its teacher is refused', async () => {
    const folder = path.join(await temporaryFolder(), 'run')
    const learner = await tinyLearner()
    await collect(learner.learn(first, finetune(), quick))
    await learner.save(folder)
    const file = path.join(folder, 'training.safetensors')
    const { tensors, metadata } = await readSafetensors(file)
    await writeSafetensors(file, new Map([...tensors].filter(([name]) => !name.startsWith('teacher.'))), metadata)
    const error = await failure(load(folder))
    expect(error.code).toBe('ERR_BAD_CHECKPOINT')
    expect(error.message).toMatch(/training.safetensors: the tensors 'teacher.…' are missing/)
  })

  it.each<[string, (folder: string) => Promise<unknown>, RegExp]>([
    ['a truncated training file', (f) => cut(path.join(f, 'training.safetensors')), /training.safetensors: truncated/],
    ['no training file', (f) => rmFile(f, 'training.safetensors'), /training.safetensors: there is no such file/],
    [
      'a newer format',
      (f) => edit(path.join(f, 'learner.json'), { format: 99 }),
      /learner.json: format is 99, from a newer version of continual-diffusion; this version reads formats up to 1/,
    ],
    [
      'no learner.json, but what only a learner has',
      (f) => rmFile(f, 'learner.json'),
      /learner.json: there is no such file, but there is training.safetensors/,
    ],
    ['a seed that is no number', (f) => edit(path.join(f, 'learner.json'), { seed: 'x' }), /learner.json: seed is 'x'/],
  ])('with %s is refused', async (_, spoil, message) => {
    const folder = path.join(await temporaryFolder(), 'run')
    await (await tinyLearner()).save(folder)
    await spoil(folder)
    const error = await failure(load(folder))
    expect(error.code).toBe('ERR_BAD_CHECKPOINT')
    expect(error.message).toMatch(message)
  })
})

async function cut(file: string): Promise<void> {
  const whole = await readFile(file)
  await writeFile(file, whole.subarray(0, whole.length - 100))
}

async function edit(file: string, change: object): Promise<void> {
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), ...change }))
}

describe('a save', () => {
  it('writes one moment, whatever goes on meanwhile', async () => {
    const folder = await temporaryFolder()
    const xt = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i))
    const step = (learner: Learner) =>
      learner.step({ xt, timesteps: Int32Array.of(500), target: new Float32Array(64), lr: 1e-2 })
    const [still, moving] = [await tinyLearner({ ema: 0.9 }), await tinyLearner({ ema: 0.9 })]
    for (const learner of [still, moving]) {
      for (let i = 0; i < 3; i++) await step(learner)
      await learner.freezeTeacher()
    }
    await still.save(path.join(folder, 'still'))
    const saving = moving.save(path.join(folder, 'moving'))
    for (let i = 0; i < 5; i++) await step(moving)
    await saving
    expect(await filesOf(path.join(folder, 'moving'))).toEqual(await filesOf(path.join(folder, 'still')))
  })

  it('follows a symbolic link and leaves it where it is', async () => {
    const parent = await temporaryFolder()
    const real = path.join(parent, 'real')
    const link = path.join(parent, 'link')
    const learner = await tinyLearner()
    await learner.save(real)
    await symlink(real, link)
    await learner.freezeTeacher()
    await learner.save(link)
    expect((await lstat(link)).isSymbolicLink()).toBe(true)
    expect((await readdir(parent)).sort()).toEqual(['link', 'real'])
    const { tensors } = await readSafetensors(path.join(real, 'training.safetensors'))
    expect([...tensors.keys()].some((name) => name.startsWith('teacher.'))).toBe(true)
  })
})

describe('a save that fails', () => {
  it("does not replace a folder of somebody else's", async () => {
    const folder = await temporaryFolder()
    await writeFile(path.join(folder, 'thesis.txt'), 'years of work')
    const error = await failure((await tinyLearner()).save(folder))
    expect(error.code).toBe('ERR_WRITE_FAILED')
    expect(error.message).toMatch(/holds thesis.txt, which this package did not write, so it is not replaced/)
    expect(await readdir(folder)).toEqual(['thesis.txt'])
  })

  it('does not replace a folder in which somebody put more, nor a model folder of another program', async () => {
    const learner = await tinyLearner()
    const noted = await temporaryFolder()
    await learner.save(noted)
    await writeFile(path.join(noted, 'notes.md'), 'what I saw')
    const before = await filesOf(noted)
    const error = await failure(learner.save(noted))
    expect(error.code).toBe('ERR_WRITE_FAILED')
    expect(error.message).toMatch(/holds notes.md, which this package did not write/)
    expect(await filesOf(noted)).toEqual(before)

    const model = await diffusersFolder()
    await rm(path.join(model, 'io.safetensors'))
    await rm(path.join(model, 'manifest.json'))
    expect((await failure(learner.save(model))).message).toMatch(/holds config.json, but no learner.json/)
  })

  it('names the folder that it could not write, and leaves nothing', async () => {
    const parent = await temporaryFolder()
    await writeFile(path.join(parent, 'file'), '')
    const error = await failure((await tinyLearner()).save(path.join(parent, 'file', 'run')))
    expect(error.code).toBe('ERR_WRITE_FAILED')
    expect(error.message).toContain(path.join(parent, 'file', 'run'))
    expect((error.cause as NodeJS.ErrnoException).code).toBe('ENOTDIR')
    expect(await readdir(parent)).toEqual(['file'])
  })

  it('into a read-only folder says so', async () => {
    const parent = await temporaryFolder()
    await chmod(parent, 0o755)
    const locked = path.join(parent, 'locked')
    await mkdir(locked, { mode: 0o555 })
    const learner = await tinyLearner()
    const error = await asNobody(() => failure(learner.save(path.join(locked, 'run'))))
    expect(error.code).toBe('ERR_WRITE_FAILED')
    expect((error.cause as NodeJS.ErrnoException).code).toBe('EACCES')
    expect(await readdir(locked)).toEqual([])
  })

  // The shell's limit on file sizes stands for a full disk: the write fails in the middle of a file.
  it.skipIf(process.platform === 'win32')('when the space runs out, leaves the old folder as it was', async () => {
    const parent = await temporaryFolder()
    const folder = path.join(parent, 'run')
    const learner = await tinyLearner()
    await learner.save(folder)
    const before = await filesOf(folder)
    expect((await stat(path.join(folder, weightsFile))).size).toBeGreaterThan(8192)
    const script = `
      import { Learner } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)}
      const learner = await Learner.load(process.argv[1], { device: 'cpu' })
      await learner.freezeTeacher()
      await learner.save(process.argv[1]).then(
        () => console.log('saved'),
        ({ code, cause }) => console.log(code, cause.code),
      )`
    const shell = `trap '' XFSZ; ulimit -f 8; exec "$@"`
    const node = [process.execPath, '--input-type=module', '--eval', script, folder]
    const { stdout } = await promisify(execFile)('bash', ['-c', shell, 'bash', ...node])
    expect(stdout.trim()).toBe('ERR_WRITE_FAILED EFBIG')
    expect(await filesOf(folder)).toEqual(before)
    expect(await readdir(parent)).toEqual(['run'])
  })
})
