import { existsSync } from 'node:fs'
import path from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { type Group, groupSchema } from '../engine/group.js'
import { ContinualDiffusionError, invalid, messageOf } from '../errors.js'
import { badFile } from '../files/bad-file.js'
import { readJson } from '../files/read-json.js'
import type { Results } from '../report/results.js'
import { pathSchema, signalSchema } from '../validation/fields.js'
import { isRecord, parseOptions } from '../validation/options.js'
import { type Checkpoint, newestCheckpoint } from './checkpoint.js'
import { type ExperimentConfig, type ExperimentInput, type ResolvedExperiment, resolveWithMethods } from './config.js'
import { cachedClassifier } from './evaluate-saved.js'
import type { RunEvent } from './events.js'
import {
  checkpointsFolder,
  classifierFile,
  configFile,
  liveFolder,
  RunFolder,
  reportFile,
  resultsFile,
} from './folder.js'
import { checkInputs, inputsOf, withAbsolutePaths } from './inputs.js'
import { removeLearners } from './kept-learners.js'
import { liveFiles } from './live-files.js'
import { type Logged, type Logger, safeLoggers } from './logger.js'
import { checkTestImages } from './metrics.js'
import { partFolder } from './part.js'
import { placed } from './placed.js'
import { type Plan, planExperiment } from './plan.js'
import { checkResults } from './read-run.js'
import { writeReport } from './report.js'
import { runMethods } from './run-methods.js'
import { changedVersions, newRun, type RunState } from './run-state.js'
import { tensorBoard } from './tensorboard.js'
import { versions } from './versions.js'
import { withModel } from './with-model.js'

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
  /**
   * The processes that carry out the run together; all of them call this function with the same arguments. The first one writes the run folder,
   * which all can read. Default: this process alone.
   */
  readonly group?: Group
}

