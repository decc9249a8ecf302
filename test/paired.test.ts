import { expect, test } from 'vitest'
import { pairedDifference } from '../lib/report/paired.js'
import type { Results } from '../lib/report/results.js'
import { studentT975 } from '../lib/report/student-t.js'
import { finalTable, pairedTable } from '../lib/report/table.js'
import { madeUpResults } from './support/results.js'

/** P(T < t) of Student's t with ν degrees of freedom, by Simpson's rule over its density, which is Γ-free once it is normalised. */
function cumulative(t: number, degrees: number): number {
  const density = (x: number) => (1 + x ** 2 / degrees) ** (-(degrees + 1) / 2)
  const integral = (to: number, pieces: number) => {
    const h = to / pieces
    let sum = density(0) + density(to)
    for (let i = 1; i < pieces; i++) sum += (i % 2 === 1 ? 4 : 2) * density(i * h)
    return (sum * h) / 3
  }
  // x = s / (1 − s) takes the whole half axis to [0, 1).
  const pieces = 200_000
  let half = 0
  for (let i = 0; i < pieces; i++) {
    const s = (i + 0.5) / pieces
    half += density(s / (1 - s)) / (1 - s) ** 2 / pieces
  }
  return 0.5 + (0.5 * integral(t, 20_000)) / half
}

test.each([1, 2, 3, 5, 7, 12, 30, 31, 50, 200])('the quantile for %s degrees of freedom', (degrees) => {
  expect(cumulative(studentT975(degrees), degrees)).toBeCloseTo(0.975, 4)
})

/** Results in which finetune and generative distillation have these Fréchet distances, seed by seed. */
function results(finetune: readonly number[], distilled: readonly (number | undefined)[]): Results {
  const made = madeUpResults(finetune.map((_, i) => i + 1))
  const runs = made.runs.map((run) => {
    const value = (run.method === 'finetune' ? finetune : distilled)[run.seed - 1]
    const tasks = value === undefined ? run.tasks.slice(0, 1) : run.tasks
    return {
      ...run,
      tasks: tasks.map((task) => ({
        ...task,
        metrics: { ...task.metrics, frechetDistance: { ...task.metrics.frechetDistance!, value: value as number } },
      })),
    }
  })
  return { ...made, runs }
}

test('a difference is paired by seed', () => {
  // Differences 1, 2, 3: mean 2, standard error 1 / √3, and 4.303 for two degrees of freedom.
  const found = pairedDifference(
    results([10, 20, 30], [11, 22, 33]),
    'frechetDistance',
    'generative-distillation',
    'finetune',
  )!
  expect(found.mean).toBeCloseTo(2)
  expect(found.interval[0]).toBeCloseTo(2 - 4.303 / Math.sqrt(3), 3)
  expect(found.interval[1]).toBeCloseTo(2 + 4.303 / Math.sqrt(3), 3)
  expect(found.baseline).toBe(20)
})

test('only seeds that both have finished count, and fewer than three say nothing', () => {
  const four = results([10, 20, 30, 40], [11, undefined, 33, 44])
  expect(pairedDifference(four, 'frechetDistance', 'generative-distillation', 'finetune')).toMatchObject({
    seeds: [1, 3, 4],
  })
  const two = results([10, 20], [11, 22])
  expect(pairedDifference(two, 'frechetDistance', 'generative-distillation', 'finetune')).toBeUndefined()
  expect(pairedTable(two)).toBe('')
})

test.each([
  ['null, as JSON has it', null],
  ['NaN', Number.NaN],
])('a value that could not be measured counts for no seed: %s', (_, unmeasured) => {
  const four = results([10, 20, 30, 40], [11, unmeasured as number, 33, 44])
  expect(pairedDifference(four, 'frechetDistance', 'generative-distillation', 'finetune')).toMatchObject({
    seeds: [1, 3, 4],
    mean: expect.closeTo(8 / 3),
  })
  // A mean without it would hide that it is the worst.
  expect(finalTable(four).split('\n')[5]).toMatch(/^generative-distillation +– /)
})

test('the table is in percent of the first method', () => {
  const lines = pairedTable(results([10, 20, 30], [5, 10, 15])).split('\n')
  expect(lines[0]).toMatch(/Difference to finetune, in percent of its mean \[95 % interval\]; paired by seed, 3 seeds/)
  expect(lines[2]).toMatch(/Fréchet distance ↓/)
  // −5, −10, −15: mean −10 of 20, half-width 4.303 · 5 / √3 = 12.4.
  expect(lines[4]).toMatch(/^generative-distillation +−50 % \[−112, 12\] /)
})
