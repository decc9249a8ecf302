import { z } from 'zod'
import { parseSampler, type SamplerOptions } from '../config/sampler.js'
import { imageSize } from '../config/unet.js'
import { countImages, type ImageBatch } from '../data/dataset.js'
import { subsetSchema } from '../data/schemas.js'
import { ContinualDiffusionError } from '../errors.js'
import { checkImages } from '../learner/checks.js'
import { Learner, type SampleOptions } from '../learner/learner.js'
import type { Seen } from '../streams/stream.js'
import { batchSizeSchema, functionSchema, seedSchema, signalSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { checkSameClasses, classifierSchema, metricSchema } from './arguments.js'
import { askedLabels, checkClassCounts, countLabels } from './asked.js'
import { checkCounts } from './kept-features.js'
import { addToEach, type Counts, type Metric, type MetricValue } from './metric.js'
import { PerTask, type PerTaskOptions, type TaskEvaluation } from './per-task.js'
import { RealImages } from './real-images.js'

/**
 * Options of {@link evaluate}.
 *
 * @category Evaluation
 */
export interface EvaluateOptions {
  /** Number of images to generate. Default 10,000, as in the paper. */
  count?: number
  /** Number of images in memory at once, 1 … 1,000,000. Another number gives other generated images. Default 128. */
  batchSize?: number
  /**
   * Also evaluates each task alone, see {@link Evaluation.tasks}: compares the task's test images with the generated images of the task's
   * classes. The features of generated images are then computed twice. Default: tasks are not evaluated alone.
   */
  perTask?: PerTaskOptions
  /**
   * Number of resamples, up to 100,000, from which metrics compute a 95 % confidence interval where it costs little; 0: none. They are drawn with the
   * seed. Default 0.
   */
  bootstrap?: number
  /** Fields that are left out are those of the learner's sampler. */
  sampler?: SamplerOptions
  /** Seed of the generated images, 0 … 2³² − 1. Default: the learner's seed. */
  seed?: number
  /** An abort rejects with `signal.reason`. */
  signal?: AbortSignal
  /** Called after every batch; `done` and `total` count real and generated images. */
  onProgress?: (progress: { done: number; total: number }) => void
}

/**
 * The result of {@link evaluate}.
 *
 * @typeParam Name names of the metrics
 * @typeParam Value in an experiment, a value may be null
 *
 * @category Evaluation
 */
export interface Evaluation<Name extends string = string, Value = MetricValue> extends Counts {
  /** The values of the metrics, by the metrics' names. */
  readonly values: Readonly<Record<Name, Value>>
  /**
   * With `perTask`: the evaluation of each task seen, in order. An image of a class-conditional learner belongs to the task of the class that
   * it was asked for as. Of any other learner the classifier decides which class an image is of, and the classifier's mistakes count as the
   * generator's. Images of classes that no task brought yet belong to no task, so the tasks' counts of generated images may add up to less
   * than all. If tasks share classes (domain-incremental streams), images can't be assigned to a task, and these tasks' values are null.
   */
  readonly tasks?: readonly TaskEvaluation<Name>[]
}

const learnerSchema = z.custom((value) => value instanceof Learner, 'expected a Learner')

const seenExpected = 'expected what a stream has shown so far, e.g. stream.seen(task)'
const seenSchema = z.looseObject(
  { test: z.array(subsetSchema, seenExpected), tasks: z.array(z.unknown(), seenExpected) },
  seenExpected,
)

const metricsSchema = z.array(metricSchema)

/** Resamples of intervals. */
export const bootstrapSchema = z.int().min(0).max(100_000)

const schema = z.strictObject({
  count: z.int().min(1).default(10_000),
  batchSize: batchSizeSchema.default(128),
  perTask: z
    .strictObject({
      classifier: classifierSchema,
      minimum: z.int().min(1).default(50),
    })
    .optional(),
  bootstrap: bootstrapSchema.default(0),
  sampler: z.unknown().optional(),
  seed: seedSchema.optional(),
  signal: signalSchema.optional(),
  onProgress: functionSchema<NonNullable<EvaluateOptions['onProgress']>>().optional(),
})

/**
 * Compares images that a learner generates with the test images of all tasks seen. Images are processed in batches, so that memory does not
 * grow with their number. Real images come from the learner's `ImageStore`, resized to the U-Net's `sample_size` as for training. Their
 * features are kept, see {@link FeatureExtractor}.
 *
 * @param seen the data of the tasks seen, e.g. `stream.seen(task)`
 * @throws signal.reason after an abort
 *
 * @category Evaluation
 */
export async function evaluate<Name extends string>(
  learner: Learner,
  seen: Seen,
  metrics: readonly Metric<Name>[],
  options: EvaluateOptions = {},
): Promise<Evaluation<Name>> {
  parseOptions(learnerSchema, learner, 'evaluate: learner')
  const parsed = parseOptions(schema, options, 'evaluate')
  const { test } = parseOptions(seenSchema, seen, 'evaluate: seen')
  const tasksSeen = [...seen.tasks]
  parseOptions(metricsSchema, metrics, 'evaluate: metrics')
  const { count, batchSize, perTask, bootstrap, seed = learner.seed, signal, onProgress } = parsed
  checkImages(learner.unet, test, 'evaluate')
  const sampler = parseSampler(learner.schedule, parsed.sampler, 'evaluate: sampler', learner.sampler)
  const names = metrics.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      `evaluate: two metrics are named '${twice}'; expected different names: give one of them another by its option name`,
    )
  }
  const real = countImages(test)
  checkSameClasses(learner.classes, 'evaluate: the learner', test)
  for (const { title, minimum = 1, minimumOfClass, classes } of metrics) {
    checkCounts(title, { real, generated: count }, minimum)
    if (classes) checkSameClasses(classes, title, test)
    if (minimumOfClass === undefined) continue
    const asked = countLabels([askedLabels(title, learner.labelsInTurn(0, count))])
    const found = countLabels(test.map(({ dataset, indices }) => indices.map((index) => dataset.labels[index]!)))
    checkClassCounts(title, found, asked, minimumOfClass, learner.classes)
  }
  const resamples = bootstrap === 0 ? undefined : { replicates: bootstrap, seed }
  const runs = metrics.map((metric) => metric.start(resamples))
  const tasks = perTask && new PerTask(tasksSeen, metrics, perTask)
  if (perTask) checkSameClasses(perTask.classifier.classes, `evaluate: perTask: the ${perTask.classifier.name}`, test)
  const total = real + count
  let done = 0
  const reach = (images: number) => {
    if (images > done) {
      done = images
      onProgress?.({ done, total })
    }
    signal?.throwIfAborted()
  }

  const { images: resident } = learner
  const whole = new RealImages(resident, test, batchSize, reach)
  for (const run of runs) await run.addReal?.(whole)
  let before = 0
  for (const [task, subset] of test.entries()) {
    const from = before
    const alone = new RealImages(resident, [subset], batchSize, (images) => reach(from + images))
    const ofTask = tasks?.runsOf(task) ?? []
    for (const run of ofTask) await run.addReal?.(alone)
    const others = [...runs, ...ofTask].filter(({ addReal }) => addReal === undefined)
    if (others.length > 0) {
      for await (const { images, labels } of alone.batches()) {
        await addToEach(others, images, 'real', labels)
      }
    }
    before += subset.indices.length
  }
  reach(real)
  for await (const { images, labels } of generated(learner, { count, batchSize, sampler, signal, seed })) {
    await addToEach(runs, images, 'generated', labels)
    await tasks?.addGenerated(images, labels)
    reach(done + images.count)
  }
  const values = {} as Record<Name, MetricValue>
  for (const [i, run] of runs.entries()) {
    values[names[i]!] = await run.finish(signal)
    signal?.throwIfAborted()
  }
  const evaluation = { real, generated: count, values }
  return tasks ? { ...evaluation, tasks: await tasks.finish(signal) } : evaluation
}

