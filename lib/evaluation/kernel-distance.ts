import { z } from 'zod'
import { type FeatureExtractor, isInception, type NotInception } from '../classifiers/features.js'
import { call, withCancel } from '../engine/call.js'
import { seedSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { checkExtractor } from './arguments.js'
import { keptFeaturesMetric } from './kept-features.js'
import type { Metric } from './metric.js'

/**
 * Random subsets of the images over which a kernel distance is averaged.
 *
 * @category Evaluation
 */
export interface KernelSubsets {
  /** Number of subsets, 1 … 100,000. Default 100. */
  count?: number
  /** Real and generated images of a subset, drawn without replacement; at most all images of the kind that has fewer. Default 1000. */
  size?: number
  /** Seed of the draws, 0 … 2³² − 1. Default 0. */
  seed?: number
}

const schema = z.strictObject({
  name: z.string().min(1).optional(),
  subsets: z
    .strictObject({
      count: z.int().min(1).max(100_000).default(100),
      size: z.int().min(2).default(1000),
      seed: seedSchema.default(0),
    })
    .optional(),
})

/**
 * The kernel distance between real and generated images (Bińkowski et al. 2018, arXiv 1801.01401): the unbiased estimate of MMD² in
 * the kernel k(x, y) = (x·y / D + 1)³,
 * Σ_{i≠j} k(xᵢ, xⱼ) / m(m − 1) + Σ_{i≠j} k(yᵢ, yⱼ) / n(n − 1) − 2·Σ k(xᵢ, yⱼ) / mn,
 * over all m real images x and n generated images y. Lower is better. Unlike that of the Fréchet distance, its
 * expectation does not depend on the number of images. It can be below 0. It is computed in float64, and keeps (m + n) × D × 4 bytes of
 * features. It is labelled KID only for the standard Inception-v3.
 *
 * @param options.name key in reports. Default `kernelDistance`; with Inception-v3 `kid`
 * @param options.subsets takes the mean over random subsets in place of all images at once, as KIDs are published; `detail.subsets` then has
 *   the value of each. The expectation is the same, and the mean is less exact
 *
 * @category Evaluation
 */
export function kernelDistance<Name extends string = 'kernelDistance'>(
  extractor: NotInception,
  options?: { name?: Name; subsets?: KernelSubsets },
): Metric<NoInfer<Name>>
export function kernelDistance<Name extends string = string>(
  extractor: FeatureExtractor,
  options?: { name?: Name; subsets?: KernelSubsets },
): Metric<NoInfer<Name>>
export function kernelDistance(
  extractor: FeatureExtractor,
  options: { name?: string; subsets?: KernelSubsets } = {},
): Metric {
  checkExtractor(extractor, 'kernelDistance')
  const { subsets, name } = parseOptions(schema, options, 'kernelDistance')
  const inception = isInception(extractor)
  const what = inception ? 'KID' : 'Kernel distance'
  const about = {
    name: name ?? (inception ? 'kid' : 'kernelDistance'),
    what: subsets ? `${what}, ${subsets.count} subsets of ${subsets.size}` : what,
    minimum: 2,
  }
  const { dimension } = extractor
  return keptFeaturesMetric(extractor, about, async ({ real, generated }, counts, signal) => {
    if (subsets === undefined) {
      const value = await withCancel(signal, (flag) =>
        call((addon) => addon.kernelDistance(real, generated, dimension, flag)),
      )
      return { value }
    }
    const { count, seed } = subsets
    const size = Math.min(subsets.size, counts.real, counts.generated)
    const found = await withCancel(signal, (flag) =>
      call((addon) => addon.kernelDistances(real, generated, dimension, { subsets: count, size, seed }, flag)),
    )
    const value = found.reduce((sum, one) => sum + one, 0) / count
    const note =
      size < subsets.size
        ? `subsets of ${size}: there are ${counts.real} real and ${counts.generated} generated images, fewer than ${subsets.size}`
        : undefined
    return { value, ...(note && { note }), detail: { subsets: [...found] } }
  })
}
