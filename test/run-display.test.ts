import { PassThrough } from 'node:stream'
import type { WriteStream } from 'node:tty'
import { expect, test } from 'vitest'
import { progressLine } from '../lib/cli/live-line.js'
import { jsonDisplay, quietDisplay, runDisplay } from '../lib/cli/run-display.js'
import type { RunEvent } from '../lib/experiment/events.js'
import { secondsLeftOf } from '../lib/experiment/seconds-left.js'

const partOf = (part: number) => ({ method: 'joint', seed: 1, task: part, tasks: 4, part, parts: 4 })

/** The events of a part of 100 steps; the clock goes on by a second before each step. */
function* eventsOf(part: number, clock: { now: number }): Generator<RunEvent> {
  const losses = { loss: 0.5, terms: [0.5], penalties: {}, gradNorm: 1, lr: 1e-3 }
  for (let step = 1; step <= 100; step++) {
    clock.now += 1000
    const progress = { task: part, step, steps: 100, ...losses, stepsPerSecond: 1, secondsLeft: 100 - step }
    yield { kind: 'learn', part: partOf(part), progress, memory: { used: 1, peak: 2 }, secondsLeft: undefined }
  }
  yield { kind: 'evaluate', part: partOf(part), done: 1, total: 2 }
  yield { kind: 'checkpoint', number: part }
  const result = { metrics: {}, seconds: { learn: 100, evaluate: 1 } } as never
  yield { kind: 'task', part: partOf(part), result }
}

/** A stream as a terminal of 60 columns or as a pipe, and what was written to it. */
function streamOf(isTTY: boolean): { stream: WriteStream; text: () => string } {
  const stream = Object.assign(new PassThrough(), { isTTY, columns: 60 })
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  return { stream: stream as never, text: () => Buffer.concat(chunks).toString() }
}

test('what is left of a run is estimated by the parts done', () => {
  const done = (learn: number, evaluate: number, sharedFrom?: string) =>
    ({ seconds: { learn, evaluate }, ...(sharedFrom && { sharedFrom }) }) as never
  const runs = (...tasks: never[]) => [{ method: 'joint', seed: 1, tasks }]
  expect(secondsLeftOf(runs(), partOf(1), 8)).toBeUndefined()
  expect(secondsLeftOf(runs(done(10, 2)), partOf(2), 8)).toBe(8 + 2 + 24)
  // A task that another method's run was taken over for took no time, and tells nothing.
  expect(secondsLeftOf(runs(done(10, 2), done(0, 0, 'finetune')), partOf(2), 8)).toBe(8 + 2 + 24)
  expect(secondsLeftOf(runs(done(10, 2), done(14, 2)), partOf(4), 8)).toBe(10)
})

test.each([200, 80, 60, 20])('a progress line fits %s columns, and the times are the last to go', (columns) => {
  const what = '[1/15] task 1/5, seed 42, generative-distillation-from-a-pool'
  const state = { what, left: 'task: 0:09 left, run: 1:03 left', detail: '12.3 steps/s, loss 0.0123' }
  const line = progressLine(columns, 0.5, state)
  expect(line.length).toBeLessThan(columns)
  if (columns >= 60) expect(line).toMatch(/^\[1\/15\] task 1.* 50 % {2}task: 0:09 left, run: 1:03 left/)
  expect(line.includes('loss 0.0123')).toBe(columns === 200)
  expect(line.includes('█░')).toBe(columns === 200)
})

test.each([
  ['a pipe', false, {}],
  ['a terminal under CI', true, { CI: 'true', NO_COLOR: '1' }],
])('in %s a line of progress comes every ten seconds, and one a task', (_, isTTY, env) => {
  const { stream, text } = streamOf(isTTY)
  const clock = { now: 0 }
  const display = runDisplay(stream, env, () => clock.now)
  for (const part of [1, 2]) for (const event of eventsOf(part, clock)) display.show(event)
  const lines = text().trimEnd().split('\n')
  // Steps 1, 11 … 91 of either part; after these the clock stands at 100 and 200 seconds.
  expect(lines.filter((line) => line.includes('loss 0.5'))).toHaveLength(20)
  expect(lines.filter((line) => line.endsWith('learned (101 s)'))).toHaveLength(2)
  expect(lines).toHaveLength(22)
  expect(text()).not.toContain('\u001b')
})

test('on a terminal one line lives below a line for each task, and no line is wider than the terminal', () => {
  const { stream, text } = streamOf(true)
  const clock = { now: 0 }
  const display = runDisplay(stream, {}, () => clock.now)
  for (const event of eventsOf(1, clock)) display.show(event)
  display.end()
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is how a terminal is controlled
  const shown = text().split(/\u001b\[[?\d;]*[A-Za-z]|\n/)
  expect(Math.max(...shown.map((line) => line.length))).toBeLessThanOrEqual(60)
  expect(shown.filter((line) => line.includes('learned'))).toEqual(['[1/4] task 1/4, seed 1, joint: learned (101 s)'])
})

test.each([
  [{}, true, true],
  [{}, false, false],
  [{ NO_COLOR: '1' }, true, false],
  [{ NO_COLOR: '' }, true, true],
  [{ NO_COLOR: '1', FORCE_COLOR: '1' }, true, false],
  [{ FORCE_COLOR: '1' }, false, true],
  [{ FORCE_COLOR: '0' }, true, false],
  [{ FORCE_COLOR: '' }, false, false],
  [{ TERM: 'dumb' }, true, false],
])('with %j in the environment and a terminal: %s, a warning has colour: %s', (env, isTTY, isColored) => {
  const { stream, text } = streamOf(isTTY)
  quietDisplay(stream, env).show({ kind: 'warning', message: 'evil \u001b[2J' })
  expect(text()).toBe(isColored ? '\u001b[33mwarning: evil \\u001b[2J\u001b[39m\n' : 'warning: evil \\u001b[2J\n')
})

test('events are lines of JSON with their times; of progress one a second at most', () => {
  const lines: string[] = []
  const clock = { now: 0 }
  const display = jsonDisplay({ write: (line: string) => lines.push(line) > 0 }, () => clock.now)
  const events = [...eventsOf(1, clock)]
  clock.now = 0
  for (const event of events) {
    clock.now += 100
    display.show(event)
  }
  const shown = lines.map((line) => JSON.parse(line))
  expect(shown.filter(({ kind }) => kind === 'learn').map(({ progress }) => progress.step)).toEqual([
    1, 11, 21, 31, 41, 51, 61, 71, 81, 91,
  ])
  expect(shown.at(-1)).toEqual({ time: expect.stringMatching(/^\d{4}-.*Z$/), ...events.at(-1) })
  expect(shown.map(({ kind }) => kind).slice(-3)).toEqual(['evaluate', 'checkpoint', 'task'])
})
