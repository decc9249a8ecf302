import { expect, it } from 'vitest'
import { methodTests, testTable } from '../lib/experiment/index.js'
import type { Results } from '../lib/report/results.js'
import { holm, pairedTP, signFlipP } from '../lib/report/significance.js'
import { studentT975, twoSidedP } from '../lib/report/student-t.js'
import { spread } from '../lib/report/summary.js'
import { madeUpResults } from './support/results.js'

// By scipy 1.17.1: ttest_1samp with confidence_interval, permutation_test of 'samples' over all signs.
const oracles = [
  { d: [1.5, -0.2, 0.9], p: 0.27859158063765166, interval: [-1.4084102384010424, 2.875076905067709], flips: 0.5 },
  {
    d: [0.31, 0.42, 0.17, 0.55, 0.29, 0.48],
    p: 0.0012804317066533362,
    interval: [0.2238305293561356, 0.5161694706438645],
    flips: 0.03125,
  },
  {
    d: [-2.1, 0.4, -1.7, -0.9, 0.2, -3.3, -1.1, -0.8],
    p: 0.029820975562688524,
    interval: [-2.1735941446794715, -0.15140585532052864],
    flips: 0.03125,
  },
  {
    d: [0.01, -0.02, 0.015, 0.005, -0.01, 0.03, 0, 0.02, -0.005, 0.012],
    p: 0.25675624646546313,
    interval: [-0.004948170246430018, 0.016348170246430017],
    flips: 0.28125,
  },
  {
    d: [1, 1, 1, 2, -1, -2, 3, 1, 1, 2, 2, -1],
    p: 0.07477967953360769,
    interval: [-0.09862972046165519, 1.765296387128322],
    flips: 0.11181640625,
  },
] as const

it.each(oracles)('the tests of $d are those of scipy', ({ d, p, interval, flips }) => {
  const { mean, error } = spread(d)
  expect(pairedTP(mean, error!, d.length)).toBeCloseTo(p, 10)
  const half = error! * studentT975(d.length - 1)
  expect(mean - half).toBeCloseTo(interval[0], 10)
  expect(mean + half).toBeCloseTo(interval[1], 10)
  expect(signFlipP(d)).toBe(flips)
})

// scipy.stats.t: 2·sf(t, ν), and ppf(0.975, ν).
it.each([
  [0.5, 1, 0.7048327646991335],
  [2.2, 2, 0.15880897580794018],
  [3.1, 5, 0.026853184190035198],
  [1.7, 30, 0.09947787558851685],
  [4.4, 101, 2.6890741535904378e-5],
  [-12, 3, 0.0012450158007893362],
])('P(|T| ≥ |%d|) for %d degrees of freedom', (t, degrees, p) => {
  expect(twoSidedP(t, degrees)).toBeCloseTo(p, 12)
})

it.each([
  [1, 12.706204736174694],
  [2, 4.302652729749462],
  [5, 2.5705818356363146],
  [30, 2.0422724563012378],
  [101, 1.983731002955606],
])('the quantile for %d degrees of freedom', (degrees, quantile) => {
  expect(studentT975(degrees)).toBeCloseTo(quantile, 10)
})

it('the sign flips of twenty differences are all tried, and of more none', () => {
  // All of one sign: only all signs or none are as extreme.
  expect(signFlipP(Array.from({ length: 20 }, (_, i) => 0.1 + i / 7))).toBe(2 / 2 ** 20)
  expect(signFlipP(new Array(21).fill(1))).toBeUndefined()
  expect(signFlipP([0, 0, 0])).toBe(1)
})

it('differences that are all the same are surely one, and none are none', () => {
  expect(pairedTP(2, 0, 3)).toBe(0)
  expect(pairedTP(0, 0, 3)).toBe(1)
})

it("Holm's correction is that of R's p.adjust", () => {
  const found = holm([0.01, 0.04, 0.03, 0.005])
  for (const [i, value] of [0.03, 0.06, 0.06, 0.02].entries()) expect(found[i]).toBeCloseTo(value, 12)
  expect(holm([0.9, 0.8])).toEqual([1, 1])
  expect(holm([])).toEqual([])
})

/** Results of three methods over as many seeds as there are distances. */
function results(distances: Record<string, readonly number[]>): Results {
  const seeds = Object.values(distances)[0]!.map((_, i) => i + 1)
  const made = madeUpResults(seeds)
  const runs = Object.entries(distances).flatMap(([method, values]) =>
    made.runs
      .filter((run) => run.method === 'finetune')
      .map((run) => ({
        ...run,
        method,
        tasks: run.tasks.map((task) => ({
          ...task,
          metrics: { frechetDistance: { ...task.metrics.frechetDistance!, value: values[run.seed - 1]! } },
        })),
      })),
  )
  const { frechetDistance } = made.metrics
  const methods = Object.keys(distances).map((label) => ({ label, about: '' }))
  return { ...made, metrics: { frechetDistance: frechetDistance! }, methods, runs }
}

const three = results({
  finetune: [10, 20, 30, 40, 50, 60],
  joint: [9.69, 19.58, 29.83, 39.45, 49.71, 59.52],
  ewc: [11.5, 18, 33, 39, 51, 59],
})

it('each method is compared with the baseline, with the p of all of them corrected', () => {
  const [joint, ewc] = methodTests(three)
  expect(joint).toMatchObject({ metric: 'frechetDistance', method: 'joint', difference: { seeds: [1, 2, 3, 4, 5, 6] } })
  expect(joint!.difference!.p).toBeCloseTo(0.0012804317066533362, 8)
  expect(joint!.difference!.signFlipP).toBe(0.03125)
  expect(joint!.holmP).toBeCloseTo(2 * 0.0012804317066533362, 8)
  expect(ewc!.holmP).toBe(ewc!.difference!.p)
  const against = methodTests(three, 'ewc')
  expect(against.map(({ method }) => method)).toEqual(['finetune', 'joint'])
  expect(against[0]!.difference!.mean).toBeCloseTo(-ewc!.difference!.mean, 12)
  expect(() => methodTests(three, 'jont')).toThrow(/unknown method 'jont' \(did you mean 'joint'\?\)/)
})

it('the table says which methods differ, and with two seeds that none can be said to', () => {
  const lines = testTable(three).split('\n')
  expect(lines[0]).toBe(
    'Fréchet distance (small CNN, 64 features): difference to finetune after the last task, paired by seed; lower is better',
  )
  expect(lines.find((line) => line.startsWith('joint'))).toMatch(
    /6 +−0\.370 +−0\.516 … −0\.224 +0\.0013 +0\.0026 +0\.031 +yes$/,
  )
  expect(lines.find((line) => line.startsWith('ewc'))).toMatch(/not shown$/)
  const two = results({ finetune: [10, 20], joint: [1, 2] })
  expect(testTable(two)).toMatch(/joint +fewer than 3 +– +– +– +– +– +–$/m)
  expect(testTable(three, 'markdown')).toContain('| joint | 6 | −0.370 |')
})
