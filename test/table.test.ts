import { expect, test } from 'vitest'
import { answer } from '../lib/report/answer.js'
import type { MethodRun } from '../lib/report/results.js'
import { formatNumber, spread } from '../lib/report/summary.js'
import { costOf, finalTable, tablesByTask } from '../lib/report/table.js'
import { madeUpResults } from './support/results.js'

test('the tables by task have a line per method, and the counts below', () => {
  const lines = tablesByTask(madeUpResults()).split('\n')
  const cells = lines.map((line) => line.trim().split(/ {2,}/))
  expect(lines[0]).toMatch(/^Fréchet distance \(small CNN, 64 features\); lower is better; seed 42/)
  expect(cells[2]).toEqual(['After task', '1 T-shirt/top, Trouser', '2 Pullover, Dress'])
  expect(cells[4]).toEqual(['finetune', '33.0', '146'])
  expect(cells[5]).toEqual(['generative-distillation', '33.0', '37.3'])
  expect(cells[6]).toEqual(['real / generated images', '200 / 1000', '400 / 1000'])
  // Columns are aligned: numbers end where their heading ends.
  expect(lines[4]!.length).toBe(lines[2]!.length)
})

test('over several seeds tables give mean ± standard error, in Markdown too', () => {
  const lines = finalTable(madeUpResults([1, 2]), 'markdown').split('\n')
  expect(lines[0]).toMatch(/After task 2; 400 real and 1000 generated images; .*mean ± standard error over seeds 1, 2/)
  // 37.25 and 39.25: their sample deviation is √2, its standard error 1. 146.4 and 147.4: 0.5.
  expect(lines[4]).toMatch(/^\| finetune \| 147 ± 0\.5 \|/)
  expect(lines[5]).toMatch(/^\| generative-distillation \| 38\.3 ± 1\.0 \|.*\| 10\.0 \| 3\.00 \|$/)
  expect(new Set(lines.slice(2).map((line) => line.split('|').length))).toEqual(new Set([7]))
})

test('a method that has not got to a task has a dash there', () => {
  const results = madeUpResults()
  const runs = results.runs.map((run, i) => (i === 1 ? { ...run, tasks: run.tasks.slice(0, 1) } : run))
  const row = tablesByTask({ ...results, complete: false, runs }).split('\n')[5]!
  expect(row.trim().split(/ {2,}/)).toEqual(['generative-distillation', '33.0', '–'])
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

test('the answer ranks the methods and says how much of the earlier tasks is left', () => {
  const [distance, share] = answer(madeUpResults())
  expect(distance).toMatch(
    /^After task 2 generative distillation comes closest.*37\.3 for generative distillation and 146 for finetune/,
  )
  // Of the earlier classes 0 and 1: real 0.25 + 0.25; finetune 0 + 0.02; distillation 0.2 + 0.25.
  expect(share).toMatch(/^Of the real images 50.% .* 2.% of finetune's and 45.% of generative distillation's/)
})
