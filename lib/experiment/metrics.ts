import { z } from 'zod'
import type { Classifier } from '../classifiers/classifier.js'
import type { FeatureExtractor } from '../classifiers/features.js'
import { countImages } from '../data/dataset.js'
import { invalid } from '../errors.js'
import { checkClassCounts, countLabels } from '../evaluation/asked.js'
import { averageRatioDeviation } from '../evaluation/average-ratio-deviation.js'
import { classFrequencies } from '../evaluation/class-frequencies.js'
import { conditionalAccuracy } from '../evaluation/conditional-accuracy.js'
import { bootstrapSchema } from '../evaluation/evaluate.js'
import { areaStepsSchema } from '../evaluation/frechet-area.js'
import { frechetDistance } from '../evaluation/frechet-distance.js'
import { frechetDistancePerClass, minimumOfClass } from '../evaluation/frechet-distance-per-class.js'
import { gaussianDistance } from '../evaluation/gaussian-distance.js'
import type { InceptionV3 } from '../evaluation/inception.js'
import { defaultSplits, fid, inceptionScore, kid } from '../evaluation/inception-metrics.js'
import { kernelDistance } from '../evaluation/kernel-distance.js'
import type { Metric } from '../evaluation/metric.js'
import { mostNeighbours, precision } from '../evaluation/precision.js'
import { recall } from '../evaluation/recall.js'
import { torchScriptSchema } from '../evaluation/torch-script-features.js'
import type { Stream } from '../streams/stream.js'
import { batchSizeSchema } from '../validation/fields.js'
import { unknownName } from '../validation/names.js'
import { shown } from '../validation/options.js'

/** What metrics are made with: the classifier, what gives the features, the standard Inception-v3 where one of them needs it, and k. */
interface Parts {
  readonly classifier: Classifier
  readonly extractor: FeatureExtractor
  readonly inception: InceptionV3 | undefined
  readonly k: number
}

/** The metrics by the names that configurations and results have for them. */
const metrics = {
  frechetDistance: ({ extractor }: Parts) => frechetDistance(extractor, { name: 'frechetDistance' }),
  kernelDistance: ({ extractor }: Parts) => kernelDistance(extractor, { name: 'kernelDistance' }),
  gaussianDistance: ({ extractor }: Parts) => gaussianDistance(extractor),
  precision: ({ extractor, k }: Parts) => precision(extractor, { k }),
  recall: ({ extractor, k }: Parts) => recall(extractor, { k }),
  classFrequencies: ({ classifier }: Parts) => classFrequencies(classifier),
  ard: ({ classifier }: Parts) => averageRatioDeviation(classifier),
  conditionalAccuracy: ({ classifier }: Parts) => conditionalAccuracy(classifier),
  frechetDistancePerClass: ({ extractor }: Parts) =>
    frechetDistancePerClass(extractor, { name: 'frechetDistancePerClass' }),
  fid: ({ inception }: Parts) => fid(inception!),
  kid: ({ inception }: Parts) => kid(inception!),
  inceptionScore: ({ inception }: Parts) => inceptionScore(inception!),
} satisfies Record<string, (parts: Parts) => Metric>

type MetricName = keyof typeof metrics
/** Metrics that need a network that takes labels. */
export const conditionalMetrics: readonly MetricName[] = ['conditionalAccuracy', 'frechetDistancePerClass']
/** Metrics that need the standard Inception-v3. */
const inceptionMetrics: readonly MetricName[] = ['fid', 'kid', 'inceptionScore']
const metricNames = Object.keys(metrics) as [MetricName, ...MetricName[]]

