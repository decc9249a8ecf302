import { parseOptions } from '../validation/options.js'
import type { Method } from './objective.js'
import { balanced, gate, generated, keepsTeacher, type TeacherMethodOptions, teacherMethodSchema } from './terms.js'

const schema = teacherMethodSchema(1)

/**
 * The teacher, a copy of the network that was frozen when the last task ended, generates images x̂ of the earlier tasks. The student learns
 * them as if they were real: L = (1/k)·‖ε − ε_θ(x_t, t)‖² + (1 − 1/k)·λ·‖ε − ε_θ(x̂_t, t)‖².
 *
 * Shin et al. 2017 (arXiv 1705.08690); with diffusion models, the baseline of Masip et al. 2024 (arXiv 2311.14028).
 *
 * @param options.lambda default 1
 *
 * @category Methods
 */
export function generativeReplay(options?: TeacherMethodOptions): Method {
  const { lambda, teacherDecay, timesteps, ...images } = parseOptions(schema, options, 'generativeReplay')
  return {
    name: 'generative-replay',
    ...keepsTeacher(teacherDecay),
    objective: (k) => balanced(k, lambda, { source: generated(images), target: 'data', ...gate(timesteps) }),
  }
}
