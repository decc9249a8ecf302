import { z } from 'zod'
import { teacherSamplerSchema } from '../config/sampler.js'
import { parseOptions } from '../validation/options.js'
import type { Loss, Method, Source } from './objective.js'
import { lossSchema, timestepsSchema } from './objective-schema.js'
import { gate, type TeacherOptions, taskNumber, taskTerm } from './terms.js'

/**
 * Options of {@link teacherToStudent}.
 *
 * @category Methods
 */
export interface TeacherToStudentOptions {
  /** How the teacher generates; unused by the Gaussian inputs. */
  teacher?: TeacherOptions
  /** What the student is shown: see the methods of the same names. Default `generation`. */
  input?: 'generation' | 'partial-generation' | 'gaussian' | 'symmetric-gaussian'
  /**
   * What it learns to predict: what the `teacher` predicts (default), or, as from `data`, the noise that was added, for which `input`
   * must be `generation`: the teacher's images are then training data like any other, for comparison.
   */
  target?: 'teacher' | 'data'
  /** How the predictions are compared. Default `mse`. */
  loss?: Loss
  /** Timesteps are drawn from [from, to) alone, 0 ≤ from < to ≤ T. Default: all. */
  timesteps?: readonly [from: number, to: number]
}

const schema = z
  .strictObject({
    teacher: teacherSamplerSchema,
    input: z.enum(['generation', 'partial-generation', 'gaussian', 'symmetric-gaussian']).default('generation'),
    target: z.enum(['teacher', 'data']).default('teacher'),
    loss: lossSchema.default('mse'),
    timesteps: timestepsSchema.optional(),
  })
  .refine(({ input, target }) => target === 'teacher' || input === 'generation', {
    error: "expected 'generation': only generated images have noise added, which could be predicted",
    path: ['input'],
  })
  .prefault({})

/**
 * A student of fresh weights learns from the teacher alone, without any data: L = ‖ε_teacher(x̂_t, t) − ε_θ(x̂_t, t)‖². The
 * first task trains as usual, which makes the teacher; each task after it makes a student of the last one's, and its images are
 * not looked at. So give it a stream whose first task has all classes, e.g. `dataIncremental` in two tasks.
 *
 * The data-free transfer experiment of Masip et al. 2024 (arXiv 2311.14028), with its four inputs, its three losses and, by
 * the target `data`, its baseline without distillation. {@link frechetArea} is its score.
 *
 * @category Methods
 */
export function teacherToStudent(options?: TeacherToStudentOptions): Method {
  const { teacher, input, target, loss, timesteps } = parseOptions(schema, options, 'teacherToStudent')
  const sources: Record<typeof input, Source> = {
    generation: { kind: 'teacher', sampler: teacher },
    'partial-generation': { kind: 'teacher', sampler: teacher, stopAtTimestep: true },
    gaussian: { kind: 'gaussian' },
    'symmetric-gaussian': { kind: 'gaussian', symmetric: true },
  }
  return {
    name: 'teacher-to-student',
    weights: 'fresh',
    objective: (k) => ({
      terms:
        taskNumber(k) === 1 ? [taskTerm] : [{ source: sources[input], target, weight: 1, loss, ...gate(timesteps) }],
    }),
  }
}