/** How learners are evaluated after each task. */
export const evaluationSchema = z
  .strictObject({
    /** Images generated after each task. Default 10000. */
    count: z.int().min(2).max(1_000_000).default(10_000),
    batchSize: batchSizeSchema.default(128),
    /**
     * Number of resamples from which metrics compute a 95 % confidence interval over the generated images where it costs little; 0: none. Default
     * 1000.
     */
    bootstrap: bootstrapSchema.default(1000),
    /** Names of metrics. Default `frechetDistance` and `classFrequencies`. */
    metrics: z
      .array(
        z.enum(metricNames, {
          error: ({ input }) => unknownName('metric', typeof input === 'string' ? input : shown(input), metricNames),
        }),
      )
      .min(1)
      .refine((names) => new Set(names).size === names.length, { message: 'expected each metric once' })
      .default(['frechetDistance', 'classFrequencies']),
    /**
     * What comes of a metric that needs more test images than there are after a task: `refuse` (default): an error before the run begins;
     * `null`: no value after that task, with a note.
     */
    tooFew: z.enum(['refuse', 'null']).default('refuse'),
    /** Neighbours for precision and recall. Default 3. */
    k: z.int().min(1).max(mostNeighbours).default(3),
    /**
     * Numbers of sampler steps, rising, over which the area under the Fréchet distance is a metric, too; the paper's experiment
     * without data takes [2, 5, 10, 20]. Default: it isn't.
     */
    areaSteps: areaStepsSchema.optional(),
    /** After which tasks there is an evaluation: `every` (default), or only the `last`, for tables of final values. */
    after: z.enum(['every', 'last']).default('every'),
    /** Evaluates each task seen by itself, too: its forgetting. Default true. */
    perTask: z.boolean().default(true),
    /** Fewest images, real and generated, for which a task's own metrics are computed. Default 50. */
    perTaskMinimum: z.int().min(1).default(50),
    /** Bands of timesteps in which the denoising loss on the test images is measured. Default: it isn't. */
    denoisingBands: z.int().min(1).optional(),
    /**
     * A TorchScript file whose features replace the classifier's, and how it is used: see `TorchScriptOptions`. Opening it runs its
     * code: only use files that you trust.
     */
    features: torchScriptSchema
      .omit({ device: true, threads: true })
      .extend({ file: z.string().min(1) })
      .optional(),
    /**
     * Where the standard Inception-v3 of `fid`, `kid` and `inceptionScore` is: its file, or another address to download it from. Default: in the
     * user's cache folder, where it is downloaded to.
     */
    inception: z.strictObject({ file: z.string().min(1).optional(), url: z.url().optional() }).prefault({}),
  })
  .superRefine(({ count, k, metrics }, context) => {
    if (count < defaultSplits && metrics.includes('inceptionScore')) {
      const message = `expected at least ${defaultSplits}, the splits of the inception score`
      context.addIssue({ code: 'custom', path: ['count'], message })
    }
    if (k < count || !metrics.some((name) => name === 'precision' || name === 'recall')) return
    context.addIssue({ code: 'custom', path: ['count'], message: `expected more than evaluation.k, which is ${k}` })
  })

export type EvaluationConfig = z.output<typeof evaluationSchema>

/** Fewest images of these metrics, which are made only when there is a classifier; of the others 1. */
const fewest: Partial<Record<MetricName, (k: number) => number>> = {
  frechetDistance: () => 2,
  kernelDistance: () => 2,
  gaussianDistance: () => 2,
  precision: (k) => k + 1,
  recall: (k) => k + 1,
  fid: () => 2,
  kid: () => 2,
  inceptionScore: () => defaultSplits,
}

/**
 * Checks that there are test images enough for the metrics, after every task that is evaluated.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function checkTestImages(config: EvaluationConfig, stream: Stream): void {
  const { metrics: names, k, after, areaSteps, tooFew } = config
  if (names.includes('frechetDistancePerClass')) checkClasses(config, stream)
  if (tooFew === 'null') return
  const first = after === 'every' ? stream.tasks[0] : stream.tasks.at(-1)
  const count = first === undefined ? 0 : countImages(stream.seen(first).test)
  const needs: [string, number][] = names.map((name) => [name, fewest[name]?.(k) ?? 1])
  if (areaSteps !== undefined) needs.push(['areaSteps', 2])
  for (const [name, least] of needs) {
    if (count >= least) continue
    throw invalid(
      `evaluation: ${name} needs at least ${least} test images; after task ${first?.number} of ${stream.name} there are ${count}: ` +
        "leave it out, take more test images or fewer tasks, evaluate after 'last' only, or set tooFew to 'null' for a table without this value",
    )
  }
}

/** Checks that each class has images enough for a distance of its own, after every task that is evaluated. */
function checkClasses({ count, after }: EvaluationConfig, { name, tasks, seen }: Stream): void {
  for (const task of after === 'every' ? tasks : tasks.slice(-1)) {
    const { test, classes } = seen(task)
    const real = countLabels(test.map(({ dataset, indices }) => indices.map((index) => dataset.labels[index]!)))
    const names = task.train.dataset.classes
    // The classes learned are asked for in turn.
    const each = Math.max(1, Math.floor(count / classes.length))
    const asked = names.map((_, label) => (classes.includes(label) ? each : 0))
    const where = `evaluation: frechetDistancePerClass: after task ${task.number} of ${name}`
    checkClassCounts(where, real, asked, minimumOfClass, names)
  }
}

/** Whether a metric needs the standard Inception-v3. */
export function needsInception({ metrics: names }: Pick<EvaluationConfig, 'metrics'>): boolean {
  return names.some((name) => inceptionMetrics.includes(name))
}

export function makeMetrics(
  { metrics: names, k }: Pick<EvaluationConfig, 'metrics' | 'k'>,
  parts: Omit<Parts, 'k'>,
): Metric[] {
  return names.map((name) => metrics[name]({ ...parts, k }))
}
