import type { Classifier } from '../classifiers/classifier.js'
import type { FeatureExtractor } from '../classifiers/features.js'
import { countImages } from '../data/dataset.js'
import { type EvaluateOptions, type Evaluation, evaluate } from '../evaluation/evaluate.js'
import { frechetArea, frechetAreaTitle } from '../evaluation/frechet-area.js'
import type { InceptionV3 } from '../evaluation/inception.js'
import type { Counts } from '../evaluation/metric.js'
import type { TaskValue } from '../evaluation/per-task.js'
import { realDistance } from '../evaluation/real-distance.js'
import type { Learner } from '../learner/learner.js'
import type { DenoisingLoss } from '../learner/options.js'
import type { MetricInfo } from '../report/results.js'
import type { Seen } from '../streams/stream.js'
import { type EvaluationConfig, makeMetrics } from './metrics.js'

/** How an experiment judges its learners. */
export interface Judge {
  /** What it measures, as results describe it. */
  readonly infos: Readonly<Record<string, MetricInfo>>
  /** @param options take the place of what the experiment says */
  evaluate(learner: Learner, seen: Seen, options: Partial<EvaluateOptions>): Promise<Judgement>
}

/** What a judge found; a value is null where there were too few test images for it. */
export interface Judgement extends Evaluation<string, TaskValue> {
  readonly denoising: readonly DenoisingLoss[] | undefined
}

/** What a judge measures with. */
interface Networks {
  readonly classifier: Classifier
  /** Gives the features. Default: the classifier. */
  readonly extractor: FeatureExtractor | undefined
  readonly inception: InceptionV3 | undefined
}

export function makeJudge(config: EvaluationConfig, { classifier, extractor, inception }: Networks): Judge {
  const {
    count,
    batchSize,
    bootstrap,
    perTask,
    perTaskMinimum: minimum,
    denoisingBands: bands,
    areaSteps,
    tooFew,
  } = config
  const features = extractor ?? classifier
  const made = makeMetrics(config, { classifier, extractor: features, inception })
  const infos = made.map(({ name, title, higherIsBetter }): [string, MetricInfo] => [
    name,
    { title, better: higherIsBetter ? 'higher' : 'lower' },
  ])
  if (areaSteps) infos.push(['frechetArea', { title: frechetAreaTitle(features, areaSteps), better: 'lower' }])
  /** Fewest test images. */
  const fewest = Object.fromEntries([...made.map((metric) => [metric.name, metric.minimum ?? 1]), ['frechetArea', 2]])
  return {
    infos: Object.fromEntries(infos),
    async evaluate(learner, seen, given) {
      const options = { count, batchSize, ...given }
      const { seed, signal } = options
      const real = countImages(seen.test)
      const isMeasured = (name: string) => tooFew === 'refuse' || real >= fewest[name]!
      const possible = made.filter(({ name }) => isMeasured(name))
      const found = await evaluate(learner, seen, possible, {
        ...options,
        bootstrap,
        perTask: perTask ? { classifier, minimum } : undefined,
      })
      const { sampler: _, ...rest } = options
      const area =
        areaSteps &&
        isMeasured('frechetArea') &&
        (await frechetArea(learner, seen, features, { ...rest, steps: areaSteps }))
      const denoising =
        bands === undefined ? undefined : await learner.denoisingLoss(seen.test, { bands, batchSize, seed, signal })
      const values: Record<string, TaskValue> = { ...found.values, ...(area && { frechetArea: area }) }
      for (const [name, by] of Object.entries({ frechetDistance: features, fid: inception })) {
        const value = values[name]
        if (value === undefined || by === undefined) continue
        const reference = await realDistance(learner.images, seen, by, { ...options, signal })
        values[name] = { ...value, reference }
      }
      /** With a null for each metric that there are too few images for. */
      const whole = (counts: Counts, values: Readonly<Record<string, TaskValue>>, names: readonly string[]) =>
        Object.fromEntries(
          names.map((name): [string, TaskValue] => {
            const note = `too few test images: ${counts.real}; expected at least ${fewest[name]}`
            const { real, generated } = counts
            return [name, values[name] ?? { real, generated, value: null, note }]
          }),
        )
      return {
        ...found,
        values: whole(
          found,
          values,
          infos.map(([name]) => name),
        ),
        ...(found.tasks && {
          tasks: found.tasks.map((task) => ({
            ...task,
            values: whole(
              task,
              task.values,
              made.map(({ name }) => name),
            ),
          })),
        }),
        denoising,
      }
    },
  }
}
