import { z } from 'zod'
import { parseOptions } from '../validation/options.js'
import type { Method } from './objective.js'
import { balanced, gate, keepsTeacher, lambdaSchema, type TeacherTermOptions, teacherTermShape } from './terms.js'

/**
 * Options of {@link gaussianDistillation} and {@link symmetricGaussianDistillation}.
 *
 * @category Methods
 */
export interface GaussianDistillationOptions extends TeacherTermOptions {
  /** Weight λ of the distillation loss; ≥ 0. Default 8, the paper's code's for CIFAR-10. */
  lambda?: number
}

const schema = z.strictObject({ lambda: lambdaSchema.default(8), ...teacherTermShape }).prefault({})

/**
 * The student learns to answer pure noise z, passed for x_t at any t, as the teacher does:
 * L = (1/k)·‖ε − ε_θ(x_t, t)‖² + (1 − 1/k)·λ·‖ε_teacher(z, t) − ε_θ(z, t)‖², z ~ N(0, I). It generates nothing, so it costs
 * little, and shows the teacher inputs unlike those it was trained on.
 *
 * A baseline of Masip et al. 2024 (arXiv 2311.14028).
 *
 * @category Methods
 */
export function gaussianDistillation(options?: GaussianDistillationOptions): Method {
  const { lambda, teacherDecay, timesteps } = parseOptions(schema, options, 'gaussianDistillation')
  return {
    name: 'gaussian-distillation',
    ...keepsTeacher(teacherDecay),
    objective: (k) => balanced(k, lambda, { source: { kind: 'gaussian' }, target: 'teacher', ...gate(timesteps) }),
  }
}

/**
 * As {@link gaussianDistillation}, with the noise mirrored at the lower noise levels.
 *
 * A variant in the reference experiments of Masip et al. 2024 (arXiv 2311.14028).
 *
 * @category Methods
 */
export function symmetricGaussianDistillation(options?: GaussianDistillationOptions): Method {
  const { lambda, teacherDecay, timesteps } = parseOptions(schema, options, 'symmetricGaussianDistillation')
  return {
    name: 'symmetric-gaussian-distillation',
    ...keepsTeacher(teacherDecay),
    objective: (k) =>
      balanced(k, lambda, { source: { kind: 'gaussian', symmetric: true }, target: 'teacher', ...gate(timesteps) }),
  }
}
