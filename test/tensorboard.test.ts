import { appendFile, readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { ExperimentInput } from '../lib/experiment/config.js'
import type { RunEvent } from '../lib/experiment/events.js'
import { type Logger, safeLoggers } from '../lib/experiment/logger.js'
import { resumeExperiment, runExperiment } from '../lib/experiment/run.js'
import { tensorBoard } from '../lib/experiment/tensorboard.js'
import { crc32c, eventRecord, fileVersion, readEventFile } from '../lib/files/event-file.js'
import { temporaryFolder } from './support/folders.js'
import { tinyExperiment } from './support/tiny-experiment.js'

const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAAAAADRSSBWAAAAC0lEQVR4nGNg+A8AAQIBAPEUQ1oAAAAASUVORK5CYII=',
  'base64',
)

test('checksums are those of RFC 3720, appendix B.4', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43)
})

test('event files are byte for byte those that TensorBoard itself writes', async () => {
  // By tensorboard 2.21's Event, Summary and RecordWriter.
  const theirs = Buffer.from(
    'GAAAAAAAAACjf0siCQAAAAAAAPg/Gg1icmFpbi5FdmVudDoyKihkbDkAAAAAAAAAiwc38QkAABBA/FTZQRCsAiorChEKCnRyYWluL2xvc3MVAACAPgoWCg9tZXRyaWNz' +
      'L2dyw7bDn2UVF7fRuC67bGFqAAAAAAAAAK+B7WcJAABAQPxU2UEQgMivoCUqWQpXCgdzYW1wbGVzIkwIARACGAQiRIlQTkcNChoKAAAADUlIRFIAAAACAAAAAQgAAAAA' +
      '0UkgVgAAAAtJREFUeJxjYPgPAAECAQDxFENaAAAAAElFTkSuQmCCm+wUBA==',
    'base64',
  )
  const ours = Buffer.concat([
    fileVersion(1.5),
    eventRecord({ time: 1_700_000_000.25, step: 300, scalars: { 'train/loss': 0.25, 'metrics/größe': -1e-4 } }),
    eventRecord({ time: 1_700_000_001, step: 10_000_000_000, images: { samples: png } }),
  ])
  expect(ours.equals(theirs)).toBe(true)
  const file = path.join(await temporaryFolder(), 'events')
  // A record that was being written when the process was killed.
  await writeFile(file, Buffer.concat([theirs, theirs.subarray(0, 30)]))
  expect(await readEventFile(file)).toEqual([
    { end: 40, step: 0, tags: [] },
    { end: 113, step: 300, tags: ['train/loss', 'metrics/größe'] },
    { end: theirs.length, step: 10_000_000_000, tags: ['samples'] },
  ])
})

const experiment = {
  ...tinyExperiment,
  stream: { tasks: 2 },
  train: { steps: 5, batchSize: 4 },
  evaluation: { count: 10, metrics: ['classFrequencies'] },
  samples: { count: 4, columns: 2, everySteps: 2 },
  checkpoints: { everySteps: 1 },
  log: 'tensorboard',
} satisfies ExperimentInput

/** The event file of a method. */
async function eventFile(run: string, method: string): Promise<string> {
  const folder = path.join(run, 'tensorboard', method, 'seed-42')
  const names = await readdir(folder)
  expect(names).toHaveLength(1)
  return path.join(folder, names[0]!)
}

test('a run that is stopped and resumed has each step once in its event files', async () => {
  const out = path.join(await temporaryFolder(), 'out')
  const controller = new AbortController()
  // In the second task of the second method, after a step whose losses were logged.
  const onEvent = (event: RunEvent) =>
    event.kind === 'losses' && event.part.part === 3 && event.losses.step === 3 && controller.abort(new Error('stop'))
  await expect(runExperiment({ ...experiment, out }, { signal: controller.signal, onEvent })).rejects.toThrow('stop')
  // What a run had logged that was killed a little later.
  const before = await eventFile(out, 'generative-distillation')
  await appendFile(before, eventRecord({ time: 0, step: 10, scalars: { 'train/loss': 99 } }))
  await appendFile(before, Buffer.from('half a record'))
  await resumeExperiment(out)

  const lines = (await readFile(path.join(out, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n')
  const logged = lines.map((line) => JSON.parse(line)).filter(({ kind }) => kind === 'train')
  for (const method of ['finetune', 'generative-distillation']) {
    const found = await readEventFile(await eventFile(out, method))
    const steps = (tag: string) => found.filter(({ tags }) => tags.includes(tag)).map(({ step }) => step)
    const trained = logged.filter((line) => line.method === method).map(({ task, step }) => 5 * (task - 1) + step)
    expect(steps('train/loss')).toEqual(trained)
    expect(steps('metrics/classFrequencies')).toEqual([5, 10])
    expect(steps('samples')).toEqual([5, 10])
    const all = found.flatMap(({ step, tags }) => tags.map((tag) => `${tag} ${step}`))
    expect(new Set(all).size).toBe(all.length)
    // The first task was the other method's.
    expect(steps('samples/training')).toEqual(method === 'finetune' ? [2, 4, 7, 9] : [7, 9])
  }
})

test('an evaluation that comes again, of a task that was over, is not logged again', async () => {
  const folder = await temporaryFolder()
  const of = { method: 'joint', seed: 1 }
  const first = tensorBoard()
  await first.begin?.(folder, [])
  for (const step of [1, 2]) await first.scalars(step, { 'train/loss': 1 }, of)
  await first.scalars(2, { 'metrics/a': 1 }, of)
  await first.scalars(1, { 'train/loss': 1 }, { method: 'ewc', seed: 1 })
  const second = tensorBoard()
  await second.begin?.(folder, [{ ...of, step: 2 }])
  await second.scalars(2, { 'metrics/a': 1, 'metrics/b': 1 }, of)
  await second.image?.(2, 'samples', png, of)
  await second.scalars(3, { 'train/loss': 1 }, of)
  const at = path.join(folder, 'tensorboard')
  // The other method begins anew.
  expect(await readdir(path.join(at, 'ewc'))).toEqual([])
  const [file] = await readdir(path.join(at, 'joint', 'seed-1'))
  const found = await readEventFile(path.join(at, 'joint', 'seed-1', file!))
  expect(found.slice(1).map(({ step, tags }) => [step, ...tags])).toEqual([
    [1, 'train/loss'],
    [2, 'train/loss'],
    [2, 'metrics/a'],
    [2, 'metrics/b'],
    [2, 'samples'],
    [3, 'train/loss'],
  ])
})

test('a logger that throws is told once, and neither it nor another is left out after that', async () => {
  const events: RunEvent[] = []
  const steps: number[] = []
  const failing: Logger = {
    scalars(step) {
      steps.push(step)
      throw new Error('the network is down')
    },
  }
  const other: Logger = { scalars: async (step) => void steps.push(-step) }
  const loggers = safeLoggers([failing, other], (event) => events.push(event))
  await loggers.begin('/folder', [])
  for (const step of [1, 2]) await loggers.scalars(step, {}, { method: 'joint', seed: 1 })
  await loggers.image(2, 'samples', png, { method: 'joint', seed: 1 })
  await loggers.close()
  expect(steps).toEqual([1, -1, 2, -2])
  expect(events).toEqual([{ kind: 'warning', message: expect.stringContaining('the network is down') }])
})
