import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { ContinualDiffusionError, messageOf } from '../errors.js'
import { readJson } from '../files/read-json.js'
import type { Results } from '../report/results.js'
import { pathSchema, signalSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { type Checkpoint, newestCheckpoint } from './checkpoint.js'
import { type ExperimentConfig, type ExperimentInput, type ResolvedExperiment, resolveWithMethods } from './config.js'
import { cachedClassifier } from './evaluate-saved.js'
import type { RunEvent } from './events.js'
import { checkpointsFolder, configFile, liveFolder, RunFolder, resultsFile } from './folder.js'
import { checkInputs, inputsOf, withAbsolutePaths } from './inputs.js'
import { removeLearners } from './kept-learners.js'
import { liveFiles } from './live-files.js'
import { type Logged, type Logger, safeLoggers } from './logger.js'
import { checkTestImages } from './metrics.js'
import { type Plan, planExperiment } from './plan.js'
import { checkResults } from './read-run.js'
import { writeReport } from './report.js'
import { runMethods } from './run-methods.js'
import { changedVersions, newRun, type RunState } from './run-state.js'
import { tensorBoard } from './tensorboard.js'
import { versions } from './versions.js'

/**
 * Options of {@link runExperiment} and {@link resumeExperiment}.
 *
 * @category Runs
 */
export interface RunOptions {
  /**
   * An abort rejects with `signal.reason`. During the training of a task it first writes a checkpoint. The run folder stays complete up to
   * the abort, and `resumeExperiment` continues from there.
   */
  readonly signal?: AbortSignal
  /** Called with each event of the run. It must not throw. */
  readonly onEvent?: (event: RunEvent) => void
  /** Where else the run's numbers and pictures are sent; see {@link tensorBoard}. */
  readonly loggers?: readonly Logger[]
}

const optionsSchema = z.strictObject({
  signal: signalSchema.optional(),
  onEvent: z.custom<NonNullable<RunOptions['onEvent']>>((f) => typeof f === 'function').optional(),
  loggers: z
    .array(
      z.custom<Logger>(
        (l) => typeof (l as Logger | null)?.scalars === 'function',
        'expected a Logger, with a method scalars',
      ),
    )
    .optional(),
})

/**
 * A finished run.
 *
 * @category Runs
 */
export interface RunOutcome {
  /** Absolute path of the run folder. */
  readonly folder: string
  readonly results: Results
  /** Absolute path of the report, an HTML page. */
  readonly page: string
}

/**
 * Runs a whole experiment: every method, with every seed, learns the stream task by task. After each task the learner is evaluated, generates
 * a grid of samples and is saved. Everything is written into the run folder. {@link resumeExperiment} resumes a run that was interrupted,
 * even by SIGKILL.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a wrong configuration, before anything is written, and the errors of loading
 *   data, of learners and of evaluation
 *
 * @category Runs
 */
export async function runExperiment(input: ExperimentInput, options: RunOptions = {}): Promise<RunOutcome> {
  parseOptions(optionsSchema, options, 'runExperiment')
  const {
    config: { out, ...given },
    methods,
  } = resolveWithMethods(input)
  const config = withAbsolutePaths(given)
  await using plan = await planExperiment({ config, methods }, options)
  for (const { stream } of plan.streams) checkTestImages(config.evaluation, stream)
  const name = 'preset' in input ? input.preset : config.data.map(({ name }) => name).join('-')
  const folder = await RunFolder.create(out, name, config)
  try {
    return await carryOut(folder, config, plan, undefined, options)
  } finally {
    folder.release()
  }
}

/**
 * Resumes a run that was interrupted, from its newest checkpoint, or from the beginning if it has no checkpoint yet. On the CPU the results are
 * the same to the bit as without the interruption; only times differ. If the run is already complete, it returns the results.
 *
 * @param at the run folder. What the run reads from elsewhere (data, features, the cached classifier) must be what it was when the run began
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND` when the folder holds no run; `ERR_BAD_DATA` when the folder has a symbolic link,
 *   the results of a complete run are damaged, or the data or other inputs are not those that the run began with; `ERR_RUN_LOCKED` while another process uses the folder; `ERR_BAD_CHECKPOINT` when every
 *   checkpoint is damaged; `ERR_INVALID_ARGUMENT` when the configuration was changed since the run began; and the errors of
 *   {@link runExperiment}
 *
 * @category Runs
 */
export async function resumeExperiment(at: string, options: RunOptions = {}): Promise<RunOutcome> {
  parseOptions(pathSchema, at, 'resumeExperiment: the run folder')
  parseOptions(optionsSchema, options, 'resumeExperiment')
  const folder = await RunFolder.open(at)
  try {
    const { resolved, results } = await readProgress(folder)
    if (results?.complete) return await finish(folder, resolved.config, results)
    const told: RunEvent[] = []
    const newest = await newestCheckpoint(folder, (message) => told.push({ kind: 'warning', message }))
    if (newest) checkSameConfig(folder, resolved.config, newest.checkpoint.config)
    await using plan = await planExperiment(resolved, options)
    told.push({ kind: 'resume', number: newest?.number })
    return await carryOut(folder, resolved.config, plan, newest?.checkpoint, options, told)
  } finally {
    folder.release()
  }
}

/** What a run folder says of its run's configuration, and of what was found. */
async function readProgress(
  folder: RunFolder,
): Promise<{ resolved: ResolvedExperiment; results: Results | undefined }> {
  const file = folder.at(configFile)
  const json = await readJson(file)
  const {
    config: { out: _, ...config },
    methods,
  } = resolveWithMethods(json as ExperimentInput, file)
  // Whether there is one, and what it says, matters only where it says that all was done.
  const found = await readJson(folder.at(resultsFile)).catch(() => undefined)
  const says = typeof found === 'object' && found !== null && 'complete' in found && found.complete === true
  return { resolved: { config, methods }, results: says ? checkResults(found, folder.at(resultsFile)) : undefined }
}

function checkSameConfig(folder: RunFolder, config: ExperimentConfig, before: Readonly<Record<string, unknown>>): void {
  const now: Record<string, unknown> = JSON.parse(JSON.stringify(config))
  // How often checkpoints are written, and what is logged, changes nothing that is computed.
  const keys = new Set(
    [...Object.keys(now), ...Object.keys(before)].filter((key) => key !== 'checkpoints' && key !== 'log'),
  )
  const changed = [...keys].filter((key) => !isDeepStrictEqual(now[key], before[key]))
  if (changed.length === 0) return
  throw new ContinualDiffusionError(
    'ERR_INVALID_ARGUMENT',
    `${folder.at(configFile)}: ${changed.join(', ')} changed since the run began; expected ` +
      `${JSON.stringify(Object.fromEntries(changed.map((key) => [key, before[key]])))}: restore these values, or begin a new run`,
  )
}

/** @param told what is to be told of how the run goes on */
async function carryOut(
  folder: RunFolder,
  config: ExperimentConfig,
  plan: Plan,
  from: Checkpoint | undefined,
  { signal, onEvent: given = () => {}, loggers: others = [] }: RunOptions,
  told: readonly RunEvent[] = [],
): Promise<RunOutcome> {
  const live = liveFiles(folder)
  const onEvent = (event: RunEvent) => {
    live.note(event)
    given(event)
  }
  const loggers = safeLoggers([...(config.log === 'tensorboard' ? [tensorBoard()] : []), ...others], onEvent)
  try {
    onEvent({ kind: 'folder', folder: folder.path })
    for (const event of told) onEvent(event)
    await loggers.begin(folder.path, from ? stepsOf(from) : [])
    const outcome = await learnAll(folder, config, plan, from, { signal, onEvent, loggers }).finally(loggers.close)
    onEvent({ kind: 'end', state: 'complete', message: undefined })
    return outcome
  } catch (error) {
    const isStopped = signal?.aborted === true && error === signal.reason
    onEvent({ kind: 'end', state: isStopped ? 'stopped' : 'failed', message: messageOf(error) })
    throw error
  } finally {
    await live.close()
  }
}

/** How far the methods of a checkpoint have come. */
function stepsOf({ runs, task }: Checkpoint): (Logged & { step: number })[] {
  return runs.map(({ method, seed, tasks }, i) => {
    const begun = i === runs.length - 1 ? (task?.losses.step ?? 0) : 0
    return { method, seed, step: tasks.reduce((sum, { steps }) => sum + steps, begun) }
  })
}

async function learnAll(
  folder: RunFolder,
  config: ExperimentConfig,
  plan: Plan,
  from: Checkpoint | undefined,
  { signal, onEvent, loggers }: Pick<RunState, 'signal' | 'onEvent' | 'loggers'>,
): Promise<RunOutcome> {
  if (!folder.isLocked) {
    onEvent({
      kind: 'warning',
      message: `${folder.path}: this file system has no locks; make sure that no other run uses this folder`,
    })
  }
  const fromOutside = await inputsOf(config, plan)
  if (from) checkInputs(folder.path, fromOutside, from.inputs)
  await using classifier = await cachedClassifier(config, plan, signal, onEvent)
  const trained = { classifier: await classifier.digest() }
  // On another machine it is trained anew, with other roundings, as is what it judges.
  if (from && changedVersions(versions(config.threads), from.versions).length === 0)
    checkInputs(folder.path, trained, from.inputs)
  const inputs = { ...fromOutside, ...trained }
  const run = newRun({ config, plan, folder, classifier, inputs, loggers, signal, onEvent })
  let results: Results
  try {
    results = await runMethods(run, from)
  } catch (error) {
    // What is known so far; why the run ended is what matters, and not that this can't be written.
    if (folder.isOurs) await writeReport(folder.path).catch(() => undefined)
    throw error
  }
  return finish(folder, config, results)
}

/** What is left to do once the results say that they are complete. */
async function finish(folder: RunFolder, config: ExperimentConfig, results: Results): Promise<RunOutcome> {
  folder.check()
  const page = await writeReport(folder.path)
  await folder.remove(checkpointsFolder)
  await folder.remove(liveFolder)
  const { runs } = results
  await removeLearners(folder, { config, runs, tasks: runs[0]?.tasks.length ?? 0 }, true)
  return { folder: folder.path, results, page }
}
