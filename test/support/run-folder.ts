import { appendFile, mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { imageGrid } from '../../lib/images/grid.js'
import type { Results } from '../../lib/report/results.js'
import { madeUpResults } from './results.js'

/** The part of a made-up run that an event is about. */
export const part = (method: string, seed: number, task: number, part = 3) => ({
  ...{ method, seed, task, tasks: 2, part, parts: 6 },
})

const memory = { used: 300 * 2 ** 20, peak: 320 * 2 ** 20 }

/** A line of `events.jsonl` with the losses of a step. */
export function lossesEvent(of: ReturnType<typeof part>, step: number, loss: number) {
  const losses = { step, steps: 100, loss, terms: [loss], penalties: {}, gradNorm: 2 * loss, lr: 1e-3 }
  return { kind: 'losses', part: of, losses, stepsPerSecond: 12.5, memory }
}

/** What a run's `live/status.json` says while it learns. */
export function learning(of: ReturnType<typeof part>, step: number) {
  const losses = { loss: 0.125, terms: [0.125], penalties: {}, gradNorm: 0.5, lr: 2e-4 }
  const progress = { task: of.task, step, steps: 100, ...losses, stepsPerSecond: 12.5, secondsLeft: 65 }
  const event = { kind: 'learn', part: of, progress, memory, secondsLeft: 3700 }
  return { time: '2026-01-02T03:04:05.000Z', state: 'running', progress: event }
}

export async function appendEvents(folder: string, ...events: object[]): Promise<void> {
  const lines = events.map((event) => `${JSON.stringify({ time: '2026-01-02T03:04:05.000Z', ...event })}\n`)
  await appendFile(path.join(folder, 'events.jsonl'), lines.join(''))
}

/** Writes a status as a run does while it learns. */
export async function writeStatus(folder: string, status: object): Promise<void> {
  await mkdir(path.join(folder, 'live', 'samples'), { recursive: true })
  await writeFile(path.join(folder, 'live', 'status.json'), JSON.stringify(status))
}

/** A small picture of one grey. */
export function picture(grey: number): Promise<Uint8Array> {
  return imageGrid({ data: new Uint8Array(64).fill(grey), count: 1, height: 8, width: 8, channels: 1 })
}

/**
 * The folder of a made-up run of two methods and two seeds, of which the first seed is done, and the first method learns the first task of
 * the second seed; it has drawn two grids on the way.
 */
export async function writeRunFolder(folder: string): Promise<Results> {
  const results = { ...madeUpResults([1]), complete: false }
  await mkdir(folder, { recursive: true })
  const config = { title: results.title, methods: results.methods, seeds: [1, 2] }
  await writeFile(path.join(folder, 'config.json'), JSON.stringify(config))
  await writeFile(path.join(folder, 'results.json'), JSON.stringify(results))
  for (const { samples, realSamples } of results.runs.flatMap(({ tasks }) => tasks)) {
    for (const file of [samples, realSamples]) {
      await mkdir(path.dirname(path.join(folder, file)), { recursive: true })
      await writeFile(path.join(folder, file), await picture(120))
    }
  }
  const now = part('finetune', 2, 1)
  await appendEvents(
    folder,
    { kind: 'folder', folder },
    { kind: 'ready', device: 'cpu', precision: 'fp32', parameters: 1_234_567, metrics: results.metrics },
    ...[1, 2].flatMap((task) => [50, 100].map((step) => lossesEvent(part('finetune', 1, task), step, 1 / step))),
    ...[10, 20].map((step) => lossesEvent(now, step, 1 / step)),
    { kind: 'warning', message: 'the disk is <b>slow</b>' },
  )
  await writeStatus(folder, learning(now, 25))
  for (const step of [10, 20]) await writeFile(path.join(folder, `live/samples/step-${step}.png`), await picture(step))
  return results
}
