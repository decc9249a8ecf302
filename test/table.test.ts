import { describe, expect, test } from 'vitest'
import type { MetricValue } from '../lib/evaluation/metric.js'
import { answer } from '../lib/report/answer.js'
import type { MethodRun } from '../lib/report/results.js'
import { formatNumber, spread } from '../lib/report/summary.js'
import { costOf, finalTable, forgettingTable, tablesAtEnd, tablesByClass, tablesByTask } from '../lib/report/table.js'
import { madeUpResults } from './support/results.js'

test('the tables by task have a line per method, and the counts below', () => {
  const lines = tablesByTask(madeUpResults()).split('\n')
  const cells = lines.map((line) => line.trim().split(/ {2,}/))
  expect(lines[0]).toMatch(/^Fréchet distance \(small CNN, 64 features\); lower is better; seed 42/)
  expect(cells[2]).toEqual(['After task', '1 T-shirt/top, Trouser', '2 Pullover, Dress'])
  expect(cells[4]).toEqual(['finetune', '33.0 †', '146 †'])
  expect(cells[5]).toEqual(['generative-distillation', '33.0 †', '37.3 †'])
  expect(cells[6]).toEqual(['real / generated images', '200 / 1000', '400 / 1000'])
  // Columns are aligned: numbers end where their heading ends.
  expect(lines[4]!.length).toBe(lines[2]!.length)
})

test('over several seeds tables give mean ± standard error, in Markdown too', () => {
  const lines = finalTable(madeUpResults([1, 2]), 'markdown').split('\n')
  expect(lines[0]).toMatch(/After task 2; 400 real and 1000 generated images; .*mean ± standard error over seeds 1, 2/)
  // 37.25 and 39.25: their sample deviation is √2, its standard error 1. 146.4 and 147.4: 0.5.
  expect(lines[4]).toMatch(/^\| finetune \| 147 ± 0\.5 † \|/)
  expect(lines[5]).toMatch(/^\| generative-distillation \| 38\.3 ± 1\.0 † \|.*\| 10\.0 \| 3\.00 \|$/)
  expect(new Set(lines.slice(2, 6).map((line) => line.split('|').length))).toEqual(new Set([7]))
  expect(lines.slice(6)).toEqual(['', '† A note.'])
})

test('the table of forgetting has the mean over the earlier tasks, why it is not known, and the counts', () => {
  const lines = forgettingTable(madeUpResults([1, 2])).split('\n')
  expect(lines[0]).toMatch(/lower is better; 200 \/ 500 real \/ generated images of a task; mean ± standard error/)
  expect(lines.slice(2).map((line) => line.trim().split(/ {2,}/))).toEqual([
    ['Method', 'Fréchet distance'],
    [expect.stringMatching(/^─+$/)],
    ['finetune', 'not measured'],
    // 20 after task 1, 30 after task 2; 21 and 31 with the other seed.
    ['generative-distillation', '10.0 ± 0'],
  ])
  const runs = madeUpResults().runs.map((run) => ({
    ...run,
    tasks: run.tasks.map((task) => ({ ...task, alone: undefined as never })),
  }))
  expect(forgettingTable({ ...madeUpResults(), runs })).toBe('')
})

test('the notes on the tables at the end say what was noted, what a dash is, and why there is no forgetting', () => {
  const results = madeUpResults()
  const change = (change: (task: MethodRun['tasks'][number]) => object) => ({
    ...results,
    runs: results.runs.map((run) => ({ ...run, tasks: run.tasks.map((task) => ({ ...task, ...change(task) })) })),
  })
  expect(tablesAtEnd(results)).not.toMatch(/No table of forgetting|^–:/m)
  const noted = { frechetDistance: { value: null, real: 4, generated: 4, note: 'rank-deficient\ncovariance' } }
  const text = tablesAtEnd(
    change(() => ({ metrics: noted, alone: undefined })),
    'text',
    60,
  )
  expect(text).toMatch(
    /\nFréchet distance: rank-deficient\\u000acovariance\.\nNo table of forgetting: the tasks were not evaluated by\nthemselves/,
  )
  expect(text).toMatch(/\n–: not measured/)
  expect(
    tablesAtEnd(
      change(() => ({ metrics: noted })),
      'markdown',
    ),
  ).not.toMatch(/–: /)
  const drawn = change(({ alone }) => ({
    alone: alone?.map((task) => {
      const nothing = { value: null, real: 4, generated: 0, note: 'there are too few images of it' }
      return { ...task, values: { frechetDistance: nothing } }
    }),
  }))
  expect(tablesAtEnd(drawn)).toMatch(/No table of forgetting: task 1: there are too few images of it\./)
})

