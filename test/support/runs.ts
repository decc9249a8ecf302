import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { expect } from 'vitest'
import type { ExperimentInput } from '../../lib/experiment/config.js'
import { filesBelow } from './folders.js'
import { tinyExperiment } from './tiny-experiment.js'

/** Two tasks by two methods, with a checkpoint every few steps. */
export const brokenExperiment = {
  ...tinyExperiment,
  stream: { tasks: 2 },
  ema: { decay: 0.9, warmup: 'ratio' },
  train: {
    ...{ steps: 30, batchSize: 4, timesteps: { kind: 'logit-normal', stratified: true } },
    validation: { every: 7, fraction: 0.25, keepBest: true },
  },
  methods: ['finetune', 'synaptic-intelligence'],
  evaluation: { count: 10, metrics: ['frechetDistance'] },
  samples: { count: 1, columns: 1 },
  checkpoints: { everySteps: 4 },
} satisfies ExperimentInput

/** Checks that two run folders hold the same but for times, byte for byte. */
export async function expectSameRuns(a: string, b: string): Promise<void> {
  expect(await filesBelow(a)).toEqual(await filesBelow(b))
  for (const file of await filesBelow(a)) {
    // The page is made from the other files, and has the folder's name and the times in it; events are told with their times.
    if (file === 'report.html' || file === 'events.jsonl') continue
    const [x, y] = await Promise.all([a, b].map((folder) => readFile(path.join(folder, file))))
    if (file === 'results.json') expect(withoutTimes(x!)).toBe(withoutTimes(y!))
    else expect(x!.equals(y!), file).toBe(true)
  }
}

/** The text with every time 0: all else is to be the same byte for byte. */
function withoutTimes(json: Buffer): string {
  return json.toString().replace(/"(learn|evaluate)": [\d.]+/g, '"$1": 0')
}
