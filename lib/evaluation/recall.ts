import type { FeatureExtractor } from '../classifiers/features.js'
import { call, withCancel } from '../engine/call.js'
import { parseOptions } from '../validation/options.js'
import { checkExtractor } from './arguments.js'
import { intervalOfFraction } from './interval.js'
import { keptFeaturesMetric } from './kept-features.js'
import type { Metric } from './metric.js'
import { type ManifoldOptions, manifoldSchema } from './precision.js'

/**
 * Improved recall (Kynkäänniemi et al. 2019, arXiv 1904.06991): the fraction of real images that lie within the ball of at least one
 * generated image. The radius of a generated image's ball is the Euclidean distance, in the features, to the k-th nearest other generated
 * image. It is 0 … 1, and higher is better. Compare it at equal counts and equal k only. It needs at least k + 1 images of each kind, and
 * keeps their features: (real + generated) × D × 4 bytes. Its confidence interval resamples the real images, of which it is a fraction; those that
 * are generated, and their balls, stay the same.
 *
 * @category Evaluation
 */
export function recall<Name extends string = 'recall'>(
  extractor: FeatureExtractor,
  options: ManifoldOptions<Name> = {},
): Metric<NoInfer<Name>> {
  checkExtractor(extractor, 'recall')
  const { k, name = 'recall' } = parseOptions(manifoldSchema, options, 'recall')
  const about = { name: name as Name, what: `Recall, k = ${k}`, minimum: k + 1, higherIsBetter: true }
  return keptFeaturesMetric(extractor, about, async ({ real, generated }, counts, signal, bootstrap) => {
    const value = await withCancel(signal, (flag) =>
      call((addon) => addon.coverage(generated, real, extractor.dimension, k, flag)),
    )
    return { value, ...(bootstrap && { interval: await intervalOfFraction(value, counts.real, bootstrap, signal) }) }
  })
}
