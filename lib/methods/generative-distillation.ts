import { z } from 'zod'
import { parseOptions } from '../options.js'
import type { Method } from './objective.js'
import {
  balanced,
  gate,
  keepsTeacher,
  lambdaSchema,
  type TeacherOptions,
  type TeacherTermOptions,
  teacherSchema,
  teacherTermShape,
} from './terms.js'

/** Options of {@link generativeDistillation}. */
export interface GenerativeDistillationOptions extends TeacherTermOptions {
  /** Weight λ of the distillation loss; ≥ 0. Default 0.75. */
  lambda?: number
  /** How the teacher generates. */
  teacher?: TeacherOptions
}

const schema = z
  .strictObject({ lambda: lambdaSchema.default(0.75), teacher: teacherSchema, ...teacherTermShape })
  .prefault({})

/**
 * The teacher, frozen when the last task ended, generates images x̂ of the earlier tasks, and the student learns to answer
 * them, noised to any t, as the teacher itself does: L = (1/k)·‖ε − ε_θ(x_t, t)‖² + (1 − 1/k)·λ·‖ε_teacher(x̂_t, t) − ε_θ(x̂_t, t)‖².
 * So the whole of the reverse process is handed on, and not only its results.
 *
 * Masip, Rodriguez, Tuytelaars and van de Ven 2024 (arXiv 2311.14028).
 */
export function generativeDistillation(options?: GenerativeDistillationOptions): Method {
  const { lambda, teacher, teacherDecay, timesteps } = parseOptions(schema, options, 'generativeDistillation')
  return {
    name: 'generative-distillation',
    ...keepsTeacher(teacherDecay),
    objective: (k) =>
      balanced(k, lambda, { source: { kind: 'teacher', ...teacher }, target: 'teacher', ...gate(timesteps) }),
  }
}
