import { z } from 'zod'
import { parseOptions } from '../validation/options.js'
import type { Method } from './objective.js'
import { balanced, gate, keepsTeacher, lambdaSchema, type TeacherTermOptions, teacherTermShape } from './terms.js'

/**
 * Options of {@link lwfDistillation}.
 *
 * @category Methods
 */
export interface LwfDistillationOptions extends TeacherTermOptions {
  /** Weight λ of the distillation loss; ≥ 0. Default 1.25, the value in the paper's code for CIFAR-10. */
  lambda?: number
}

const schema = z.strictObject({ lambda: lambdaSchema.default(1.25), ...teacherTermShape }).prefault({})

/**
 * Learning without forgetting: the student learns the new task's images and, for the same noisy images, the teacher's prediction:
 * L = (1/k)·‖ε − ε_θ(x_t, t)‖² + (1 − 1/k)·λ·‖ε_teacher(x_t, t) − ε_θ(x_t, t)‖².
 * With `timesteps` the second term draws noisy images of its own, because its range of timesteps differs.
 *
 * Li and Hoiem 2016 (arXiv 1606.09282); with diffusion models, a baseline of Masip et al. 2024 (arXiv 2311.14028).
 *
 * @category Methods
 */
export function lwfDistillation(options?: LwfDistillationOptions): Method {
  const { lambda, teacherDecay, timesteps } = parseOptions(schema, options, 'lwfDistillation')
  return {
    name: 'lwf-distillation',
    ...keepsTeacher(teacherDecay),
    objective: (k) => balanced(k, lambda, { source: { kind: 'task' }, target: 'teacher', ...gate(timesteps) }),
  }
}
