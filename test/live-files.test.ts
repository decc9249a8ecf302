import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import type { ExperimentInput } from '../lib/experiment/config.js'
import type { RunEvent } from '../lib/experiment/events.js'
import { runExperiment } from '../lib/experiment/run.js'
import { temporaryFolder } from './support/folders.js'
import { tinyExperiment } from './support/tiny-experiment.js'

const experiment = {
  ...tinyExperiment,
  stream: { tasks: 2 },
  methods: ['finetune'],
  train: { steps: 6, batchSize: 4, lrSchedule: 'linear' },
  evaluation: { count: 10, metrics: ['classFrequencies'] },
} satisfies ExperimentInput

test('a run under way has signs of life and samples in its folder, which change nothing that it computes', async () => {
  const folder = await temporaryFolder()
  const out = path.join(folder, 'watched')
  const events: RunEvent[] = []
  const statuses: { state: string; progress?: RunEvent }[] = []
  const grids: string[][] = []
  const sizes: unknown[] = []
  const { results } = await runExperiment(
    { ...experiment, samples: { count: 4, columns: 2, everySteps: 2 }, out },
    {
      onEvent(event) {
        events.push(event)
        if (event.kind === 'task') statuses.push(JSON.parse(readFileSync(path.join(out, 'live/status.json'), 'utf8')))
        if (event.kind !== 'samples') return
        grids.push(readdirSync(path.join(out, 'live/samples')).sort())
        sizes.push(sharp(readFileSync(path.join(out, event.file))).metadata())
      },
    },
  )
  // Every two steps but the last, and of one task at a time.
  const once = [['step-2.png'], ['step-2.png', 'step-4.png']]
  expect(grids).toEqual([...once, ...once])
  // Two by two images of 8 pixels, eight times as large, with a gap of one between them.
  for (const size of await Promise.all(sizes)) expect(size).toMatchObject({ format: 'png', width: 136, height: 136 })
  expect(statuses.map(({ state }) => state)).toEqual(['running', 'running'])
  expect(existsSync(path.join(out, 'live'))).toBe(false)

  const lines = readFileSync(path.join(out, 'events.jsonl'), 'utf8').trimEnd().split('\n')
  const told = lines.map((line) => JSON.parse(line))
  for (const { time } of told) expect(new Date(time).toISOString()).toBe(time)
  const isTold = ({ kind }: RunEvent) => ['folder', 'ready', 'losses', 'warning', 'end'].includes(kind)
  expect(told.map(({ time: _, ...event }) => event)).toEqual(JSON.parse(JSON.stringify(events.filter(isTold))))
  expect(told.at(-1)).toMatchObject({ kind: 'end', state: 'complete' })
  const ofTask = told.filter(({ kind, part }) => kind === 'losses' && part.task === 2)
  // From lr down to 0 in a line, as diffusers' schedule has it.
  const { lr } = (JSON.parse(readFileSync(path.join(out, 'config.json'), 'utf8')) as { train: { lr: number } }).train
  expect(ofTask.map(({ losses }) => losses.lr / lr)).toEqual(
    [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6].map((part) => expect.closeTo(part, 12)),
  )
  for (const { memory, stepsPerSecond } of ofTask) {
    expect(memory.used).toBeGreaterThan(2 ** 20)
    expect(memory.peak).toBeGreaterThanOrEqual(memory.used)
    expect(stepsPerSecond).toBeGreaterThan(0)
  }

  const plain = path.join(folder, 'plain')
  await runExperiment({ ...experiment, samples: { count: 4, columns: 2, everySteps: 0 }, out: plain })
  expect(existsSync(path.join(plain, 'live'))).toBe(false)
  const { learner } = results.runs[0]!.tasks[1]!
  const weights = (run: string) => readFileSync(path.join(run, learner!, 'diffusion_pytorch_model.safetensors'))
  expect(weights(out).equals(weights(plain))).toBe(true)
})

test('a run that fails or is stopped says so in its folder, and why', async () => {
  const out = path.join(await temporaryFolder(), 'out')
  const controller = new AbortController()
  const onEvent = ({ kind }: RunEvent) => kind === 'learn' && controller.abort(new Error('enough'))
  await expect(runExperiment({ ...experiment, out }, { signal: controller.signal, onEvent })).rejects.toThrow('enough')
  const status = JSON.parse(readFileSync(path.join(out, 'live/status.json'), 'utf8'))
  expect(status).toMatchObject({ state: 'stopped', message: 'enough', progress: { kind: 'learn' } })
})
