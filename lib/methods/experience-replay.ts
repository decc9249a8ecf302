import { z } from 'zod'
import { drawnTimestepsSchema, type Timesteps } from '../config/timesteps.js'
import { parseOptions } from '../validation/options.js'
import type { MemoryOptions, Method } from './objective.js'
import { memoryShape } from './objective-schema.js'
import { gate, lambdaSchema, taskNumber, taskTerm } from './terms.js'

/**
 * Options of {@link experienceReplay}.
 *
 * @category Methods
 */
export interface ExperienceReplayOptions extends Partial<MemoryOptions> {
  /** Weight λ of the loss on the memory; ≥ 0. Default 1. */
  lambda?: number
  /** Where the term on the memory draws its timesteps; its weight stays the same. Default: `LearnOptions.timesteps`. */
  timesteps?: Timesteps
}

const schema = z
  .strictObject({
    size: memoryShape.size.default(200),
    policy: memoryShape.policy.default('reservoir'),
    lambda: lambdaSchema.default(1),
    timesteps: drawnTimestepsSchema.optional(),
  })
  .prefault({})

/**
 * Keeps some real images of the earlier tasks (by default 200, chosen by a reservoir) and trains on them together with the new task's
 * images: L = ‖ε − ε_θ(x_t, t)‖² + λ·‖ε − ε_θ(m_t, t)‖². The images m are drawn from the memory with replacement, as many as images x
 * of the task.
 *
 * Chaudhry et al. 2019, "On tiny episodic memories in continual learning" (arXiv 1902.10486); unweighted as in the reference
 * experiments of Masip et al. 2024 (arXiv 2311.14028).
 *
 * @category Methods
 */
export function experienceReplay(options?: ExperienceReplayOptions): Method {
  const { size, policy, lambda, timesteps } = parseOptions(schema, options, 'experienceReplay')
  return {
    name: 'experience-replay',
    keeps: { memory: { size, policy } },
    objective: (k) => {
      if (taskNumber(k) === 1) return { terms: [taskTerm] }
      return { terms: [taskTerm, { source: { kind: 'memory' }, target: 'data', weight: lambda, ...gate(timesteps) }] }
    },
  }
}
