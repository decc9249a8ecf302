import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { ContinualDiffusionError } from '../engine/errors.js'
import { parseOptions } from '../options.js'
import type { LossCurve, Results } from '../report/results.js'
import type { ExperimentConfig } from './config.js'

/** A run folder's contents. */
export interface RunRecord {
  /** Absolute path. */
  readonly folder: string
  readonly config: Omit<ExperimentConfig, 'out'>
  readonly results: Results
  readonly curves: readonly LossCurve[]
}

/** A run may come from somebody else, and a report shows what these paths lead to. */
const within = z
  .string()
  .refine(
    (file) => !path.isAbsolute(file) && path.normalize(file).split(path.sep)[0] !== '..',
    'expected a path that stays in the run folder',
  )

// What is checked is what tells a results file from another; the rest of it was written by this package.
const resultsSchema = z.looseObject({
  title: z.string(),
  classes: z.array(z.string()),
  metrics: z.record(z.string(), z.looseObject({ title: z.string(), better: z.enum(['lower', 'higher']) })),
  methods: z.array(z.looseObject({ label: z.string() })),
  runs: z.array(
    z.looseObject({
      method: z.string(),
      seed: z.number(),
      tasks: z.array(z.looseObject({ task: z.number(), samples: within, realSamples: within, learner: within })),
    }),
  ),
})

const lineSchema = z.looseObject({
  kind: z.string(),
  method: z.string(),
  seed: z.number(),
  task: z.number(),
  step: z.number().optional(),
  loss: z.number().optional(),
})

/**
 * Reads a run folder, also of a run that was stopped.
 *
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND` when the folder holds no run, `ERR_BAD_DATA` for a damaged file
 */
export async function readRun(folder: string): Promise<RunRecord> {
  const at = path.resolve(folder)
  const results = await readJson(at, 'results.json')
  parseOptions(resultsSchema, results, path.join(at, 'results.json'), 'ERR_BAD_DATA')
  const config = (await readJson(at, 'config.json')) as RunRecord['config']
  return { folder: at, config, results: results as Results, curves: await readCurves(at, results as Results) }
}

async function readJson(folder: string, name: string): Promise<unknown> {
  const file = path.join(folder, name)
  try {
    return JSON.parse(await readFile(file, 'utf8'))
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code !== undefined
    throw new ContinualDiffusionError(
      missing ? 'ERR_DATA_NOT_FOUND' : 'ERR_BAD_DATA',
      `${file} ${missing ? "can't be read" : 'is not JSON'}: ${(cause as Error).message}; name the folder of a run`,
      { cause },
    )
  }
}

/** The loss curves of every method, seed and task, those of shared first tasks too. */
async function readCurves(folder: string, { runs }: Results): Promise<LossCurve[]> {
  const file = path.join(folder, 'metrics.jsonl')
  const curves = new Map<string, [step: number, loss: number][]>()
  // A run that was stopped before its first step has none.
  const lines = existsSync(file) ? (await readFile(file, 'utf8')).split('\n') : []
  // What follows the last line end was cut off when the run was.
  for (const [i, text] of lines.slice(0, -1).entries()) {
    const line = parseOptions(lineSchema, parseLine(text), `${file}, line ${i + 1}`, 'ERR_BAD_DATA')
    const { kind, method, seed, task, step, loss } = line
    if (kind !== 'train' || step === undefined || loss === undefined) continue
    const key = JSON.stringify([method, seed, task])
    const points = curves.get(key) ?? []
    curves.set(key, points)
    points.push([step, loss])
  }
  return runs.flatMap(({ method, seed, tasks }) =>
    tasks.flatMap(({ task, sharedFrom = method }) => {
      const points = curves.get(JSON.stringify([sharedFrom, seed, task]))
      return points === undefined ? [] : [{ method, seed, task, points }]
    }),
  )
}

function parseLine(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
