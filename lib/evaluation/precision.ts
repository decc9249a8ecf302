import { z } from 'zod'
import type { FeatureExtractor } from '../classifiers/features.js'
import { call, withCancel } from '../engine/call.js'
import { parseOptions } from '../validation/options.js'
import { keptFeaturesMetric } from './kept-features.js'
import type { Metric } from './metric.js'

/**
 * Options of {@link precision} and {@link recall}.
 *
 * @category Evaluation
 */
export interface ManifoldOptions {
  /** Which nearest neighbour's distance is the radius around an image, at least 1. Default 3, as in the paper. */
  k?: number
  /** Key in reports. Default `precision` or `recall`. */
  name?: string
}

export const manifoldSchema = z.strictObject({
  k: z.int().min(1).max(1000).default(3),
  name: z.string().min(1).optional(),
})

/**
 * Improved precision (Kynkäänniemi et al. 2019, arXiv 1904.06991): the fraction of generated images that look real, which is that lie
 * within at least one real image's ball; a ball's radius is the Euclidean distance to the k-th nearest other real image in the
 * features. 0 … 1, higher is better; compare at equal counts and equal k only. Needs k + 1 images of each kind and keeps
 * their features: (real + generated) × D × 4 bytes.
 *
 * @category Evaluation
 */
export function precision(extractor: FeatureExtractor, options: ManifoldOptions = {}): Metric {
  const { k, name = 'precision' } = parseOptions(manifoldSchema, options, 'precision')
  const about = { name, what: `Precision, k = ${k}`, minimum: k + 1, higherIsBetter: true }
  return keptFeaturesMetric(extractor, about, ({ real, generated }, signal) =>
    withCancel(signal, (flag) => call((addon) => addon.coverage(real, generated, extractor.dimension, k, flag))),
  )
}
