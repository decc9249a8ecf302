import { z } from 'zod'
import { describeFeatures, type FeatureExtractor, isInception } from '../classifiers/features.js'
import type { Learner } from '../learner/learner.js'
import type { Seen } from '../streams/stream.js'
import { parseOptions } from '../validation/options.js'
import { type EvaluateOptions, evaluate } from './evaluate.js'
import { frechetDistance } from './frechet-distance.js'
import type { MetricValue } from './metric.js'

/**
 * Options of {@link frechetArea}: `steps`, and those of `evaluate`.
 *
 * @category Evaluation
 */
export interface FrechetAreaOptions extends Omit<EvaluateOptions, 'sampler' | 'perTask'> {
  /** Two or more rising numbers of sampler steps. Default [2, 5, 10, 20], as in the paper's code. */
  steps?: readonly number[]
}

/** Schema of numbers of sampler steps to integrate over. */
export const areaStepsSchema = z
  .array(z.int().min(1))
  .min(2)
  .refine((steps) => steps.every((value, i) => i === 0 || value > (steps[i - 1] as number)), 'expected rising numbers')

// The others are for `evaluate` to check.
const schema = z.looseObject({
  steps: areaStepsSchema.default([2, 5, 10, 20]),
  sampler: z.undefined("expected none: the area is that of the learner's sampler, in so many steps").optional(),
  bootstrap: z.literal(0, 'expected 0: an area has no interval').optional(),
})

/**
 * Measures how well a learner generates in few and in many steps: the area under its Fréchet distance d over the number of sampler steps n,
 * by the trapezoid rule, Σᵢ (nᵢ₊₁ − nᵢ)·(dᵢ + dᵢ₊₁)/2. Lower is better. It generates `count` images for each number of steps. It is the
 * score of the data-free experiment of Masip et al. 2024 (arXiv 2311.14028), who use the features of Inception-v3.
 *
 * @returns the area, with `detail.steps` and `detail.distances`
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 * @throws signal.reason after an abort
 *
 * @category Evaluation
 */
export async function frechetArea(
  learner: Learner,
  seen: Seen,
  extractor: FeatureExtractor,
  given: FrechetAreaOptions = {},
): Promise<MetricValue> {
  const { steps } = parseOptions(schema, given, 'frechetArea')
  const { steps: _, onProgress, ...options } = given
  const metric = frechetDistance(extractor)
  const found: MetricValue[] = []
  for (const [i, n] of steps.entries()) {
    const { values } = await evaluate(learner, seen, [metric], {
      ...options,
      sampler: { steps: n },
      onProgress: ({ done, total }) => onProgress?.({ done: i * total + done, total: steps.length * total }),
    })
    found.push(values[metric.name] as MetricValue)
  }
  const distances = found.map(({ value }) => value)
  const { value, ...counts } = found[0] as MetricValue
  return { ...counts, value: trapezoid(steps, distances), detail: { steps, distances } }
}

/** For tables, as a metric's title. */
export function frechetAreaTitle(extractor: FeatureExtractor, steps: readonly number[]): string {
  const name = isInception(extractor) ? 'FID' : 'Fréchet distance'
  return `Area of ${name} over ${steps.join(', ')} steps (${describeFeatures(extractor)})`
}

/** ∫ y dx of the line through the points (xᵢ, yᵢ). */
function trapezoid(x: readonly number[], y: readonly number[]): number {
  return x.slice(1).reduce((sum, right, i) => {
    const width = right - (x[i] as number)
    return sum + (width * ((y[i] as number) + (y[i + 1] as number))) / 2
  }, 0)
}