/** What a learner generates to be compared, batch by batch. The processes of its group generate a batch each, and all get all. */
async function* generated(
  learner: Learner,
  {
    count,
    batchSize,
    sampler,
    signal,
    seed,
  }: { count: number; batchSize: number } & Pick<SampleOptions, 'sampler' | 'signal' | 'seed'>,
): AsyncGenerator<{ readonly images: ImageBatch; readonly labels: Int32Array | undefined }> {
  const { group } = learner
  const { height, width } = imageSize(learner.unet, 'evaluate')
  const { in_channels: channels } = learner.unet
  const each = height * width * channels
  const { rank, size: turns } = group ?? { rank: 0, size: 1 }
  for (let first = 0; first < count; first += batchSize * turns) {
    const batches = Array.from({ length: turns }, (_, i) => first + i * batchSize)
      .filter((at) => at < count)
      .map((at) => ({ at, length: Math.min(batchSize, count - at) }))
      .map(({ at, length }) => ({ at, length, labels: learner.labelsInTurn(at, length) }))
    const own = batches[rank]
    const images =
      own &&
      (await learner.sampleFor(
        { purpose: 'evaluation', part: own.at / batchSize },
        { count: own.length, batchSize, sampler, signal, seed, ...(own.labels && { labels: own.labels }) },
        null,
      ))
    const all = new Uint8Array((Math.min(first + batchSize * turns, count) - first) * each)
    if (images) all.set(images.data, (own.at - first) * each)
    await group?.gather(all, signal)
    for (const { at, length, labels } of batches) {
      const data = all.subarray((at - first) * each, (at - first + length) * each)
      yield { images: { data, count: length, height, width, channels }, labels }
    }
  }
}
