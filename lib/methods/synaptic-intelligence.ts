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
  /** ξ > 0, in squared units of the weights: keeps Ω bounded where a weight hardly moved. Default 1e-3. */
  damping?: number
}

const schema = z
  .strictObject({ strength: strengthSchema.default(0.1), damping: z.number().positive().default(1e-3) })
  .prefault({})

/**
 * Each weight is held near its value after the last task, the more the more it has lowered the losses of the tasks so far:
 * L = ‖ε − ε_θ(x_t, t)‖² + ½·strength·Σᵢ Ωᵢ·(θᵢ − θ*ᵢ)². During a task ωᵢ adds up −gᵢ·Δθᵢ over the steps, g the gradient
 * without the penalty; at its end Ωᵢ ← max(0, Ωᵢ + ωᵢ / (Δᵢ² + ξ)), Δ the weight's way through the task.
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