test('a metric with values of each class has a table by class, whose unmeasured values are dashes', () => {
  const results = madeUpResults([1, 2])
  const runs = results.runs.map((run) => ({
    ...run,
    tasks: run.tasks.map((task) => {
      const own = { value: 0.5, real: 400, generated: 1000 }
      const unmeasured = run.method === 'finetune' ? Number.NaN : 1
      const classes = [0.25 * run.seed, unmeasured, Number.NaN, 0.5]
      const detail = { classes, real: [100, 90, 0, 80], asked: [250, 250, 250, 240] }
      return { ...task, metrics: { ...task.metrics, classFrequencies: { ...own, detail } } }
    }),
  }))
  const lines = tablesByClass({ ...results, runs }).split('\n')
  expect(lines[0]).toMatch(/^KLD of class frequencies; each class after task 2; lower is better; mean ± standard error/)
  expect(lines.slice(2).map((line) => line.trim().split(/ {2,}/))).toEqual([
    ['Class', 'finetune', 'generative-distillation', 'real / generated images'],
    [expect.stringMatching(/^─+$/)],
    ['T-shirt/top', '0.375 ± 0.125', '0.375 ± 0.125', '100 / 250'],
    ['Trouser', '–', '1.00 ± 0', '90 / 250'],
    ['Dress', '0.500 ± 0', '0.500 ± 0', '80 / 240'],
  ])
  expect(tablesByClass(results)).toBe('')
})

test('a method that has not got to a task has a dash there', () => {
  const results = madeUpResults()
  const runs = results.runs.map((run, i) => (i === 1 ? { ...run, tasks: run.tasks.slice(0, 1) } : run))
  const row = tablesByTask({ ...results, complete: false, runs }).split('\n')[5]!
  expect(row.trim().split(/ {2,}/)).toEqual(['generative-distillation', '33.0 †', '–'])
})

test('the cost of a method is that of the tasks after the first, and of the first where there is no other', () => {
  const results = madeUpResults()
  const expected = { seconds: 10, steps: 100, teacherCalls: 3 }
  expect(costOf(results, 'generative-distillation')).toEqual(expected)
  // Whether its first task, without teacher calls, is finetune's or was trained makes no difference.
  const change = (from: (run: MethodRun) => MethodRun) => ({ ...results, runs: results.runs.map(from) })
  const trained = change((run) => ({ ...run, tasks: run.tasks.map((task) => ({ ...task, sharedFrom: undefined })) }))
  expect(costOf(trained, 'generative-distillation')).toEqual(expected)
  const single = change((run) => ({ ...run, tasks: run.tasks.slice(0, 1) }))
  expect(costOf(single, 'finetune')).toEqual({ seconds: 10, steps: 100, teacherCalls: 0 })
})

test('numbers keep three significant digits', () => {
  expect([146.4, 37.25, 4.046, 0.5, 0.0789, 0.00012, 0].map(formatNumber)).toEqual([
    '146',
    '37.3',
    '4.05',
    '0.500',
    '0.0789',
    '1.2e-4',
    '0',
  ])
})

test('the spread is the mean and its standard error, the sample standard deviation over √n', () => {
  expect(spread([2, 4, 4, 4, 5, 5, 7, 9]).mean).toBe(5)
  expect(spread([2, 4, 4, 4, 5, 5, 7, 9]).error).toBeCloseTo(Math.sqrt(32 / 7) / Math.sqrt(8), 12)
  expect(spread([3])).toEqual({ mean: 3, error: undefined })
})

