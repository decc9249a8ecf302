import { z } from 'zod'
import { parseOptions } from '../options.js'
import type { Loss, Method, Source } from './objective.js'
import { lossSchema } from './objective-schema.js'
import {
  gate,
  keepsTeacher,
  type TeacherOptions,
  type TeacherTermOptions,
  taskNumber,
  taskTerm,
  teacherSchema,
  teacherTermShape,
} from './terms.js'

/** Options of {@link teacherToStudent}. */
export interface TeacherToStudentOptions extends TeacherTermOptions {
  /** How the teacher generates; unused by the Gaussian inputs. */
  teacher?: TeacherOptions
  /** What both are shown: see the methods of the same names. Default `generation`. */
  input?: 'generation' | 'partial-generation' | 'gaussian' | 'symmetric-gaussian'
  /** How the answers are compared. Default `mse`. */
  loss?: Loss
}

const schema = z
  .strictObject({
    teacher: teacherSchema,
    input: z.enum(['generation', 'partial-generation', 'gaussian', 'symmetric-gaussian']).default('generation'),
    loss: lossSchema.default('mse'),
    ...teacherTermShape,
  })
  .prefault({})

/**
 * From the second task on the student learns from the teacher alone, without data:
 * L = ‖ε_teacher(x̂_t, t) − ε_θ(x̂_t, t)‖². The first task trains as usual, which makes the teacher.
 *
 * The data-free transfer experiment of Masip et al. 2024 (arXiv 2311.14028).
 */
export function teacherToStudent(options?: TeacherToStudentOptions): Method {
  const { teacher, input, loss, teacherDecay, timesteps } = parseOptions(schema, options, 'teacherToStudent')
  const sources: Record<typeof input, Source> = {
    generation: { kind: 'teacher', ...teacher },
    'partial-generation': { kind: 'teacher', ...teacher, stopAtTimestep: true },
    gaussian: { kind: 'gaussian' },
    'symmetric-gaussian': { kind: 'gaussian', symmetric: true },
  }
  return {
    name: 'teacher-to-student',
    ...keepsTeacher(teacherDecay),
    objective: (k) => ({
      terms:
        taskNumber(k) === 1
          ? [taskTerm]
          : [{ source: sources[input], target: 'teacher', weight: 1, loss, ...gate(timesteps) }],
    }),
  }
}
