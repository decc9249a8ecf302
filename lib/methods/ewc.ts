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
   * Factor of the penalty; ≥ 0. The papers give none for diffusion models, and the best one depends on the network and its
   * loss: sweep it by factors of ten. Default 10,000, the best of these for the `demo` U-Net on its stream.
   */
  strength?: number
  /** `separate` (default): a penalty for each earlier task; `online`: one, at the last task's weights. */
  mode?: 'separate' | 'online'
  /** γ of the online mode, 0 … 1: what the earlier tasks' Fisher is multiplied by when a task is added. Default 1. */
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
    error: "expected mode 'online', which alone has a decay",
    path: ['mode'],
  })
  .prefault({})

/**
 * Elastic weight consolidation: each weight is held near its value after the earlier tasks, the more the more these depend on
 * it: L = ‖ε − ε_θ(x_t, t)‖² + ½·strength·Σ_j Σᵢ F_j,i·(θᵢ − θ*_j,i)², with F_j the diagonal of the empirical Fisher matrix of
 * task j, the mean of the squared gradients of the loss of single images. Online: one term, F ← γ·F + F_j, θ* the weights
 * after the last task.
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
