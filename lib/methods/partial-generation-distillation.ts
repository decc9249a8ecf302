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

/** Options of {@link partialGenerationDistillation}. */
export interface PartialGenerationDistillationOptions extends TeacherTermOptions {
  /** Weight λ of the distillation loss; ≥ 0. Default 0.75. */
  lambda?: number
  /** How the teacher generates. */
  teacher?: TeacherOptions
}

const schema = z
  .strictObject({ lambda: lambdaSchema.default(0.75), teacher: teacherSchema, ...teacherTermShape })
  .prefault({})

/**
 * As generative distillation, but the teacher stops generating each image at its drawn timestep t, and that x̂_t is what both
 * answer: L = (1/k)·‖ε − ε_θ(x_t, t)‖² + (1 − 1/k)·λ·‖ε_teacher(x̂_t, t) − ε_θ(x̂_t, t)‖². The teacher's steps are spread over
 * [t, T].
 *
 * A variant in the reference experiments of Masip et al. 2024 (arXiv 2311.14028).
 */
export function partialGenerationDistillation(options?: PartialGenerationDistillationOptions): Method {
  const { lambda, teacher, teacherDecay, timesteps } = parseOptions(schema, options, 'partialGenerationDistillation')
  return {
    name: 'partial-generation-distillation',
    ...keepsTeacher(teacherDecay),
    objective: (k) =>
      balanced(k, lambda, {
        source: { kind: 'teacher', ...teacher, stopAtTimestep: true },
        target: 'teacher',
        ...gate(timesteps),
      }),
  }
}
