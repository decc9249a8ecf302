import { z } from 'zod'
import { parseOptions } from '../validation/options.js'
import type { Method } from './objective.js'
import { type FisherOptions, fisherShape, penalized, strengthSchema } from './penalized.js'
import { gate } from './terms.js'

/**
 * Options of {@link rankOneEwc}.
 *
 * @category Methods
 */
export interface RankOneEwcOptions extends FisherOptions {
  /** Factor of the penalty; ≥ 0. Try powers of ten. Default 1000, the best power of ten for the `demo` U-Net on its stream. */
  strength?: number
  /** The factor f in the penalty. `optimal` (default): the least-squares factor; `one`: f = 1. */
  factor?: 'optimal' | 'one'
}

const schema = z
  .strictObject({
    ...fisherShape,
    strength: strengthSchema.default(1000),
    factor: z.enum(['optimal', 'one']).default('optimal'),
  })
  .prefault({})

/**
 * Elastic weight consolidation with a Fisher matrix of rank one, because the gradients of single images are nearly collinear at low
 * signal-to-noise ratio: L = ‖ε − ε_θ(x_t, t)‖² + ½·strength·Σ_j f_j·(m_j·(θ − θ*_j))². m_j is the mean of the gradients g of single
 * images of task j, and f = mean((g·m)²) / ‖m‖⁴, for which f·m·mᵀ is nearest to the mean of g·gᵀ.
 *
 * Wang, Gupta, Dong and MacLellan 2025 (arXiv 2509.23593); the penalty and f are those of their code. They combine it with
 * generative distillation: `compose(generativeDistillation(), rankOneEwc())`, there without the weights 1/k and 1 − 1/k.
 *
 * @category Methods
 */
export function rankOneEwc(options?: RankOneEwcOptions): Method {
  const { strength, samples, timesteps, factor } = parseOptions(schema, options, 'rankOneEwc')
  return penalized('rank-1-ewc', strength, {
    kind: 'mean-gradient',
    penalty: 'rank-1-ewc',
    samples,
    ...gate(timesteps),
    optimal: factor === 'optimal',
  })
}
