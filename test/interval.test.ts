import { afterAll, beforeAll, expect, it } from 'vitest'
import { mersenneTwister } from '../lib/data/torch-random.js'
import { momentsDistance, RunningMoments } from '../lib/engine/moments.js'
import {
  intervalOfCounts,
  intervalOfDistance,
  intervalOfFraction,
  percentileInterval,
} from '../lib/evaluation/interval.js'
import {
  averageRatioDeviation,
  Classifier,
  classFrequencies,
  evaluate,
  frechetDistance,
  kernelDistance,
  precision,
  recall,
} from '../lib/index.js'
import { bandsData, bandsStream, tinyLearner } from './support/tiny.js'

it('the bounds are the percentiles of NumPy, moved to the value', () => {
  const values = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
  const [low, high] = percentileInterval(4, values)
  expect(low).toBeCloseTo(1, 12)
  expect(high).toBeCloseTo(8.25, 12)
  const [moved] = percentileInterval(2.5, values)
  expect(moved).toBeCloseTo(-0.5, 12)
  expect(percentileInterval(2.5, values, 0)[0]).toBe(0)
})

it('the interval of a fraction near 1 stays below it', async () => {
  for (let seed = 0; seed < 10; seed++) {
    const [low, high] = await intervalOfFraction(0.998, 1000, { replicates: 1000, seed }, undefined)
    expect(low).toBeLessThan(0.998)
    expect(high).toBeLessThanOrEqual(1)
  }
})

// scipy.stats.binom.ppf([0.025, 0.975], n, p): what resampling a fraction tends to.
it.each([
  [0.3, 1000, 272, 329],
  [0.9, 400, 348, 371],
])('the interval of the fraction %d of %d images is that of the binomial distribution', async (p, n, low, high) => {
  const found = await intervalOfFraction(p, n, { replicates: 20_000, seed: 1 }, undefined)
  expect(Math.abs(found[0] * n - low)).toBeLessThanOrEqual(2)
  expect(Math.abs(found[1] * n - high)).toBeLessThanOrEqual(2)
})

it('resamples have as many elements, in proportion, and are a function of the seed', async () => {
  const seen: number[][] = []
  const record = (counts: Float64Array) => seen.push([...counts])
  const of = (seed: number) =>
    intervalOfCounts(Float64Array.from([10, 0, 30, 60]), record, { replicates: 500, seed }, undefined)
  await of(1)
  const first = seen.splice(0).slice(1) // the counts themselves come first or last
  expect(first.every((counts) => counts.reduce((sum, count) => sum + count, 0) === 100)).toBe(true)
  const mean = [0, 1, 2, 3].map((c) => first.reduce((sum, counts) => sum + counts[c]!, 0) / first.length)
  for (const [c, expected] of [10, 0, 30, 60].entries()) expect(Math.abs(mean[c]! - expected)).toBeLessThan(1)
  await of(1)
  const again = seen.splice(0).slice(1)
  expect(again).toEqual(first)
  await of(2)
  expect(seen.slice(1)).not.toEqual(first)
})

it('95 of 100 intervals of a Fréchet distance have the distance that so many images have on average', async () => {
  const [d, n, trials] = [4, 200, 100]
  const next = mersenneTwister(1)
  const uniform = () => (next() + 0.5) / 2 ** 32
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())
  const mean = new Float64Array(d).fill(0.3)
  const m2 = Float64Array.from({ length: d * d }, (_, i) => (i % (d + 1) === 0 ? 999 : 0))
  const real = { mean, m2, count: 1000 }
  const found: { value: number; interval: readonly [number, number] }[] = []
  for (let trial = 0; trial < trials; trial++) {
    const rows = Float32Array.from({ length: n * d }, normal)
    const moments = new RunningMoments(d)
    await moments.add(rows)
    const value = await momentsDistance(real, moments)
    const interval = await intervalOfDistance(value, real, [rows], { replicates: 200, seed: trial }, undefined)
    found.push({ value, interval })
  }
  const expected = found.reduce((sum, { value }) => sum + value, 0) / trials
  const within = found.filter(({ interval: [low, high] }) => low <= expected && expected <= high).length
  expect(within).toBeGreaterThanOrEqual(88)
  expect(within).toBeLessThanOrEqual(99)
})

it('a resample with every image once is the value itself', async () => {
  // Two rows: half of the resamples have both of them, and the others none but one, whose covariance is 0.
  const rows = Float32Array.from([0, 2])
  const moments = new RunningMoments(1)
  await moments.add(rows)
  const real = { mean: Float64Array.from([1]), m2: Float64Array.from([2]), count: 2 }
  expect(await momentsDistance(real, moments)).toBeCloseTo(0, 12)
  const [low, high] = await intervalOfDistance(0, real, [rows], { replicates: 200, seed: 1 }, undefined)
  // |0 − 1|² + 2 = 3 for both of the others; the mean is moved to 0.
  expect(high - low).toBeLessThanOrEqual(3)
  expect(high).toBeGreaterThan(1)
})

let classifier: Classifier
beforeAll(async () => {
  classifier = await Classifier.train(bandsData(), { epochs: 2, seed: 1, device: 'cpu' })
})
afterAll(() => classifier.dispose())

it('evaluate gives intervals where they cost little, and leaves the values as they are', async () => {
  const learner = await tinyLearner({ sampler: { steps: 1 } })
  const stream = bandsStream()
  const seen = stream.seen(stream.tasks[1]!)
  const metrics = [
    frechetDistance(classifier),
    precision(classifier),
    recall(classifier),
    classFrequencies(classifier),
    averageRatioDeviation(classifier),
    kernelDistance(classifier),
  ]
  const of = async (bootstrap: number) => (await evaluate(learner, seen, metrics, { count: 24, bootstrap })).values
  const [none, some] = [await of(0), await of(100)]
  for (const [name, { value, interval, ...rest }] of Object.entries(some)) {
    expect(none[name as keyof typeof none]).toEqual({ value, ...rest })
    if (name === 'kernelDistance') expect(interval).toBeUndefined()
    else {
      const [low, high] = interval!
      expect(low).toBeLessThanOrEqual(value)
      expect(high).toBeGreaterThanOrEqual(value)
    }
  }
  expect(await of(100)).toEqual(some)
})
