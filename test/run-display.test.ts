import { expect, test } from 'vitest'
import { runClock } from '../lib/cli/run-display.js'

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
