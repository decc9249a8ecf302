import { z } from 'zod'
import { drawnTimestepsSchema, type Timesteps } from '../config/timesteps.js'
import { parseOptions } from '../validation/options.js'
import type { Loss, Method, ReplayPool, Source } from './objective.js'
import { lossSchema } from './objective-schema.js'
import { gate, generated, generationShape, type TeacherOptions, taskNumber, taskTerm } from './terms.js'

/**
 * Options of {@link teacherToStudent}.
 *
 * @category Methods
 */
export interface TeacherToStudentOptions {
  /** How the teacher generates; unused by the Gaussian inputs. */
  teacher?: TeacherOptions
  /** A pool of images that steps draw from; unused by the Gaussian inputs. Default: none, the teacher generates images anew for every step. */
  pool?: ReplayPool
  /**
   * The student's inputs x̂_t. `generation` (default): as in {@link generativeDistillation}; `partial-generation`: as in
   * {@link partialGenerationDistillation}; `gaussian` and `symmetric-gaussian`: as in {@link gaussianDistillation} and
   * {@link symmetricGaussianDistillation}.
   */
  input?: 'generation' | 'partial-generation' | 'gaussian' | 'symmetric-gaussian'
  /**
   * What the student learns to predict. `teacher` (default): the teacher's prediction. `data`: what it would learn from real images, e.g.
   * the noise that was added; the teacher's images are then training data like any other, for comparison. `data` needs
   * `input: 'generation'`.
   */
  target?: 'teacher' | 'data'
  /** How the predictions are compared. Default `mse`. */
  loss?: Loss
  /** Where the timesteps are drawn. Default: `LearnOptions.timesteps`. */
  timesteps?: Timesteps
}

const schema = z
  .strictObject({
    ...generationShape,
    input: z.enum(['generation', 'partial-generation', 'gaussian', 'symmetric-gaussian']).default('generation'),
    target: z.enum(['teacher', 'data']).default('teacher'),
    loss: lossSchema.default('mse'),
    timesteps: drawnTimestepsSchema.optional(),
  })
  .refine(({ input, target }) => target === 'teacher' || input === 'generation', {
    error: "expected 'generation', as target 'data' needs clean images, which the other inputs don't have",
    path: ['input'],
  })
  .prefault({})

/**
 * A student with fresh weights learns from the teacher alone, without any data: L = ‖ε_teacher(x̂_t, t) − ε_θ(x̂_t, t)‖². The first task
 * trains as usual, and its network becomes the teacher. In every later task a new student learns from the network of the task before, and
 * the task's images are not used. So give it a stream whose first task has all classes, e.g. `dataIncremental` in two tasks.
 *
 * This is the data-free transfer experiment of Masip et al. 2024 (arXiv 2311.14028), with its four inputs and three losses. With
 * `target: 'data'` it is their baseline without distillation. Their score is {@link frechetArea}.
 *
 * @category Methods
 */
export function teacherToStudent(options?: TeacherToStudentOptions): Method {
  const { input, target, loss, timesteps, ...images } = parseOptions(schema, options, 'teacherToStudent')
  const sources: Record<typeof input, Source> = {
    generation: generated(images),
    'partial-generation': generated(images, { stopAtTimestep: true }),
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
