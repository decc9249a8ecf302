import type { Classifier } from '../classifiers/classifier.js'
import type { FeatureExtractor } from '../classifiers/features.js'
import { type EvaluateOptions, type Evaluation, evaluate } from '../evaluation/evaluate.js'
import { frechetArea, frechetAreaTitle } from '../evaluation/frechet-area.js'
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

/** What a judge found. */
export interface Judgement extends Evaluation {
  readonly denoising: readonly DenoisingLoss[] | undefined
}

/** @param extractor gives the features. Default: the classifier */
export function makeJudge(config: EvaluationConfig, classifier: Classifier, extractor?: FeatureExtractor): Judge {
  const { count, batchSize, perTask, perTaskMinimum: minimum, denoisingBands: bands, areaSteps } = config
  const features = extractor ?? classifier
  const made = makeMetrics(config, classifier, features)
  const infos = made.map(({ name, title, higherIsBetter }): [string, MetricInfo] => [
    name,
    { title, better: higherIsBetter ? 'higher' : 'lower' },
  ])
  if (areaSteps) infos.push(['frechetArea', { title: frechetAreaTitle(features, areaSteps), better: 'lower' }])
  return {
    infos: Object.fromEntries(infos),
    async evaluate(learner, seen, given) {
      const options = { count, batchSize, ...given }
      const { seed, signal } = options
      const found = await evaluate(learner, seen, made, {
        ...options,
        perTask: perTask ? { classifier, minimum } : undefined,
      })
      const { sampler: _, ...rest } = options
      const area = areaSteps && (await frechetArea(learner, seen, features, { ...rest, steps: areaSteps }))
      const denoising =
        bands === undefined ? undefined : await learner.denoisingLoss(seen.test, { bands, batchSize, seed, signal })
      const { frechetDistance } = found.values
      const distance = frechetDistance && {
        ...frechetDistance,
        reference: await realDistance(learner.images, seen, features, { ...options, signal }),
      }
      const values = {
        ...found.values,
        ...(distance && { frechetDistance: distance }),
        ...(area && { frechetArea: area }),
      }
      return { ...found, values, denoising }
    },
  }
}
