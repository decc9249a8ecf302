import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { defaultSampler } from '../lib/config/sampler.js'
import { paperSchedule, scheduleTable } from '../lib/config/schedule.js'
import { finetune, generativeDistillation, Learner, type LearnerOptions } from '../lib/index.js'
import { conditional, first, second, taught, classTraining as train, classUNet as unet } from './support/conditional.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { fp32Learner, never } from './support/native.js'
import { collect, failure, tinyLearner, tinyUNet } from './support/tiny.js'

describe('classifier-free guidance', () => {
  /** x̂₀ of one step, which is linear in the prediction. */
  async function oneStep(guidance?: { scale: number; timesteps?: [number, number] }, label = 1) {
    const native = await fp32Learner(unet, 'cpu', { seed: 2 })
    onTestFinished(() => native.dispose())
    const sampler = { ...defaultSampler, steps: 1, clip: false, ...(guidance && { guidance }) }
    const labels = new Int32Array(3).fill(label)
    const options = { weights: 'student', count: 3, batchSize: 3, sampler, labels, seed: 1, format: 'float32' } as const
    return (await native.sample({ ...options, use: { purpose: 0, part: 0 } }, never)).data
  }

  it('of scale 1 is none, of scale 0 the unconditional prediction, and is linear in between and beyond', async () => {
    const [none, null_] = [await oneStep(), await oneStep(undefined, 4)]
    expect(await oneStep({ scale: 1 })).toEqual(none)
    expectClose(await oneStep({ scale: 0 }), null_, 1e-6)
    const expected = none.map((conditional, i) => null_[i]! + 2.5 * (conditional - null_[i]!))
    expectClose(await oneStep({ scale: 2.5 }), expected, 1e-5)
    expect(none).not.toEqual(null_)
  })

  it('acts in its range of timesteps alone', async () => {
    const [none, strong] = [await oneStep(), await oneStep({ scale: 3 })]
    expectClose(await oneStep({ scale: 3, timesteps: [0, 999] }), none, 1e-6) // the one step is at 999
    expectClose(await oneStep({ scale: 3, timesteps: [999, 1000] }), strong, 1e-6)
    expect(strong).not.toEqual(none)
  })

  it('of a learner: sampler, and labels by name, index and null', async () => {
    const learner = await taught()
    const [name] = first.classes.map((c) => first.train.dataset.classes[c]!)
    const sample = async (labels: Parameters<Learner['sample']>[0]['labels'], scale?: number) =>
      (
        await learner.sample({
          count: 4,
          labels,
          sampler: { steps: 2, ...(scale !== undefined && { guidance: { scale } }) },
        })
      ).data
    expect(await sample(name)).toEqual(await sample(first.classes[0]))
    expect(await sample(name)).toEqual(await sample([name!, name!, name!, first.classes[0]!]))
    expect(await sample(name, 0)).toEqual(await sample(null))
    expect(await sample(undefined)).toEqual(await sample([0, 1, 0, 1].map((i) => first.classes[i]!)))
  })

  it.each([
    [
      'guidance without label dropout',
      async () => (await conditional()).sample({ count: 2, labels: 0, sampler: { guidance: { scale: 2 } } }),
      /has not learned the null label; learn with labelDropout/,
    ],
    [
      'guidance for an unconditional model',
      async () => (await tinyLearner()).sample({ count: 2, sampler: { guidance: { scale: 2 } } }),
      /takes no labels; learn with labelDropout/,
    ],
    [
      'null without label dropout',
      async () => (await conditional()).sample({ count: 2, labels: null }),
      /the label null needs a network that learned with labelDropout/,
    ],
    [
      'guidance beyond the schedule',
      async () => (await taught()).sample({ count: 1, sampler: { guidance: { scale: 2, timesteps: [0, 2000] } } }),
      /guidance\.timesteps is \[ 0, 2000 \]; expected at most the schedule's 1000/,
    ],
    [
      'a teacher with guidance that has no null label',
      async () => {
        const learner = await conditional()
        const plain = { ...train, labelDropout: 0 }
        // Before the first task, not after it.
        await collect(learner.learn(first, generativeDistillation({ teacher: { guidance: { scale: 2 } } }), plain))
      },
      /objective: sampler: guidance needs an unconditional prediction/,
    ],
  ])('%s is refused', async (_, attempt, message) => {
    expect((await failure(attempt())).message).toMatch(message)
  })
})

