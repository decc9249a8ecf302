import { readFile } from 'node:fs/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { paperSchedule, schedule } from '../lib/config/schedule.js'
import { resolveExperiment } from '../lib/experiment/config.js'
import { resolveMethod } from '../lib/experiment/methods.js'
import {
  conditionalDistillation,
  finetune,
  Learner,
  type LearnOptions,
  type Method,
  type MethodName,
  methodByName,
  methods,
  type PoolProgress,
  partialGenerationDistillation,
  type StepLosses,
  type Stream,
} from '../lib/index.js'
import { createCore } from '../lib/learner/core.js'
import { planPools } from '../lib/learner/plan-pools.js'
import { fillPools } from '../lib/learner/replay.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { never, optimizer, resolve } from './support/native.js'
import { bandsStream, collect, failure, tensorsOf, tinyLearner, tinyUNet } from './support/tiny.js'
import { tinyExperiment } from './support/tiny-experiment.js'

const [first, second] = bandsStream().tasks as [Stream['tasks'][number], Stream['tasks'][number]]
/** Four classes and the null label. */
const unet = { ...tinyUNet, num_class_embeds: 5 }
const names = Object.keys(methods) as MethodName[]
/** Options for tasks of 48 images and a test of a second. */
const quick: Partial<Record<MethodName, object>> = {
  'experience-replay': { size: 8 },
  ewc: { samples: 4 },
  'rank-1-ewc': { samples: 4 },
}
const train: LearnOptions = { steps: 2, batchSize: 8, labelDropout: 0.2 }

describe('every method of the table learns on a network that takes labels', () => {
  it.each(names)('%s', async (name) => {
    const method = methodByName(name, quick[name])
    const learner = await tinyLearner({ unet })
    const steps: StepLosses[] = []
    for (const task of [first, second]) {
      await collect(learner.learn(task, method, { ...train, onStep: (step) => steps.push(step) }))
    }
    const { terms, penalties = [] } = method.objective(2)
    for (const { terms: found, penalties: costs, loss } of steps.slice(-2)) {
      expect([found.length, Object.keys(costs).length]).toEqual([terms.length, penalties.length])
      expect([loss, ...found].every(Number.isFinite)).toBe(true)
    }
    const learned = name === 'teacher-to-student' ? first.classes : [...first.classes, ...second.classes]
    const all = first.train.dataset.classes
    expect(learner.classesLearned).toEqual(all.filter((_, label) => learned.includes(label)))
    const [a, b] = [
      await learner.sample({ count: 1, labels: learned[0]! }),
      await learner.sample({ count: 1, labels: null }),
    ]
    expect(a.data).not.toEqual(b.data)
  })

  it('and stands with its formula in the docs', async () => {
    const docs = await readFile(new URL('../docs/conditional.md', import.meta.url), 'utf8')
    const section = docs.slice(docs.indexOf('## Every method'))
    for (const name of names) expect(section).toMatch(new RegExp(`^\\\\| .*\`${name}\`.* \\\\| .*MSE`, 'm'))
  })
})

/**
 * A session of a learner of fixed weights at its second task, with the method's pools.
 *
 * @param weights how likely the teacher's classes are
 */
async function sessionOf(
  method: Method,
  weights: Float64Array,
  batchSize: number,
  onPool?: (progress: PoolProgress) => void,
) {
  const settings = { unet, schedule: paperSchedule, sampler: resolveExperiment(tinyExperiment).sampler }
  const core = await createCore({ ...settings, device: 'cpu', precision: 'fp32', ema: 0 }, 3, undefined)
  const { native } = core
  onTestFinished(() => native.dispose())
  await native.freezeTeacher()
  const objective = resolve(method.objective(2))
  const { pools, numbers } = planPools(core.settings, objective, { steps: 8, batchSize }, 'test')
  const session = await native.beginSession({
    ...{ objective, pools: numbers, optimizer, batchSize, horizontalFlip: false, labels: { dropout: 0, weights } },
    ...{ task: await core.images.pool([second.train]), memory: [] },
  })
  onTestFinished(() => session.dispose())
  const filling = {
    task: { ...second, earlier: [] },
    where: 'test',
    weights,
    nullLabel: 4,
    batchSize,
    classifier: undefined,
  }
  await fillPools(core, session, pools, 0, true, { ...filling, signal: undefined, ...(onPool && { onPool }) })
  return { native, session, numbers }
}

it('a pool that stops at stratified timesteps has images of each class at all of them', async () => {
  const method = partialGenerationDistillation({
    ...{ teacher: { steps: 2 }, pool: { images: 400 }, timesteps: { kind: 'uniform', stratified: true } },
  })
  const { session } = await sessionOf(method, Float64Array.of(1, 1, 1, 1), 256)
  const { timesteps, labels } = (await session.draw())[1]!
  for (const label of [0, 1, 2, 3]) {
    const own = Array.from(timesteps).filter((_, i) => labels![i] === label)
    const mean = own.reduce((sum, t) => sum + t, 0) / own.length
    // Some 64, uniform in [0, 1000): the bounds are five standard errors away.
    expect(mean).toBeGreaterThan(300)
    expect(mean).toBeLessThan(700)
  }
})

