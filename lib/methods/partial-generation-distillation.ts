import { parseOptions } from '../validation/options.js'
import type { Method } from './objective.js'
import { balanced, gate, generated, keepsTeacher, type TeacherMethodOptions, teacherMethodSchema } from './terms.js'

const schema = teacherMethodSchema(0.75)

/**
 * {@link generativeDistillation}, except that the teacher stops generating each image at that image's drawn timestep t. The noisy image x̂_t
 * that it has reached is the input of both student and teacher:
 * L = (1/k)·‖ε − ε_θ(x_t, t)‖² + (1 − 1/k)·λ·‖ε_teacher(x̂_t, t) − ε_θ(x̂_t, t)‖². The teacher's steps are spread over [t, T].
 *
 * A variant in the reference experiments of Masip et al. 2024 (arXiv 2311.14028).
 *
 * @param options.lambda default 0.75
 *
 * @category Methods
 */
export function partialGenerationDistillation(options?: TeacherMethodOptions): Method {
  const { lambda, teacherDecay, timesteps, ...images } = parseOptions(schema, options, 'partialGenerationDistillation')
  return {
    name: 'partial-generation-distillation',
    ...keepsTeacher(teacherDecay),
    objective: (k) =>
      balanced(k, lambda, {
        source: generated(images, { stopAtTimestep: true }),
        target: 'teacher',
        ...gate(timesteps),
      }),
  }
}