const optionsSchema = z.strictObject({
  signal: signalSchema.optional(),
  group: groupSchema.optional(),
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
 * With the key `part` it runs a part of the experiment, in a folder of its own below `out`, e.g. `part-3-of-10`; where that part was begun before,
 * it resumes it.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a wrong configuration, before anything is written, and the errors of loading
 *   data, of learners and of evaluation
 *
 * @category Runs
 */
export async function runExperiment(input: ExperimentInput, options: RunOptions = {}): Promise<RunOutcome> {
  const { group, signal } = parseOptions(optionsSchema, options, 'runExperiment')
  const {
    config: { out, ...given },
    methods,
  } = resolveWithMethods(await withModel(input))
  const config = withAbsolutePaths(given)
  const name = 'preset' in input ? input.preset : config.data.map(({ name }) => name).join('-')
  const part = config.part && path.join(out ?? path.join('runs', name), partFolder(config.part))
  // The same command begins a part and, where it was stopped, resumes it.
  const begun = part && (await readJson(path.join(part, configFile)))
  if (part !== undefined && begun !== undefined) {
    checkSameConfig(path.join(part, configFile), config, begun as ExperimentConfig)
    const { checkpoints, log } = config
    return resumeAt(part, options, { checkpoints, log })
  }
  if (part !== undefined && (await readJson(path.join(path.dirname(part), configFile))) !== undefined) {
    throw invalid(
      `${path.dirname(part)} is the folder of a run; expected another one for the folders of parts (out), as what reads that run would pass over them`,
    )
  }
  await using plan = await planned({ config, methods }, options)
  for (const { stream } of plan.streams) checkTestImages(config.evaluation, stream)
  const folder = await folderOf(() => RunFolder.create(part ?? out, name, config), group, signal)
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
  return resumeAt(at, options)
}

/** @param changed what is other than when the run began, and changes nothing that is computed */
async function resumeAt(
  at: string,
  options: RunOptions,
  changed: Partial<Pick<ExperimentConfig, 'checkpoints' | 'log'>> = {},
): Promise<RunOutcome> {
  const { group, signal } = options
  const folder = await folderOf(() => RunFolder.open(at), group, signal)
  try {
    const { results, unreadable, hasTasks, ...read } = await readProgress(folder)
    const resolved = { ...read.resolved, config: { ...read.resolved.config, ...changed } }
    if (results?.complete) return await finish(folder, resolved.config, results)
    const told: RunEvent[] = []
    const newest = await newestCheckpoint(folder, (message) => told.push({ kind: 'warning', message }))
    if (!newest && unreadable) throw unreadable // it may have been complete
    if (!newest && hasTasks) {
      throw badFile(
        folder.at(checkpointsFolder),
        `there is no checkpoint, but ${resultsFile} has tasks: to begin again would replace their results and learners. Put the checkpoints ` +
          `back, or begin a new run in another folder; without ${resultsFile} this one begins again`,
      )
    }
    if (newest) checkSameConfig(folder.at(configFile), resolved.config, newest.checkpoint.config)
    await using plan = await planned(resolved, options)
    told.push({ kind: 'resume', number: newest?.number })
    return await carryOut(folder, resolved.config, plan, newest?.checkpoint, options, told)
  } finally {
    folder.release()
  }
}

/** The run folder: the first process of a group opens it, and the others follow. */
async function folderOf(
  open: () => Promise<RunFolder>,
  group: Group | undefined,
  signal: AbortSignal | undefined,
): Promise<RunFolder> {
  const own = (group?.rank ?? 0) === 0 ? await open() : undefined
  try {
    const at = await group?.tell(own?.path ?? '', signal)
    return own ?? RunFolder.follow(at as string)
  } catch (error) {
    own?.release()
    throw error
  }
}

/** Data is downloaded once. */
async function planned(resolved: ResolvedExperiment, { group, signal, onEvent }: RunOptions): Promise<Plan> {
  if (group === undefined) return planExperiment(resolved, { signal, onEvent })
  const config = await placed(resolved.config, group)
  return group.firstThenOthers(() => planExperiment({ ...resolved, config }, { signal, onEvent }), signal)
}

/** What a run folder says of its run's configuration, and of what was found. */
async function readProgress(folder: RunFolder): Promise<{
  resolved: ResolvedExperiment
  results: Results | undefined
  unreadable: Error | undefined
  hasTasks: boolean
}> {
  const file = folder.at(configFile)
  const json = await readJson(file)
  const {
    config: { out: _, ...config },
    methods,
  } = resolveWithMethods(json as ExperimentInput, file)
  // What it says matters only where it says that all was done; a checkpoint has all of it, too.
  let unreadable: Error | undefined
  const found = await readJson(folder.at(resultsFile)).catch((error) => {
    unreadable = error
    return undefined
  })
  const says = isRecord(found) && found.complete === true
  const runs: readonly unknown[] = isRecord(found) && Array.isArray(found.runs) ? found.runs : []
  const hasTasks = runs.some((run) => isRecord(run) && Array.isArray(run.tasks) && run.tasks.length > 0)
  const results = says ? checkResults(found, folder.at(resultsFile)) : undefined
  return { resolved: { config, methods }, results, unreadable, hasTasks }
}

function checkSameConfig(file: string, config: ExperimentConfig, before: Readonly<Record<string, unknown>>): void {
  const now: Record<string, unknown> = JSON.parse(JSON.stringify(config))
  // How often checkpoints are written, and what is logged, changes nothing that is computed.
  const keys = new Set(
    [...Object.keys(now), ...Object.keys(before)].filter((key) => key !== 'checkpoints' && key !== 'log'),
  )
  const changed = [...keys].filter((key) => !isDeepStrictEqual(now[key], before[key]))
  if (changed.length === 0) return
  throw new ContinualDiffusionError(
    'ERR_INVALID_ARGUMENT',
    `${file}: ${changed.join(', ')} changed since the run began; expected ` +
      `${JSON.stringify(Object.fromEntries(changed.map((key) => [key, before[key]])))}: restore these values, or begin a new run`,
  )
}

/** @param told what is to be told of how the run goes on */
async function carryOut(
  folder: RunFolder,
  config: ExperimentConfig,
  plan: Plan,
  from: Checkpoint | undefined,
  { signal, group, onEvent: given = () => {}, loggers: others = [] }: RunOptions,
  told: readonly RunEvent[] = [],
): Promise<RunOutcome> {
  const live = liveFiles(folder)
  const onEvent = (event: RunEvent) => {
    live.note(event)
    given(event)
  }
  const all = [...(config.log === 'tensorboard' ? [tensorBoard()] : []), ...others]
  const loggers = safeLoggers(folder.isWriter ? all : [], onEvent)
  try {
    onEvent({ kind: 'folder', folder: folder.path })
    for (const event of told) onEvent(event)
    await loggers.begin(folder.path, from ? stepsOf(from) : [])
    const outcome = await learnAll(folder, config, plan, from, { group, signal, onEvent, loggers }).finally(
      loggers.close,
    )
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
  { group, signal, onEvent, loggers }: Pick<RunState, 'group' | 'signal' | 'onEvent' | 'loggers'>,
): Promise<RunOutcome> {
  if (!folder.isLocked) {
    onEvent({
      kind: 'warning',
      message: `${folder.path}: this file system has no locks; make sure that no other run uses this folder`,
    })
  }
  const fromOutside = await inputsOf(config, plan)
  if (from) checkInputs(folder.path, fromOutside, from.inputs)
  const facts = { configuration: JSON.stringify(config), checkpoint: from?.checksum ?? '', ...fromOutside }
  await group?.agree(facts, folder.path, signal)
  const where = await placed(config, group)
  const keeping = { file: folder.at(classifierFile), isWriter: folder.isWriter }
  // Of an older run, which kept none, it may be trained anew on another machine, with other roundings, as is what it judges.
  const isKept = existsSync(keeping.file)
  const cached = () => cachedClassifier(where, plan, signal, onEvent, keeping)
  await using classifier = await (group ? group.firstThenOthers(cached, signal) : cached())
  const trained = { classifier: await classifier.digest() }
  if (from && (isKept || changedVersions(versions(where.threads), from.versions).length === 0))
    checkInputs(folder.path, trained, from.inputs)
  const inputs = { ...fromOutside, ...trained }
  const run = newRun({ config, where, plan, folder, classifier, inputs, loggers, group, signal, onEvent })
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
  if (!folder.isWriter) return { folder: folder.path, results, page: folder.at(reportFile) }
  const page = await writeReport(folder.path)
  await folder.remove(checkpointsFolder)
  await folder.remove(liveFolder)
  const { runs } = results
  await removeLearners(folder, { config, runs, tasks: runs[0]?.tasks.length ?? 0 }, true)
  return { folder: folder.path, results, page }
}