describe('conditionalDistillation', () => {
  const method = conditionalDistillation({ lambda: 0.8, nullShare: 0.25, teacher: { steps: 2 }, pool: { images: 6 } })

  it('has the loss of its formula: the images of one pool are told their classes, and the null label', async () => {
    // Of the classes of the first task alone, as after it.
    const weights = Float64Array.from([0, 1, 2, 3], (label) => (first.classes.includes(label) ? 1 : 0))
    let generated = 0
    const onPool = ({ images }: { images: number }) => (generated += images)
    const { native, session, numbers } = await sessionOf(method, weights, 16, onPool)
    expect(numbers).toEqual([-1, 0, 1])
    expect(generated).toBe(6) // once for both
    await session.run({ steps: 3, milliseconds: 1e9 }, never) // so that the student differs from its teacher

    const draws = await session.draw()
    const [real, told, untold] = draws.map(({ labels }) => new Set(labels))
    expect([real, told, untold]).toEqual([new Set(second.classes), new Set(first.classes), new Set([4])])
    const imagesOf = ({ data }: { data: Float32Array }) =>
      new Set(Array.from({ length: 16 }, (_, i) => data.subarray(i * 64, (i + 1) * 64).join()))
    const pool = new Set(draws.slice(1).flatMap(({ x0 }) => [...imagesOf(x0!)]))
    expect(pool.size).toBeLessThanOrEqual(6)

    const { alphasCumprod } = schedule()
    const expected: number[] = []
    for (const [i, { x0, noise, timesteps, labels }] of draws.entries()) {
      const data = x0!.data.map((value, n) => {
        const alpha = alphasCumprod[timesteps[Math.floor(n / 64)]!]!
        return Math.sqrt(alpha) * value + Math.sqrt(1 - alpha) * noise!.data[n]!
      })
      const predicted = async (weights: 'student' | 'teacher') =>
        (await native.predict(weights, { data, shape: [16, 1, 8, 8] }, timesteps, labels)).data
      const target = i === 0 ? noise!.data : await predicted('teacher')
      const errors = (await predicted('student')).map((value, n) => (value - target[n]!) ** 2)
      expected.push(errors.reduce((sum, error) => sum + error, 0) / errors.length)
    }
    const { terms, losses } = await session.run({ steps: 1, milliseconds: 1e9 }, never)
    expectClose([...terms], expected, 1e-4)
    // 1/k, (1 − 1/k)·λ·(1 − ν) and (1 − 1/k)·λ·ν.
    expectClose([losses[0]!], [0.5 * expected[0]! + 0.3 * expected[1]! + 0.1 * expected[2]!], 1e-4)
  })

  it('is resumed to the bit', async () => {
    const taught = async () => {
      const learner = await tinyLearner({ unet })
      await collect(learner.learn(first, method, train))
      return learner
    }
    const options = { ...train, steps: 4 }
    const [whole, part] = [await taught(), await taught()]
    await collect(whole.learn(second, method, options))
    for await (const { step } of part.learn(second, method, options)) if (step >= 1) break
    const folder = `${await temporaryFolder()}/learner`
    await part.save(folder)
    await using rest = await Learner.load(folder, { device: 'cpu' })
    await collect(rest.learn(second, method, { ...options, resume: true }))
    const weights = async (learner: Learner) => [...(await tensorsOf(learner)).values()]
    expect(await weights(rest)).toEqual(await weights(whole))
  })

  it('is refused where there is no null label, before the first task', async () => {
    const learning = async (options: object, learn: LearnOptions) =>
      (await failure(collect((await tinyLearner(options)).learn(first, method, learn)))).message
    const plain = { ...train, labelDropout: 0 }
    expect(await learning({}, plain)).toMatch(/told the null label, which the network does not have/)
    expect(await learning({ unet }, plain)).toMatch(/has not learned; expected .* labelDropout/)
    const entry = { name: 'conditional-distillation', label: 'mine' }
    expect(() => resolveMethod(entry, { schedule: paperSchedule, unet, train: { labelDropout: 0 } })).toThrow(
      /mine needs a null label; give train a labelDropout/,
    )
    const source = { kind: 'teacher', labels: null } as const
    const learner = await tinyLearner({ unet })
    await collect(learner.learn(first, finetune(), train))
    const own = { name: 'own', objective: () => ({ terms: [{ source, target: 'teacher', weight: 1 } as const] }) }
    expect((await failure(collect(learner.learn(second, own, train)))).message).toMatch(
      /only images of a pool can be told the null label/,
    )
  })
})
