import type { Classifier } from '../classifiers/classifier.js'
import type { Solver } from '../classifiers/solver.js'
import type { Group } from '../engine/group.js'
import type { Learner } from '../learner/learner.js'
import type { MethodRun, Results, TaskResult, Versions } from '../report/results.js'
import { type Checkpoint, writeCheckpoint } from './checkpoint.js'
import type { ExperimentConfig } from './config.js'
import type { RunEvent } from './events.js'
import { type RunFolder, resultsFile } from './folder.js'
import type { Inputs } from './inputs.js'
import { type Judge, makeJudge } from './judge.js'
import { type LiveSamples, liveSamples } from './live-samples.js'
import type { Logger } from './logger.js'
import type { ResolvedMethod } from './methods.js'
import type { Placed } from './placed.js'
import type { Plan } from './plan.js'
import { checkResults } from './read-run.js'
import { versions } from './versions.js'

/** What a run works with. */
interface RunParts {
  readonly config: Omit<ExperimentConfig, 'out'>
  /** Where this process computes. */
  readonly where: Placed
  readonly plan: Plan
  readonly folder: RunFolder
  readonly classifier: Classifier
  readonly inputs: Inputs
  readonly loggers: Required<Logger>
  /** The processes that carry it out; undefined: this one alone. */
  readonly group: Group | undefined
  readonly signal: AbortSignal | undefined
  readonly onEvent: (event: RunEvent) => void
}

/** A run under way: what it works with, and what it has found so far. */
export interface RunState extends RunParts {
  readonly judge: Judge
  readonly samples: LiveSamples
  readonly versions: Versions
  /** The last one is the one under way. */
  readonly runs: (MethodRun & { readonly tasks: TaskResult[] })[]
  /** Tasks that are trained in the whole run, shared first tasks counted once. */
  readonly parts: number
  /** The one of them that is under way, from 1. */
  part: number
  /** Known from the first learner on. */
  machine: Checkpoint['machine'] | undefined
}

/** A run that has found nothing yet. */
export function newRun(given: RunParts): RunState {
  const { config, plan, classifier } = given
  const firstTasks = (methods: readonly ResolvedMethod[]) =>
    config.shareFirstTask ? new Set(methods.map(({ firstTask }) => firstTask)).size : methods.length
  return {
    ...given,
    judge: makeJudge(config.evaluation, { ...plan, classifier }),
    samples: liveSamples(given),
    versions: versions(given.where.threads),
    runs: [],
    parts: plan.streams
      .map(({ stream, methods }) => methods.length * (stream.tasks.length - 1) + firstTasks(methods))
      .reduce((sum, parts) => sum + parts),
    part: 0,
    machine: undefined,
  }
}

/** Restores what a checkpoint holds, and reports it. */
export async function resumeFrom(run: RunState, from: Checkpoint): Promise<void> {
  run.machine = from.machine
  run.runs.push(...from.runs.map((one) => ({ ...one, tasks: [...one.tasks] })))
  run.part = from.runs.flatMap(({ tasks }) => tasks).filter((task) => task.sharedFrom === undefined).length
  warnOfVersions(run, from.versions)
  run.onEvent({ kind: 'ready', ...from.machine, metrics: run.judge.infos })
  await writeResults(run, false)
}

/** Records and reports where the run's first learner computes; warns where a resumed one computes elsewhere than before. */
export function noteMachine(run: RunState, learner: Learner, isResumed: boolean): void {
  const { device, precision, parameterCount: parameters } = learner
  const before = run.machine
  if (isResumed && (before?.device !== device || before.precision !== precision)) {
    run.onEvent({
      kind: 'warning',
      message:
        `the run began on ${before?.device} in ${before?.precision} and is resumed on ${device} in ${precision}: its results may ` +
        'differ by rounding',
    })
  }
  if (before !== undefined) return
  run.machine = { device, precision, parameters }
  run.onEvent({ kind: 'ready', ...run.machine, metrics: run.judge.infos })
}

/** In what the machine and what computes on it differ from what they were. */
export function changedVersions(versions: Versions, before: Versions): (keyof Versions)[] {
  return (['package', 'libtorch', 'cuda', 'cpu'] as const).filter((key) => before[key] !== versions[key])
}

function warnOfVersions({ versions, onEvent }: RunState, before: Versions): void {
  const changed = changedVersions(versions, before)
  if (changed.length === 0) return
  const list = changed.map((key) => `${key} ${before[key]}, now ${versions[key]}`)
  onEvent({ kind: 'warning', message: `the run began with ${list.join('; ')}: its results may differ by rounding` })
}

/** Writes a checkpoint; there is a learner by then, and so the machine is known. */
export async function keep(
  { config, folder, inputs, versions, machine, runs, onEvent }: RunState,
  learner: Learner | string,
  solver: Solver | undefined,
  task?: Checkpoint['task'],
): Promise<void> {
  if (!folder.isWriter) return
  const contents = { versions, config, inputs, machine: machine as Checkpoint['machine'], runs, task, learner, solver }
  const number = await writeCheckpoint(folder, contents, config.checkpoints.keep)
  onEvent({ kind: 'checkpoint', number })
}

/** Writes what was found so far. */
export async function writeResults(run: RunState, complete: boolean): Promise<Results> {
  const { config, plan, classifier, inputs, judge, versions, runs, folder } = run
  const { device, precision, parameters } = run.machine ?? { device: '', precision: '', parameters: 0 }
  const found: Results = {
    title: config.title,
    complete,
    versions,
    classes: plan.streams[0]!.stream.tasks[0]!.train.dataset.classes,
    parameters,
    device,
    precision,
    classifier: { name: classifier.name, features: classifier.dimension, accuracy: classifier.accuracy },
    inputs,
    shareFirstTask: config.shareFirstTask,
    metrics: judge.infos,
    methods: plan.methods.map(({ label, about }) => ({ label, about })),
    runs,
  }
  // What a checkpoint gave back has its keys in the schema's order, and so has all that is written.
  const results = checkResults(JSON.parse(JSON.stringify(found)), folder.at(resultsFile))
  await folder.writeJson(resultsFile, results)
  return results
}
