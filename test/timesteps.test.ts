import { describe, expect, it } from 'vitest'
import { loadAddon } from '../lib/engine/load.js'
import type { NativeImages } from '../lib/engine/native-values.js'
import {
  finetune,
  gaussianDistillation,
  generativeDistillation,
  type Method,
  noiseLevels,
  partialGenerationDistillation,
  type Source,
  type TimestepDistribution,
  type Timesteps,
} from '../lib/index.js'
import { devices } from './support/devices.js'
import { type Batches, drawNext, fp32Learner } from './support/native.js'
import { bands, bandsStream, collect, failure, tensorsOf, tinyLearner, tinyUNet } from './support/tiny.js'

const T = 1000

/** The standard normal distribution function, from erfc's continued fraction and series (Abramowitz and Stegun 7.1.6, 7.1.14). */
function phi(x: number): number {
  const z = Math.abs(x) / Math.SQRT2
  let erfc: number
  if (z < 2) {
    let [sum, term] = [z, z]
    for (let n = 1; n < 60; n++) sum += term *= (2 * z * z) / (2 * n + 1)
    erfc = 1 - (2 / Math.sqrt(Math.PI)) * Math.exp(-z * z) * sum
  } else {
    let fraction = z
    for (let n = 60; n > 0; n--) fraction = z + n / 2 / fraction
    erfc = Math.exp(-z * z) / Math.sqrt(Math.PI) / fraction
  }
  return x < 0 ? erfc / 2 : 1 - erfc / 2
}

/** How likely a timestep below t is, t = 0 … T, by the distributions' definitions. */
function below(distribution: TimestepDistribution, t: number): number {
  if (distribution.kind === 'uniform') return t / T
  if (distribution.kind === 'logit-normal') {
    const { mean = 0, std = 1 } = distribution
    return phi((Math.log(t / T / (1 - t / T)) - mean) / std)
  }
  const { mean = -1.2, std = 1.2 } = distribution
  const log = (i: number) => Math.log(sigma[i]! / alpha[i]!)
  if (t === 0 || t === T) return t / T
  return phi(((log(t - 1) + log(t)) / 2 - mean) / std)
}

const { alpha, sigma } = noiseLevels()
const task: Source = { kind: 'task' }

async function batchesOf(batchSize: number): Promise<Batches> {
  const { images, labels, height, width, channels } = bands('bands', 6)
  const count = labels.length
  const given = { images, labels, count, height, width, channels, size: 0, device: 'cpu' }
  const resident: NativeImages = await loadAddon().createImages(given)
  const all = [{ images: resident, indices: Int32Array.from({ length: count }, (_, i) => i) }]
  return { task: all, memory: all, batchSize, horizontalFlip: false }
}

/** Timesteps of some steps, in the order of steps and images. */
async function drawn(source: Source, timesteps: Timesteps | undefined, count: number): Promise<Int32Array> {
  const native = await fp32Learner(tinyUNet, 'cpu', { seed: 11 })
  await native.freezeTeacher()
  const target = source.kind === 'task' || source.kind === 'memory' ? 'data' : 'teacher'
  const terms = [{ source, target, weight: 1, ...(timesteps && { timesteps }) }] as const
  const [draws] = await drawNext(native, { terms }, await batchesOf(count))
  native.dispose()
  return draws!.timesteps
}

const distributions: TimestepDistribution[] = [
  { kind: 'logit-normal' },
  { kind: 'logit-normal', mean: 0.7, std: 0.5 },
  { kind: 'log-normal' },
  { kind: 'log-normal', mean: 0.5, std: 2, range: [100, 900] },
  { kind: 'logit-normal', range: [0, 250], stratified: true },
  { kind: 'uniform', stratified: true },
]

