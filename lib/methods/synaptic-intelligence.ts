import { z } from 'zod'
import { parseOptions } from '../validation/options.js'
import type { Method } from './objective.js'
import { penalized, strengthSchema } from './penalized.js'

/**
 * Options of {@link synapticIntelligence}.
 *
 * @category Methods
 */
export interface SynapticIntelligenceOptions {
  /** Factor of the penalty, twice the paper's c; ≥ 0. Default 0.1, the best power of ten for the `demo` U-Net on its stream. */
  strength?: number
  /** ξ > 0, in squared units of the weights. It keeps Ω bounded for a weight that hardly moved. Default 1e-3. */
  damping?: number
}

const schema = z
  .strictObject({ strength: strengthSchema.default(0.1), damping: z.number().positive().default(1e-3) })
  .prefault({})

/**
 * Synaptic intelligence holds each weight near its value after the last task. The more a weight has lowered the losses of the tasks so far,
 * the stronger the hold: L = ‖ε − ε_θ(x_t, t)‖² + ½·strength·Σᵢ Ωᵢ·(θᵢ − θ*ᵢ)². During a task ωᵢ sums −gᵢ·Δθᵢ over the steps, where g is
 * the gradient without the penalty and before clipping. At the task's end Ωᵢ ← max(0, Ωᵢ + ωᵢ / (Δᵢ² + ξ)), where Δᵢ is the change of
 * the weight from the task's beginning to its end.
 *
 * Zenke, Poole and Ganguli 2017 (arXiv 1703.04200), eq. 4 and 5; the maximum as in their code.
 *
 * @category Methods
 */
export function synapticIntelligence(options?: SynapticIntelligenceOptions): Method {
  const { strength, damping } = parseOptions(schema, options, 'synapticIntelligence')
  const name = 'synaptic-intelligence'
  return penalized(name, strength, { kind: 'path-integral', penalty: name, damping, decay: 1 })
}
