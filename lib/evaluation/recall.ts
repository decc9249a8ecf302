import type { FeatureExtractor } from '../classifiers/features.js'
import { call, withCancel } from '../engine/call.js'
import { parseOptions } from '../validation/options.js'
import { keptFeaturesMetric } from './kept-features.js'
import type { Metric } from './metric.js'
import { type ManifoldOptions, manifoldSchema } from './precision.js'

/**
 * Improved recall (Kynkäänniemi et al. 2019, arXiv 1904.06991): the fraction of real images that could have been generated, which is
 * that lie within at least one generated image's ball; a ball's radius is the Euclidean distance to the k-th nearest other
 * generated image in the features. 0 … 1, higher is better; compare at equal counts and equal k only. Needs k + 1 images of each
 * kind and keeps their features: (real + generated) × D × 4 bytes.
 *
 * @category Evaluation
 */
export function recall(extractor: FeatureExtractor, options: ManifoldOptions = {}): Metric {
  const { k, name = 'recall' } = parseOptions(manifoldSchema, options, 'recall')
  const about = { name, what: `Recall, k = ${k}`, minimum: k + 1, higherIsBetter: true }
  return keptFeaturesMetric(extractor, about, ({ real, generated }, signal) =>
    withCancel(signal, (flag) => call((addon) => addon.coverage(generated, real, extractor.dimension, k, flag))),
  )
}