describe('the timesteps of a term', () => {
  const sources: Source[] = [task, { kind: 'memory' }, { kind: 'gaussian', symmetric: true }, { kind: 'teacher' }]
  it.each(distributions.map((one) => [JSON.stringify(one), one] as const))(
    'have the distribution %s: chi-square',
    async (_, distribution) => {
      const count = 4000
      const bins = 20
      const [from, to] = distribution.range ?? [0, T]
      const all = below(distribution, to) - below(distribution, from)
      // Bins about equally likely, by the formula.
      const edges = [from]
      for (let t = from + 1; t < to && edges.length < bins; t++) {
        if (below(distribution, t) - below(distribution, from) >= (all * edges.length) / bins) edges.push(t)
      }
      edges.push(to)
      const timesteps = await drawn(task, distribution, count)
      expect(Math.min(...timesteps)).toBeGreaterThanOrEqual(from)
      expect(Math.max(...timesteps)).toBeLessThan(to)
      let chi = 0
      for (const [i, edge] of edges.slice(0, -1).entries()) {
        const next = edges[i + 1]!
        const expected = (count * (below(distribution, next) - below(distribution, edge))) / all
        const found = timesteps.filter((t) => t >= edge && t < next).length
        chi += (found - expected) ** 2 / expected
        // One of n in each n-th: a bin holds as many as it is wide, give or take those at its ends.
        if (distribution.stratified) expect(Math.abs(found - expected)).toBeLessThanOrEqual(2)
      }
      // Of 19 degrees of freedom, the quantiles 0.001 and 0.999; strata leave hardly any difference.
      expect(chi).toBeLessThan(43.8)
      if (!distribution.stratified) expect(chi).toBeGreaterThan(5.4)
    },
  )

  it('that are uniform are what a range draws, to the bit', async () => {
    const uniform = { kind: 'uniform' } as const
    expect(await drawn(task, uniform, 64)).toEqual(await drawn(task, undefined, 64))
    expect(await drawn(task, { ...uniform, range: [5, 77] }, 64)).toEqual(await drawn(task, [5, 77], 64))
  })

  it('come in random order from the strata, one from each', async () => {
    const timesteps = await drawn(task, { kind: 'uniform', stratified: true }, 50)
    expect([...timesteps].sort((a, b) => a - b).map((t) => Math.floor(t / 20))).toEqual([...Array(50).keys()])
    expect([...timesteps]).not.toEqual([...timesteps].sort((a, b) => a - b))
  })

  it.each(sources)('are so in a term of the source $kind', async (source) => {
    const distribution: TimestepDistribution = { kind: 'logit-normal', mean: 1, std: 0.3, stratified: true }
    const timesteps = await drawn(source, distribution, 400)
    const mean = timesteps.reduce((sum, t) => sum + below(distribution, t), 0) / 400
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.005)
  })
})

const distribution: Timesteps = { kind: 'logit-normal', mean: -0.5, stratified: true }
const stream = bandsStream()
const [first, second] = stream.tasks as [(typeof stream.tasks)[0], (typeof stream.tasks)[0]]
const options = { steps: 5, batchSize: 4, lr: 1e-3 }

describe('a task learned at timesteps of a distribution', () => {
  const pool = { images: 12, refresh: 4 }
  it.each<[string, Method]>([
    ['the teacher’s images', generativeDistillation()],
    ['partial generation from a pool', partialGenerationDistillation({ pool, timesteps: distribution })],
  ])('is the same when left and resumed: %s', async (_, method) => {
    const [whole, broken] = [await tinyLearner({ seed: 4 }), await tinyLearner({ seed: 4 })]
    const settings = { ...options, accumulate: 2, timesteps: distribution }
    for (const learner of [whole, broken]) await learner.train(first, method, settings)
    await whole.train(second, method, settings)
    for await (const { step } of broken.learn(second, method, settings)) if (step >= 1) break
    await collect(broken.learn(second, method, { ...settings, resume: true }))
    expect(await tensorsOf(broken)).toEqual(await tensorsOf(whole))
  })

  it.each(devices)('goes on in a recorded step, on %s', async (device) => {
    const learner = await tinyLearner({ device })
    await learner.train(first, finetune(), { ...options, timesteps: distribution })
    expect(learner.stepsDone).toBe(5)
  })

  it('is refused at timesteps that the schedule has not, or that are never drawn', async () => {
    const learner = await tinyLearner({ schedule: { timesteps: 100 } })
    const message = async (timesteps: unknown, method = finetune()) =>
      (await failure(learner.train(first, method, { ...options, timesteps: timesteps as Timesteps }))).message
    expect(await message([0, 101])).toContain("timesteps end at 101; expected at most the schedule's 100 timesteps")
    expect(await message({ kind: 'uniform', range: [0, 200] })).toContain('end at 200')
    expect(await message({ kind: 'logit-normal', mean: 50, range: [0, 10] })).toContain('have no probability in')
    expect(await message({ kind: 'normal' })).toContain('timesteps')
    expect(await message({ kind: 'log-normal', std: 0 })).toContain('std')
    // What is wrong with a later task is known before the first.
    const late = gaussianDistillation({ timesteps: { kind: 'logit-normal', mean: -60, range: [90, 100] } })
    expect(await message(undefined, late)).toContain('have no probability in')
  })
})
