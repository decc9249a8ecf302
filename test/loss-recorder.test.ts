import { expect, test } from 'vitest'
import { LossRecorder } from '../lib/experiment/loss-recorder.js'
import type { StepLosses } from '../lib/learner/learn-options.js'

const stepsOf = (losses: readonly number[]): StepLosses[] =>
  losses.map((loss, i) => ({
    step: i + 1,
    steps: losses.length,
    loss,
    terms: [loss, 2 * loss],
    penalties: { ewc: 3 * loss },
    gradNorm: 1,
    lr: i + 1,
  }))

test('a long training becomes at most a hundred lines, each the mean of its steps', () => {
  const recorder = new LossRecorder()
  const lines = stepsOf(Array.from({ length: 1000 }, (_, i) => i)).flatMap((losses) => recorder.add(losses) ?? [])
  expect([recorder.steps, recorder.mean]).toEqual([1000, 499.5])
  // Ten steps a line: 0 … 9, 10 … 19, and so on.
  const loss = (i: number) => i * 10 + 4.5
  expect(lines).toEqual(
    Array.from({ length: 100 }, (_, i) => ({
      step: (i + 1) * 10,
      steps: 1000,
      loss: loss(i),
      terms: [loss(i), 2 * loss(i)],
      penalties: { ewc: 3 * loss(i) },
      gradNorm: 1,
      lr: (i + 1) * 10,
    })),
  )
})

test('the last line ends with the last step, and a short training has a line for each', () => {
  const lines = (steps: number) => {
    const recorder = new LossRecorder()
    return stepsOf(Array(steps).fill(1)).flatMap((losses) => recorder.add(losses)?.step ?? [])
  }
  expect(lines(3)).toEqual([1, 2, 3])
  expect(lines(201).slice(-2)).toEqual([198, 201])
})

test('cut in two anywhere and kept as JSON in between, it says the same to the bit', () => {
  const steps = stepsOf(Array.from({ length: 250 }, (_, i) => Math.sin(i) / 3))
  const whole = new LossRecorder()
  const expected = steps.map((losses) => whole.add(losses))
  for (const cut of [1, 2, 100, 101, 249]) {
    const first = new LossRecorder()
    const lines = steps.slice(0, cut).map((losses) => first.add(losses))
    const second = new LossRecorder(JSON.parse(JSON.stringify(first.state)))
    expect([...lines, ...steps.slice(cut).map((losses) => second.add(losses))]).toEqual(expected)
    expect(second.mean).toBe(whole.mean)
  }
})
