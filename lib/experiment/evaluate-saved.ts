import { access } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { Classifier, type ClassifierOptions } from '../classifiers/classifier.js'
import type { Group } from '../engine/group.js'
import { ContinualDiffusionError } from '../errors.js'
import type { Evaluation } from '../evaluation/evaluate.js'
import type { TaskValue } from '../evaluation/per-task.js'
import { Learner } from '../learner/learner.js'
import type { MetricInfo } from '../report/results.js'
import type { Seen } from '../streams/stream.js'
import { type Device, pathSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { type ExperimentConfig, type ExperimentInput, resolveExperiment } from './config.js'
import type { RunEvent } from './events.js'
import { makeJudge } from './judge.js'
import { placed } from './placed.js'
import { type Plan, planExperiment } from './plan.js'
import { withModel } from './with-model.js'

/**
 * Options of {@link evaluateSaved}.
 *
 * @category Results and reports
 */
export interface EvaluateSavedOptions {
  /** The experiment that gives data, stream, classifier and metrics. */
  readonly experiment: ExperimentInput
  /**
   * Number of a task, from 1: the learner is compared with the test images of the tasks up to this one. Default: the last task that the learner
   * has learned; if there is none, the last task of the stream.
   */
  readonly task?: number
  /** Number of images to generate. Default: as in the experiment. */
  readonly count?: number
  /** Number of sampler steps. Default: as in the learner's sampler. */
  readonly steps?: number
  /** The variant of a diffusers model's weights, as `Learner.load` takes it. */
  readonly variant?: string
  /** Side of square images, or height and width, in place of a diffusers model's `sample_size`. */
  readonly sampleSize?: number | readonly [height: number, width: number]
  /** Seed of the generated images. Default: the learner's seed. */
  readonly seed?: number
  /** Default `auto`. */
  readonly device?: Device
  /** Threads of the CPU that compute the networks. Default: libtorch's. */
  readonly threads?: number | undefined
  /** An abort rejects with `signal.reason`. */
  readonly signal?: AbortSignal
  /** The processes that generate the images together; all of them call this function. Default: this process alone. */
  readonly group?: Group
  /** Called while the classifier is trained, and while a network is downloaded. */
  readonly onEvent?: (event: Extract<RunEvent, { kind: 'classifier' | 'download' }>) => void
  /** Called after every batch of the evaluation; `done` and `total` count real and generated images. */
  readonly onProgress?: (progress: { done: number; total: number }) => void
}

/**
 * The evaluation of a saved learner.
 *
 * @category Results and reports
 */
export interface SavedEvaluation {
  readonly evaluation: Evaluation<string, TaskValue>
  /** Title and direction of each metric, by the metrics' names. */
  readonly metrics: Readonly<Record<string, MetricInfo>>
  /** Names of the classes of the real images. */
  readonly classes: readonly string[]
  /** Of the stream, which decides the order of the classes: the learner's where the experiment has it, else the experiment's first. */
  readonly seed: number
}

/**
 * Evaluates a saved learner, or a diffusers model folder, in the same way as an experiment evaluates its learners after a task.
 *
 * @param folder the folder of the learner or the model
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT`, `ERR_INVALID_ARGUMENT`, and the errors of loading the data
 *
 * @category Results and reports
 */
export async function evaluateSaved(folder: string, options: EvaluateSavedOptions): Promise<SavedEvaluation> {
  parseOptions(pathSchema, folder, 'evaluateSaved: folder')
  parseOptions(z.looseObject({ experiment: z.looseObject({}) }), options, 'evaluateSaved')
  const { experiment, task, steps, seed, variant, sampleSize, group, signal, onEvent, onProgress } = options
  const resolved = resolveExperiment(await withModel(experiment))
  const asked = {
    ...{ device: options.device ?? resolved.device, threads: options.threads ?? resolved.threads },
    precision: 'auto' as const,
  }
  const { device, threads } = await placed(asked, group)
  await using learner = await Learner.load(folder, {
    ...{ device, threads },
    ...(variant !== undefined && { variant }),
    ...(sampleSize !== undefined && { sampleSize }),
    ...(group && { group }),
  })
  // A learner of a run has the run's seed; of another one nothing says which stream it learned.
  const streamSeed = resolved.seeds.includes(learner.seed) ? learner.seed : resolved.seeds[0]!
  const config = { ...resolved, device, threads, seeds: [streamSeed] }
  const plans = () => planExperiment({ config, methods: [] }, { signal, onEvent })
  await using plan = await (group ? group.firstThenOthers(plans, signal) : plans())
  const { stream } = plan.streams[0]!
  const number = task ?? (learner.tasksLearned || stream.tasks.length)
  const last = stream.tasks[number - 1]
  if (last === undefined) {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      `evaluate: task is ${number}; expected at most ${stream.tasks.length}, the tasks of ${stream.name}`,
    )
  }
  const seen: Seen = stream.seen(last)
  const cached = () => cachedClassifier(config, plan, signal, onEvent)
  await using classifier = await (group ? group.firstThenOthers(cached, signal) : cached())
  const judge = makeJudge(config.evaluation, { ...plan, classifier })
  const evaluation = await judge.evaluate(learner, seen, {
    ...(options.count === undefined ? {} : { count: options.count }),
    ...(steps === undefined ? {} : { sampler: { steps } }),
    seed,
    signal,
    ...(onProgress && { onProgress }),
  })
  const { classes } = last.train.dataset
  return { evaluation, metrics: judge.infos, classes: seen.classes.map((label) => classes[label]!), seed: streamSeed }
}

/**
 * The classifier that an experiment's metrics are computed with.
 *
 * @param keeping the file in which a run keeps its own, and whether this process writes it
 */
export function cachedClassifier(
  config: Pick<ExperimentConfig, 'classifier' | 'device' | 'threads'>,
  { data, images, streams }: Plan,
  signal: AbortSignal | undefined,
  onEvent: EvaluateSavedOptions['onEvent'] = () => {},
  keeping?: { readonly file: string; readonly isWriter: boolean },
): Promise<Classifier> {
  // Images that nobody learns from are on the device only while the classifier learns from them.
  const isShared = streams.some(({ stream }) => stream.tasks.some(({ train }) => train.dataset === data.train))
  const options: ClassifierOptions = {
    ...config.classifier,
    device: config.device,
    threads: config.threads,
    ...(isShared && { images }),
    ...(signal && { signal }),
    onProgress: ({ step, steps }) => onEvent({ kind: 'classifier', fraction: step / steps }),
  }
  return keeping ? Classifier.kept(keeping.file, data, options, keeping.isWriter) : Classifier.cached(data, options)
}

/**
 * The configuration of the run that a learner's folder is in; undefined when it is in none.
 *
 * @returns the path of its `config.json`
 */
export async function runOf(learner: string): Promise<string | undefined> {
  // learners/<method>/seed-<seed>/task-<k>
  const run = path.resolve(learner, '../../../..')
  const file = path.join(run, 'config.json')
  const both = [access(file), access(path.join(run, 'results.json'))]
  return (await Promise.allSettled(both)).every(({ status }) => status === 'fulfilled') ? file : undefined
}
