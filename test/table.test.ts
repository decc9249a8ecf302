import { expect, test } from 'vitest'
import { answer } from '../lib/report/answer.js'
import { formatNumber, spread } from '../lib/report/summary.js'
import { markdownTable, textTable } from '../lib/report/table.js'
import { madeUpResults } from './support/results.js'

test('the text table has a line per task, with each method’s value and the counts', () => {
  const lines = textTable(madeUpResults()).split('\n')
  const cells = lines.map((line) => line.trim().split(/ {2,}/))
  expect(lines[0]).toMatch(/^Fréchet distance \(small CNN, 64 features\).*lower is better.*seed 42/)
  expect(cells[2]).toEqual(['After task', 'finetune', 'generative-distillation', 'real / generated images'])
  expect(cells[4]).toEqual(['1', 'T-shirt/top, Trouser', '33.0', '33.0', '200 / 1000'])
  expect(cells[5]).toEqual(['2', 'Pullover, Dress', '146', '37.3', '400 / 1000'])
  // Columns are aligned: numbers end where their heading ends.
  const end = lines[2]!.indexOf('finetune') + 'finetune'.length
  expect(lines[5]!.slice(0, end)).toMatch(/146$/)
})

test('over several seeds the Markdown table gives mean ± standard deviation', () => {
  const lines = markdownTable(madeUpResults([1, 2])).split('\n')
  const row = lines.find((line) => line.includes('Pullover'))!
  // 37.25 and 39.25; 146.4 and 147.4: their sample deviations are √2 and √½.
  expect(row).toContain('| 38.3 ± 1.4 |')
  expect(row).toContain('| 147 ± 1 |')
  expect(lines.filter((line) => line.startsWith('|')).map((line) => line.split('|').length)).toEqual(Array(8).fill(6))
})

test('a method that has not got to a task has a dash there', () => {
  const results = madeUpResults()
  const runs = results.runs.map((run, i) => (i === 1 ? { ...run, tasks: run.tasks.slice(0, 1) } : run))
  const row = textTable({ ...results, complete: false, runs }).split('\n')[5]!
  expect(row.trim().split(/ {2,}/)).toEqual(['2', 'Pullover, Dress', '146', '–', '400 / 1000'])
})

test('numbers keep three significant digits', () => {
  expect([146.4, 37.25, 4.046, 0.5, 0.0789, 0.00012, 0].map(formatNumber)).toEqual([
    '146',
    '37.3',
    '4.05',
    '0.500',
    '0.0789',
    '1.2e-4',
    '0.0000',
  ])
})

test('the spread is the mean and the sample standard deviation', () => {
  expect(spread([2, 4, 4, 4, 5, 5, 7, 9]).mean).toBe(5)
  expect(spread([2, 4, 4, 4, 5, 5, 7, 9]).deviation).toBeCloseTo(Math.sqrt(32 / 7), 12)
  expect(spread([3])).toEqual({ mean: 3, deviation: undefined })
})

test('the answer ranks the methods and says how much of the earlier tasks is left', () => {
  const [distance, share] = answer(madeUpResults())
  expect(distance).toMatch(
    /^After task 2 generative distillation comes closest.*37\.3 for generative distillation and 146 for finetune/,
  )
  // Of the earlier classes 0 and 1: real 0.25 + 0.25; finetune 0 + 0.02; distillation 0.2 + 0.25.
  expect(share).toMatch(/^Of the real images 50.% .* 2.% of finetune's and 45.% of generative distillation's/)
})
