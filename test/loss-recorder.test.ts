import { expect, test } from 'vitest'
import { LossRecorder } from '../lib/experiment/loss-recorder.js'

/** Records the losses of steps that were run in chunks of the given sizes, each told as the mean of its steps. */
function record(losses: readonly number[], chunks: readonly number[]): LossRecorder {
  const recorder = new LossRecorder()
  let step = 0
  for (const size of chunks) {
    const loss = losses.slice(step, step + size).reduce((sum, value) => sum + value, 0) / size
    step += size
    const rest = { task: 1, terms: [], gradNorm: 1, stepsPerSecond: 1, secondsLeft: 1 }
    recorder.add({ ...rest, step, steps: losses.length, loss })
  }
  return recorder
}

test('the mean over all steps does not depend on how they were cut into chunks', () => {
  const losses = [8, 4, 2, 1, 1]
  for (const chunks of [[1, 1, 1, 1, 1], [5], [1, 4], [3, 2]])
    expect(record(losses, chunks).mean).toBeCloseTo(16 / 5, 12)
})

test('a long training becomes a curve of at most a hundred points, each the mean of its steps', () => {
  const losses = Array.from({ length: 1000 }, (_, i) => i)
  const { points, steps } = record(losses, Array(500).fill(2))
  expect(steps).toBe(1000)
  expect(points).toHaveLength(100)
  // Ten steps a point: 0 … 9, 10 … 19, and so on.
  expect(points.map(([step]) => step)).toEqual(Array.from({ length: 100 }, (_, i) => (i + 1) * 10))
  expect(points.map(([, loss]) => loss)).toEqual(Array.from({ length: 100 }, (_, i) => i * 10 + 4.5))
})
