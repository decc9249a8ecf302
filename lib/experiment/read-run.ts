import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { ContinualDiffusionError } from '../errors.js'
import { parseJson } from '../files/read-json.js'
import type { LossCurve, Results } from '../report/results.js'
import { resultsSchema } from '../report/results-schema.js'
import { isShallow, shallowExpected } from '../validation/depth.js'
import { parseOptions } from '../validation/options.js'
import type { ExperimentConfig } from './config.js'
import { checkRun, configFile, metricsFile, resultsFile } from './folder.js'

/**
 * The contents of a run folder.
 *
 * @category Results and reports
 */
export interface RunRecord {
  /** Absolute path of the run folder. */
  readonly folder: string
  readonly config: Omit<ExperimentConfig, 'out'>
  readonly results: Results
  readonly curves: readonly LossCurve[]
}

// Enough to tell methods and seeds of several runs apart; all else is only compared and shown.
const configSchema = z
  .looseObject({ methods: z.array(z.looseObject({ label: z.string() })), seeds: z.array(z.int()) })
  .refine(isShallow, shallowExpected)

const lineSchema = z.looseObject({
  kind: z.string(),
  method: z.string(),
  seed: z.int(),
  task: z.int(),
  step: z.int().min(1).optional(),
  loss: z.number().optional(),
})

/**
 * Checks what was read of a run's `results.json`.
 *
 * @throws ContinualDiffusionError `ERR_BAD_DATA` that names the file and every wrong field
 */
export function checkResults(json: unknown, file: string): Results {
  return parseOptions(resultsSchema, json, file, 'ERR_BAD_DATA')
}

/**
 * Reads a run folder, also of a run that was stopped.
 *
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND` when the folder holds no run, `ERR_BAD_DATA` for a damaged file
 */
export async function readRun(folder: string): Promise<RunRecord> {
  const at = path.resolve(folder)
  const file = (name: string) => path.join(at, name)
  const config = await readJson(file(configFile)).catch((error: unknown) => noRun(at, error))
  const read = await readJson(file(resultsFile)).catch(async (error: Error) => {
    if ((error.cause as NodeJS.ErrnoException | undefined)?.code !== 'ENOENT') throw error
    await checkRun(at)
    const message = `${file(resultsFile)} is not there: no task of the run is evaluated yet; go on with it by \`run --resume\``
    throw new ContinualDiffusionError('ERR_DATA_NOT_FOUND', message, { cause: error })
  })
  const results = checkResults(read, file(resultsFile))
  parseOptions(configSchema, config, file(configFile), 'ERR_BAD_DATA')
  const curves = await readCurves(file(metricsFile), results)
  return { folder: at, config: config as RunRecord['config'], results, curves }
}

/** Throws that a folder is no run's, where that is why its `config.json` can't be read, or what else is in its way. */
export async function noRun(folder: string, error: unknown): Promise<never> {
  await checkRun(folder)
  throw error
}

/**
 * A file of a run folder, as Node reads it.
 *
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND`
 */
export async function readPart<T>(file: string, reading: Promise<T>): Promise<T> {
  try {
    return await reading
  } catch (cause) {
    const message = `${file} can't be read: ${(cause as Error).message}; name the folder of a run, with all of its files`
    throw new ContinualDiffusionError('ERR_DATA_NOT_FOUND', message, { cause })
  }
}

async function readJson(file: string): Promise<unknown> {
  const text = await readPart(file, readFile(file, 'utf8'))
  try {
    return parseJson(text)
  } catch (cause) {
    const message = `${file} is not JSON: ${(cause as Error).message}; name the folder of a run`
    throw new ContinualDiffusionError('ERR_BAD_DATA', message, { cause })
  }
}

/** The loss curves of every method, seed and task, those of shared first tasks too. */
async function readCurves(file: string, { runs }: Results): Promise<LossCurve[]> {
  const curves = new Map<string, [step: number, loss: number][]>()
  // A run that was stopped before its first step has none.
  const reading = readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
  const lines = (await readPart(file, reading)).split('\n')
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
    return parseJson(text)
  } catch {
    return text
  }
}
