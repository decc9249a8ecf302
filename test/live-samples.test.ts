import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { invalid } from '../lib/errors.js'
import type { RunEvent } from '../lib/experiment/events.js'
import { liveSamples } from '../lib/experiment/live-samples.js'
import { part } from './support/run-folder.js'

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }))
afterEach(() => void vi.useRealTimers())

/** A training of so many steps of 100 ms; a grid takes half a second. Where it fails, it does so at the second grid. */
async function train(steps: number, everySteps: number | undefined, fails = false) {
  const events: RunEvent[] = []
  const counts: number[] = []
  const learner = {
    async sampleFor(_: unknown, { count }: { count: number }) {
      vi.advanceTimersByTime(500)
      counts.push(count)
      if (fails && counts.length === 2) throw invalid('no memory')
      return { data: new Uint8Array(count), count, height: 1, width: 1, channels: 1 }
    },
  }
  const folder = { isWriter: true, remove: async () => {}, write: async () => {} }
  const config = {
    samples: { count: 36, columns: 6, everySteps },
    sampler: { steps: 10 },
    train: { batchSize: 32 },
    unet: { num_class_embeds: null, class_embed_type: null },
  }
  const run = { config, folder, signal: undefined, onEvent: (event: RunEvent) => events.push(event) }
  const samples = liveSamples(run as never)
  await samples.begin()
  for (let step = 1; step <= steps; step++) {
    vi.advanceTimersByTime(100)
    const progress = { step, steps, stepsPerSecond: 10 }
    if (samples.everySteps === undefined || step % samples.everySteps === 0) {
      await samples.after({ learner, stream: {} } as never, part('joint', 1, 1), progress as never)
    }
  }
  return { events, counts, drawn: events.flatMap((event) => (event.kind === 'samples' ? event.step : [])) }
}

test('samples that nobody asked for take at most a hundredth of the time of training, and come a hundred times at most', async () => {
  const { drawn, counts } = await train(10_000, undefined)
  // Of the 1000 seconds of training 10 are for twenty grids.
  expect(drawn.length).toBeGreaterThanOrEqual(18)
  expect(drawn.length).toBeLessThanOrEqual(20)
  expect(Math.max(...counts)).toBe(16)
  const long = await train(200_000, undefined)
  expect(long.drawn.length).toBeLessThanOrEqual(100)
  expect(long.drawn.length).toBeGreaterThan(90)
  // Too short for one.
  expect((await train(100, undefined)).drawn).toEqual([])
})

test('samples that were asked for come at the steps that were asked for, but not at the last; with 0 none come', async () => {
  expect((await train(10, 3)).drawn).toEqual([3, 6, 9])
  expect((await train(9, 3)).drawn).toEqual([3, 6])
  expect((await train(1000, 0)).drawn).toEqual([])
})

test('samples that fail are told once and do not end the training', async () => {
  const { drawn, events } = await train(20, 2, true)
  expect(drawn).toEqual([2])
  expect(events.filter(({ kind }) => kind === 'warning')).toEqual([
    { kind: 'warning', message: expect.stringContaining('no memory') },
  ])
})