/** The made-up results, changed at their last tasks: distances of finetune and distillation by seed, and more. */
function answered(distances: readonly (readonly [number, number])[], more: { note?: string; precision?: number } = {}) {
  const results = madeUpResults(distances.map((_, seed) => seed))
  const runs = results.runs.map((run) => ({
    ...run,
    tasks: run.tasks.map((task) => {
      const value = distances[run.seed]![run.method === 'finetune' ? 0 : 1]
      const { note: _, ...before } = task.metrics.frechetDistance!
      const { real, generated } = before
      const frechetDistance = { ...before, value, reference: 1.25, ...(more.note && { note: more.note }) }
      const metrics: Record<string, MetricValue> = { ...task.metrics, frechetDistance }
      if (more.precision !== undefined) metrics.precision = { value: more.precision, real, generated }
      return { ...task, metrics }
    }),
  }))
  return answer({ ...results, runs })
}

describe('the answer', () => {
  const clear = [
    [50, 10],
    [52, 11],
    [51, 10],
  ] as const

  test('names the closest method where seeds tell it from the others', () => {
    const [distance] = answered(clear)
    expect(distance).toMatch(/is 10\.3 for generative distillation and 51\.0 for finetune; lower is better/)
    expect(distance).toMatch(/real training images to them is 1\.25\. Generative distillation comes closest/)
  })

  test.each<[string, readonly (readonly [number, number])[], { note?: string; precision?: number }, RegExp]>([
    ['one seed', [[54, 48]], {}, /takes three seeds/],
    [
      'two seeds',
      [
        [54, 48],
        [55, 49],
      ],
      {},
      /takes three seeds/,
    ],
    [
      'a difference within chance',
      [
        [54, 48],
        [49, 53],
        [52, 51],
      ],
      {},
      /within what chance makes/,
    ],
    ['a precision near 0', clear, { precision: 0 }, /precision near 0/],
    [
      'fewer images than features',
      clear,
      { note: 'rank-deficient covariance: only 9 real images for 64 features' },
      /fewer images than features/,
    ],
  ])('names none with %s', (_, distances, more, why) => {
    const [distance] = answered(distances, more)
    expect(distance).not.toMatch(/comes closest,/)
    expect(distance).toMatch(/can't be said/)
    expect(distance).toMatch(why)
  })

  test('names none where a third method may be as close as the closest', () => {
    const distances = { 'generative-distillation': [10, 11, 9], finetune: [20, 21, 19], joint: [5, 10, 40] }
    const { runs, ...results } = madeUpResults([0, 1, 2])
    const judged = (method: keyof typeof distances) =>
      runs
        .filter((run) => run.method === 'finetune')
        .map((run) => ({
          ...run,
          method,
          tasks: run.tasks.map((task) => {
            const { note: _, ...before } = task.metrics.frechetDistance!
            const frechetDistance = { ...before, value: distances[method][run.seed]! }
            return { ...task, metrics: { ...task.metrics, frechetDistance } }
          }),
        }))
    const answerOf = (...labels: (keyof typeof distances)[]) =>
      answer({ ...results, methods: labels.map((label) => ({ label, about: '' })), runs: labels.flatMap(judged) })[0]
    expect(answerOf('generative-distillation', 'finetune')).toMatch(/Generative distillation comes closest/)
    expect(answerOf('generative-distillation', 'finetune', 'joint')).toMatch(
      /can't be said: the difference between generative distillation and joint is within what chance/i,
    )
  })

  test('says which classes are drawn, and that this is no quality, and nothing where images are unlike any real one', () => {
    // Of the earlier classes 0 and 1: real 0.25 + 0.25; finetune 0 + 0.02; distillation 0.2 + 0.25.
    expect(answered(clear)[1]).toMatch(
      /real images 50.% .* 2.% of finetune's and 45.% of generative distillation's.*nothing about the quality/,
    )
    expect(answered(clear, { precision: 0 })).toHaveLength(1)
  })
})

test.each([80, 40])('a table fits %s columns, and no number is lost or broken', (width) => {
  const results = madeUpResults([1, 2])
  for (const table of [finalTable, tablesByTask]) {
    const text = table(results, 'text', width)
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(width)
    const numbers = (of: string) => of.match(/[\d.]+ ± [\d.]+/g)?.sort()
    expect(numbers(text)).toEqual(numbers(table(results)))
  }
})
