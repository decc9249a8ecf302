import { expect, test } from 'vitest'
import { progressLine, runClock } from '../lib/cli/run-display.js'

test('what is left of a run is estimated by the parts done', () => {
  const at = (part: number) => ({ method: 'joint', seed: 1, task: part, tasks: 4, part, parts: 4 })
  const progress = { secondsLeft: 8 } as never
  const left = runClock()
  expect(left({ kind: 'learn', part: at(1), progress })).toBeUndefined()
  const done = (learn: number, evaluate: number) => ({ seconds: { learn, evaluate } }) as never
  expect(left({ kind: 'task', part: at(1), result: done(10, 2) })).toBe(36)
  expect(left({ kind: 'learn', part: at(2), progress })).toBe(8 + 2 + 24)
  expect(left({ kind: 'task', part: at(2), result: done(14, 2) })).toBe(28)
  expect(left({ kind: 'learn', part: at(4), progress })).toBe(10)
})

test.each([200, 80, 60, 20])('a progress line fits %s columns, and the times are the last to go', (columns) => {
  const what = '[1/15] task 1/5, seed 42, generative-distillation-from-a-pool'
  const state = { what, left: 'task: 0:09 left, run: 1:03 left', detail: '12.3 steps/s, loss 0.0123' }
  const line = progressLine(columns, 0.5, state)
  if (columns >= 60) {
    expect(line.length).toBeLessThan(columns)
    expect(line).toMatch(/^\[1\/15\] task 1.* 50 % {2}task: 0:09 left, run: 1:03 left/)
  }
  expect(line.includes('loss 0.0123')).toBe(columns === 200)
  expect(line.includes('█░')).toBe(columns === 200)
})
