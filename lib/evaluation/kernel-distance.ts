import { type FeatureExtractor, isInception, type NotInception } from '../classifiers/features.js'
import { call, withCancel } from '../engine/call.js'
import { checkExtractor, nameOf } from './arguments.js'
import { keptFeaturesMetric } from './kept-features.js'
import type { Metric } from './metric.js'

/**
 * The kernel distance between real and generated images (Bińkowski et al. 2018, arXiv 1801.01401): the unbiased estimate of MMD² in
 * the kernel k(x, y) = (x·y / D + 1)³,
 * Σ_{i≠j} k(xᵢ, xⱼ) / m(m − 1) + Σ_{i≠j} k(yᵢ, yⱼ) / n(n − 1) − 2·Σ k(xᵢ, yⱼ) / mn,
 * over all m real images x and n generated images y, not over random subsets. Lower is better. Unlike that of the Fréchet distance, its
 * expectation does not depend on the number of images. It can be below 0. It is computed in float64, and keeps (m + n) × D × 4 bytes of
 * features. It is labelled KID only for the standard Inception-v3.
 *
 * @param options.name key in reports. Default `kernelDistance`; with Inception-v3 `kid`
 *
 * @category Evaluation
 */
export function kernelDistance<Name extends string = 'kernelDistance'>(
  extractor: NotInception,
  options?: { name?: Name },
): Metric<NoInfer<Name>>
export function kernelDistance<Name extends string = string>(
  extractor: FeatureExtractor,
  options?: { name?: Name },
): Metric<NoInfer<Name>>
export function kernelDistance(extractor: FeatureExtractor, options: { name?: string } = {}): Metric {
  checkExtractor(extractor, 'kernelDistance')
  const inception = isInception(extractor)
  const about = {
    name: nameOf(options, 'kernelDistance', inception ? 'kid' : 'kernelDistance'),
    what: inception ? 'KID' : 'Kernel distance',
    minimum: 2,
  }
  return keptFeaturesMetric(extractor, about, ({ real, generated }, signal) =>
    withCancel(signal, (flag) => call((addon) => addon.kernelDistance(real, generated, extractor.dimension, flag))),
  )
}
