import { z } from 'zod'
import type { FeatureExtractor } from '../classifiers/features.js'
import { call, withCancel } from '../engine/call.js'
import { parseOptions } from '../validation/options.js'
import { checkExtractor } from './arguments.js'
import { keptFeaturesMetric } from './kept-features.js'
import type { Metric } from './metric.js'

const schema = z.strictObject({
  name: z.string().min(1).optional(),
  sigma: z.number().min(1e-6).max(1e6).default(10),
})

/**
 * 1000 times the unbiased MMD² between real and generated images in the Gaussian kernel exp(−|x − y|² / 2σ²) of the features. With σ = 10 in CLIP's
 * normalised image features it is the CMMD of Jayasumana et al. 2024 (arXiv 2401.09603). It is computed over all images, in float64, and keeps
 * (real + generated) × D × 4 bytes of features. Lower is better; it can be below 0, and its expectation does not depend on the numbers of images.
 *
 * @param options.name key in reports. Default `gaussianDistance`
 * @param options.sigma σ, 1e-6 … 1e6. Default 10
 *
 * @category Evaluation
 */
export function gaussianDistance<Name extends string = 'gaussianDistance'>(
  extractor: FeatureExtractor,
  options: { name?: Name; sigma?: number } = {},
): Metric<NoInfer<Name>> {
  checkExtractor(extractor, 'gaussianDistance')
  const { name = 'gaussianDistance', sigma } = parseOptions(schema, options, 'gaussianDistance')
  const about = { name: name as Name, what: `Gaussian kernel distance, σ = ${sigma}`, minimum: 2 }
  return keptFeaturesMetric(extractor, about, async ({ real, generated }, _, signal) => {
    const { dimension } = extractor
    const found = await withCancel(signal, (flag) =>
      call((addon) => addon.kernelDistance(real, generated, dimension, flag, sigma)),
    )
    return { value: 1000 * found }
  })
}
