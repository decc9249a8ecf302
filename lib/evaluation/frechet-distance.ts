import { describeFeatures, type FeatureExtractor, featuresOf, isInception } from '../classifiers/features.js'
import { momentsDistance, RunningMoments } from '../engine/moments.js'
import type { NativeMoments } from '../engine/state.js'
import { checkCounts } from './kept-features.js'
import type { Metric, MetricRun } from './metric.js'

/**
 * The Fréchet distance between real and generated images in some features: between the two normal distributions that have
 * their means and covariances (Heusel et al. 2017, arXiv 1706.08500). 0 for equal moments; it falls with the number of images, so
 * compare at equal counts only. Moments are running, in float64: memory is 2 × D² × 8 bytes, however many images there are, and what
 * `evaluate` keeps of the real images.
 *
 * It is named FID if and only if the features are the standard Inception-v3's, see {@link FeatureExtractor.inceptionV3}.
 *
 * @param extractor e.g. a `Classifier`, or `TorchScriptFeatures`
 * @param options.name key in reports. Default `frechetDistance`, with Inception-v3 `fid`
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for an extractor that says it is Inception-v3 and has not 2048 features
 *
 * @category Evaluation
 */
export function frechetDistance(extractor: FeatureExtractor, options: { name?: string } = {}): Metric {
  const inception = isInception(extractor)
  const name = options.name ?? (inception ? 'fid' : 'frechetDistance')
  const title = `${inception ? 'FID' : 'Fréchet distance'} (${describeFeatures(extractor)})`
  return { name, title, minimum: 2, start: () => start(extractor, title) }
}

function start(extractor: FeatureExtractor, title: string): MetricRun {
  const { dimension } = extractor
  const moments = { real: new RunningMoments(dimension), generated: new RunningMoments(dimension) }
  let kept: NativeMoments | undefined
  return {
    async add(images, kind) {
      await moments[kind].add(await featuresOf(extractor, images))
    },
    async addReal(images) {
      kept = await images.moments(extractor)
    },
    async finish() {
      const real = kept ?? moments.real
      const counts = { real: real.count, generated: moments.generated.count }
      checkCounts(title, counts, 2)
      const value = await momentsDistance(real, moments.generated)
      // N rows less their mean span at most N − 1 dimensions.
      const kinds = ['real', 'generated'] as const
      const deficient = kinds.filter((kind) => counts[kind] <= dimension).map((kind) => `${counts[kind]} ${kind}`)
      if (deficient.length === 0) return { ...counts, value }
      const note = `rank-deficient covariance: only ${deficient.join(' and ')} images for ${dimension} features`
      return { ...counts, value, note }
    },
  }
}
