import { parseOptions } from '../validation/options.js'
import type { Method } from './objective.js'
import { balanced, gate, generated, keepsTeacher, type TeacherMethodOptions, teacherMethodSchema } from './terms.js'

const schema = teacherMethodSchema(0.75)

/**
 * The teacher, a copy of the network that was frozen when the last task ended, generates images x̂ of the earlier tasks. Noise is added to
 * them up to any t, and the student learns the teacher's prediction for them:
 * L = (1/k)·‖ε − ε_θ(x_t, t)‖² + (1 − 1/k)·λ·‖ε_teacher(x̂_t, t) − ε_θ(x̂_t, t)‖².
 * So the student learns the teacher's whole reverse process, and not only the images at its end.
 *
 * Masip, Rodriguez, Tuytelaars and van de Ven 2024 (arXiv 2311.14028).
 *
 * @param options.lambda default 0.75
 *
 * @category Methods
 */
export function generativeDistillation(options?: TeacherMethodOptions): Method {
  const { lambda, teacherDecay, timesteps, ...images } = parseOptions(schema, options, 'generativeDistillation')
  return {
    name: 'generative-distillation',
    ...keepsTeacher(teacherDecay),
    objective: (k) => balanced(k, lambda, { source: generated(images), target: 'teacher', ...gate(timesteps) }),
  }
}
