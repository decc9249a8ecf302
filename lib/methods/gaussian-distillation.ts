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
  /** Weight λ of the distillation loss; ≥ 0. Default 8, the value in the paper's code for CIFAR-10. */
  lambda?: number
}

const schema = z.strictObject({ lambda: lambdaSchema.default(8), ...teacherTermShape }).prefault({})

/**
 * The student learns the teacher's prediction for pure noise z, which is used as x_t at every t:
 * L = (1/k)·‖ε − ε_θ(x_t, t)‖² + (1 − 1/k)·λ·‖ε_teacher(z, t) − ε_θ(z, t)‖², z ~ N(0, I). It generates no images, so it costs little.
 * At small t the noise z is unlike the inputs that the teacher was trained on.
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
 * {@link gaussianDistillation} with noise that is mirrored at the lower noise levels: for t ≤ T/3 both top to bottom and left to right; for
 * T/3 < t ≤ 2T/3 top to bottom in half of these images and left to right in the others.
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
