import { z } from 'zod'
import type { FeatureExtractor } from '../classifiers/features.js'
import { call, withCancel } from '../engine/call.js'
import { parseOptions } from '../validation/options.js'
import { checkExtractor } from './arguments.js'
import { intervalOfFraction } from './interval.js'
import { keptFeaturesMetric } from './kept-features.js'
import type { Metric } from './metric.js'

/**
 * Options of {@link precision} and {@link recall}.
 *
 * @category Evaluation
 */
export interface ManifoldOptions<Name extends string = string> {
  /** The radius of an image's ball is the distance to its k-th nearest neighbour, 1 … 1000. Default 3, as in the paper. */
  k?: number
  /** Key in reports. Default `precision` or `recall`. */
  name?: Name
}

/** Most neighbours of precision and recall. */
export const mostNeighbours = 1000

export const manifoldSchema = z.strictObject({
  k: z.int().min(1).max(mostNeighbours).default(3),
  name: z.string().min(1).optional(),
})

/**
 * Improved precision (Kynkäänniemi et al. 2019, arXiv 1904.06991): the fraction of generated images that lie within the ball of at least one
 * real image. The radius of a real image's ball is the Euclidean distance, in the features, to the k-th nearest other real image. It is
 * 0 … 1, and higher is better. Compare it at equal counts and equal k only. It needs at least k + 1 images of each kind, and keeps their
 * features: (real + generated) × D × 4 bytes.
 *
 * @category Evaluation
 */
export function precision<Name extends string = 'precision'>(
  extractor: FeatureExtractor,
  options: ManifoldOptions<Name> = {},
): Metric<NoInfer<Name>> {
  checkExtractor(extractor, 'precision')
  const { k, name = 'precision' } = parseOptions(manifoldSchema, options, 'precision')
  const about = { name: name as Name, what: `Precision, k = ${k}`, minimum: k + 1, higherIsBetter: true }
  return keptFeaturesMetric(extractor, about, async ({ real, generated }, counts, signal, bootstrap) => {
    const value = await withCancel(signal, (flag) =>
      call((addon) => addon.coverage(real, generated, extractor.dimension, k, flag)),
    )
    return {
      value,
      ...(bootstrap && { interval: await intervalOfFraction(value, counts.generated, bootstrap, signal) }),
    }
  })
}