describe('guidance by a weaker learner', () => {
  it('takes D_weak + scale · (D − D_weak), D the denoised image', async () => {
    const schedule = { timesteps: 10, prediction: 'v', zeroTerminalSnr: false } as const
    const make = async (seed: number) => {
      const native = await fp32Learner(tinyUNet, 'cpu', { seed, schedule })
      onTestFinished(() => native.dispose())
      return native
    }
    const [main, weak, zero] = [await make(1), await make(2), await make(3)]
    const guidance = { scale: 2.5 }
    const oneStep = (native: typeof main, guide?: typeof main) =>
      native.sample(
        {
          ...{ weights: 'student', count: 3, batchSize: 3, seed: 1, use: { purpose: 0, part: 0 }, format: 'float32' },
          ...(guide && { guide: { learner: guide, weights: 'student' } }),
          sampler: { ...defaultSampler, steps: 1, clip: false, ...(guide && { guidance }) },
        } as const,
        never,
      )
    // A network whose prediction is 0 shows the noise that sampling starts from: x̂₀ = α·x_t − σ·v.
    await zero.write(
      'student',
      (await zero.read('student')).map((values) => values.fill(0)),
    )
    const { alpha2, sigma2 } = scheduleTable({ ...paperSchedule, ...schedule })
    const [alpha, sigma] = [Math.sqrt(alpha2[9]!), Math.sqrt(sigma2[9]!)]
    const shown = await oneStep(zero)
    const start = { data: shown.data.map((value) => value / alpha), shape: shown.shape }
    const denoised = async (native: typeof main) => {
      const { data } = await native.predict('student', start, Int32Array.of(9, 9, 9))
      return start.data.map((x, i) => alpha * x - sigma * data[i]!)
    }
    const [d, dWeak] = [await denoised(main), await denoised(weak)]
    expectClose((await oneStep(main)).data, d, 1e-5)
    expectClose(
      (await oneStep(main, weak)).data,
      d.map((value, i) => dWeak[i]! + 2.5 * (value - dWeak[i]!)),
      1e-5,
    )
  })

  it.each<[string, Partial<LearnerOptions>]>([
    ['without classes', { unet: tinyUNet }],
    ['without classes, with averages', { unet: tinyUNet, ema: 0.5 }],
    ['of classes', { unet }],
  ])(
    'of scale 1 is none, of scale 0 the weaker learner, at timesteps out of its range none: %s',
    async (_, options) => {
      const labelDropout = options.unet === unet ? 0.2 : 0
      const learn = async (seed: number, steps: number) => {
        const learner = await tinyLearner({ ...options, seed })
        await collect(learner.learn(first, finetune(), { ...train, steps, labelDropout }))
        return learner
      }
      const [main, weak] = [await learn(1, 20), await learn(2, 4)]
      const sample = async (learner: Learner, guidance?: { scale: number; timesteps?: [number, number] }) => {
        const sampler = { kind: 'ddpm', steps: 4, ...(guidance && { guidance }) } as const
        const { data } = await learner.sample({
          count: 5,
          batchSize: 3,
          seed: 4,
          sampler,
          ...(guidance && { guide: weak }),
        })
        return data
      }
      const none = await sample(main)
      expect(await sample(main, { scale: 1 })).toEqual(none)
      expect(await sample(main, { scale: 0 })).toEqual(await sample(weak))
      expect(await sample(main, { scale: 3, timesteps: [0, 1] })).toEqual(none) // no step is at 0
      const strong = await sample(main, { scale: 3 })
      expect(strong).not.toEqual(none)
      // From 500 on it is half of the steps.
      const half = await sample(main, { scale: 3, timesteps: [500, 1000] })
      expect(half).not.toEqual(none)
      expect(half).not.toEqual(strong)
    },
  )

  it('is had from the command line', async () => {
    const folder = await temporaryFolder()
    const [main, weak] = [await tinyLearner({ seed: 1 }), await tinyLearner({ seed: 2 })]
    await main.save(`${folder}/main`)
    await weak.save(`${folder}/weak`)
    const cli = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
    const grid = async (name: string, ...options: string[]) => {
      const out = `${folder}/${name}.png`
      await promisify(execFile)(process.execPath, [cli, 'sample', `${folder}/main`, '-n', '4', '-o', out, ...options])
      return readFile(out)
    }
    const none = await grid('none')
    expect(await grid('one', '--guide', `${folder}/weak`, '--guidance', '1')).toEqual(none)
    expect(await grid('two', '--guide', `${folder}/weak`, '--guidance', '2')).not.toEqual(none)
    await expect(grid('bare', '--guide', `${folder}/weak`)).rejects.toThrow(/--guidance/)
  }, 60_000)

  const plain = (options: Partial<LearnerOptions> = {}) => tinyLearner(options)
  it.each<[string, () => Promise<Learner>, () => Promise<unknown>, RegExp]>([
    [
      'another schedule',
      plain,
      () => plain({ schedule: { betas: 'cosine' } }),
      /schedule.betas is 'cosine'; expected 'linear'/,
    ],
    [
      'another prediction',
      plain,
      () => plain({ schedule: { prediction: 'v' } }),
      /schedule.prediction is 'v'; expected 'epsilon'/,
    ],
    [
      'images of another size',
      plain,
      () => plain({ unet: { ...tinyUNet, sample_size: 16 } }),
      /unet.sample_size is 16; expected 8/,
    ],
    ['another precision', plain, () => plain({ precision: 'bf16' }), /precision is 'bf16'; expected 'fp32'/],
    ['no labels', taught, plain, /unet.num_class_embeds is null; expected 5/],
    ['labels', plain, taught, /unet.num_class_embeds is 5; expected null/],
    [
      'other labels',
      taught,
      () => plain({ unet: { ...tinyUNet, class_embed_type: 'timestep' } }),
      /class_embed_type is 'timestep'; expected null/,
    ],
    ['another kind of value', plain, async () => 'weak', /sample: guide is 'weak'; expected a Learner/],
    [
      'no life',
      plain,
      async () => {
        const learner = await plain()
        await learner.dispose()
        return learner
      },
      /^sample: guide was disposed/,
    ],
  ])('by one of %s is refused', async (_, main, guide, message) => {
    const options = { count: 1, guide: (await guide()) as Learner, sampler: { guidance: { scale: 2 } } }
    expect((await failure((await main()).sample(options))).message).toMatch(message)
  })

  it('is refused without a scale, and where the guide has not learned what is asked for', async () => {
    const [main, guide] = [await taught(), await taught()]
    const error = await failure(main.sample({ count: 1, guide }))
    expect(error.message).toMatch(/^sample: guide is given, and the sampler has no guidance; expected its scale too/)
    const { classes } = first.train.dataset
    await collect(main.learn(second, finetune(), train))
    const sampler = { guidance: { scale: 2 } }
    const [c] = second.classes
    expect((await failure(main.sample({ count: 4, guide, sampler }))).message).toContain(
      `sample: guide has not learned the class ${classes[c!]}`,
    )
    const untold = await conditional()
    await collect(untold.learn(first, finetune(), { ...train, labelDropout: 0 }))
    const null_ = failure(main.sample({ count: 1, guide: untold, sampler, labels: null }))
    expect((await null_).message).toContain('sample: guide has not learned the null label')
    const nothing = await conditional()
    const random = failure(main.sample({ count: 1, guide: nothing, sampler }))
    expect((await random).message).toContain('sample: guide has learned nothing: its weights are random')
    // As it is known to be when it was saved and loaded.
    const saved = path.join(await temporaryFolder(), 'nothing')
    await (await plain()).save(saved)
    const loaded = await Learner.load(saved, { device: 'cpu' })
    onTestFinished(() => loaded.dispose())
    const trained = await plain()
    await collect(trained.learn(first, finetune(), { steps: 2, batchSize: 4 }))
    expect((await failure(trained.sample({ count: 1, guide: loaded, sampler }))).message).toContain('learned nothing')
    // Two that have both learned nothing may be compared.
    await (await plain()).sample({ count: 1, guide: await plain(), sampler })
  })
})
