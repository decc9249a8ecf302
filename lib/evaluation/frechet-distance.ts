import {
  describeFeatures,
  type FeatureExtractor,
  featuresOf,
  isInception,
  type NotInception,
} from '../classifiers/features.js'
import { momentsDistance, RunningMoments } from '../engine/moments.js'
import type { Bootstrap, NativeMoments } from '../engine/state.js'
import { checkAdded, checkExtractor, nameOf } from './arguments.js'
import { intervalOfDistance, mostFeatures } from './interval.js'
import { checkCounts } from './kept-features.js'
import type { Metric, MetricRun } from './metric.js'

/**
 * The Fréchet distance between real and generated images in the extractor's features: the distance between the two normal distributions with
 * the means and covariances of the features (Heusel et al. 2017, arXiv 1706.08500). It is ≥ 0, and 0 for equal means and covariances; lower
 * is better. It falls with the number of images, so compare it at equal counts only. Means and covariances are computed in float64, batch by
 * batch. They take 2 × D² × 8 bytes for any number of images, besides the features and moments of real images that `evaluate` keeps. A
 * confidence interval is computed for up to 128 features, from at most 200 resamples; it keeps the features of the generated images.
 *
 * It is labelled FID if and only if the features are those of the standard Inception-v3, see {@link FeatureExtractor.inceptionV3}.
 *
 * @param extractor e.g. a `Classifier`, or `TorchScriptFeatures`
 * @param options.name key in reports. Default `frechetDistance`; with Inception-v3 `fid`
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for an extractor with `inceptionV3` that doesn't have 2048 features
 *
 * @category Evaluation
 */
export function frechetDistance<Name extends string = 'frechetDistance'>(
  extractor: NotInception,
  options?: { name?: Name },
): Metric<NoInfer<Name>>
export function frechetDistance<Name extends string = string>(
  extractor: FeatureExtractor,
  options?: { name?: Name },
): Metric<NoInfer<Name>>
export function frechetDistance(extractor: FeatureExtractor, options: { name?: string } = {}): Metric {
  checkExtractor(extractor, 'frechetDistance')
  const inception = isInception(extractor)
  const name = nameOf(options, 'frechetDistance', inception ? 'fid' : 'frechetDistance')
  const title = `${inception ? 'FID' : 'Fréchet distance'} (${describeFeatures(extractor)})`
  return { name, title, minimum: 2, start: (bootstrap) => start(extractor, title, bootstrap) }
}

function start(extractor: FeatureExtractor, title: string, asked: Bootstrap | undefined): MetricRun {
  const { dimension } = extractor
  const bootstrap = dimension <= mostFeatures ? asked : undefined
  const rows: Float32Array[] = []
  const moments = { real: new RunningMoments(dimension), generated: new RunningMoments(dimension) }
  let kept: NativeMoments | undefined
  return {
    async add(images, kind, labels) {
      checkAdded(title, images, kind, labels)
      const features = await featuresOf(extractor, images)
      if (bootstrap && kind === 'generated') rows.push(features)
      await moments[kind].add(features)
    },
    async addReal(images) {
      kept = await images.moments(extractor)
    },
    async finish(signal) {
      const real = kept ?? moments.real
      const counts = { real: real.count, generated: moments.generated.count }
      checkCounts(title, counts, 2)
      const value = await momentsDistance(real, moments.generated)
      const interval = bootstrap && (await intervalOfDistance(value, real, rows, bootstrap, signal))
      const found = { ...counts, value, ...(interval && { interval }) }
      // N rows less their mean span at most N − 1 dimensions.
      const kinds = ['real', 'generated'] as const
      const deficient = kinds.filter((kind) => counts[kind] <= dimension).map((kind) => `${counts[kind]} ${kind}`)
      if (deficient.length === 0) return found
      const note = `rank-deficient covariance: only ${deficient.join(' and ')} images for ${dimension} features`
      return { ...found, note }
    },
  }
}
