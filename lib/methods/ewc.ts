import { z } from 'zod'
import { parseOptions } from '../validation/options.js'
import type { Method } from './objective.js'
import { type FisherOptions, fisherShape, penalized, strengthSchema } from './penalized.js'
import { gate } from './terms.js'

/**
 * Options of {@link ewc}.
 *
 * @category Methods
 */
export interface EwcOptions extends FisherOptions {
  /**
   * Factor of the penalty; ≥ 0. The papers give no value for diffusion models, and the best value depends on the network and its
   * loss: try powers of ten. Default 10,000, the best power of ten for the `demo` U-Net on its stream.
   */
  strength?: number
  /** `separate` (default): one penalty for each earlier task; `online`: one penalty for all of them, around the last task's weights. */
  mode?: 'separate' | 'online'
  /** γ, 0 … 1, only with `mode: 'online'`: the factor of the earlier tasks' Fisher matrix when a task is added. Default 1. */
  decay?: number
}

const schema = z
  .strictObject({
    ...fisherShape,
    strength: strengthSchema.default(10_000),
    mode: z.enum(['separate', 'online']).default('separate'),
    decay: z.number().min(0).max(1).optional(),
  })
  .refine(({ mode, decay }) => mode === 'online' || decay === undefined, {
    error: "expected 'online', as decay is given: mode 'separate' has no decay",
    path: ['mode'],
  })
  .prefault({})

/**
 * Elastic weight consolidation holds each weight near its value after the earlier tasks. The more an earlier task depends on a weight,
 * the stronger the hold:
 * L = ‖ε − ε_θ(x_t, t)‖² + ½·strength·Σ_j Σᵢ F_j,i·(θᵢ − θ*_j,i)²,
 * where F_j is the diagonal of the empirical Fisher matrix of task j: the mean of the squared gradients of the loss of single images.
 * With `mode: 'online'` the sum over j is one term with F ← γ·F + F_j, and θ* are the weights after the last task.
 *
 * Kirkpatrick et al. 2017 (arXiv 1612.00796), eq. 3; online: Schwarz et al. 2018 (arXiv 1805.06370), section 4.
 *
 * @category Methods
 */
export function ewc(options?: EwcOptions): Method {
  const { strength, samples, timesteps, mode, decay = 1 } = parseOptions(schema, options, 'ewc')
  return penalized('ewc', strength, {
    kind: 'squared-gradients',
    penalty: 'ewc',
    samples,
    ...gate(timesteps),
    ...(mode === 'online' ? { decay } : {}),
  })
}
