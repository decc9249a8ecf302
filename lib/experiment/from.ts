import { z } from 'zod'
import { invalid } from '../errors.js'
import { learnedBeforeSchema, modelShape } from '../learner/schemas.js'
import type { Method } from '../methods/objective.js'

/** The pretrained model that all learners of an experiment begin as: its folder, or an object with the folder and how it is read. */
export const fromSchema = z.union([
  z
    .string()
    .min(1)
    .transform((folder): FromConfig => ({ folder, learnedBefore: 1 })),
  z.strictObject({
    /** Folder of a diffusers model, or of its pipeline. */
    folder: z.string().min(1),
    ...modelShape,
    /**
     * Number of tasks that the model counts as having learned, see `Learner.load`. With 0 the learners only begin with its weights, and task 1
     * has no teacher.
     */
    learnedBefore: learnedBeforeSchema.default(1),
  }),
])

/**
 * A pretrained model as an experiment has it.
 *
 * @category Configuration
 */
export interface FromConfig {
  readonly folder: string
  /** The variant of its weights, e.g. `fp16`. */
  readonly variant?: string | undefined
  /** Side of square images, or height and width, in place of the model's `sample_size`. */
  readonly sampleSize?: number | readonly [height: number, width: number] | undefined
  /** Number of tasks that the model counts as having learned. */
  readonly learnedBefore: number
}

/**
 * Checks that a method can go on from a model of which nothing is known but its weights.
 *
 * @param label of the method, for messages
 * @param needsClassifier whether it needs to know the classes of generated images
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function checkGoesOn(
  { label, method, needsClassifier }: { label: string; method: Method; needsClassifier: boolean },
  learnedBefore: number,
): void {
  if (learnedBefore === 0) return
  const { terms, penalties = [] } = method.objective(1 + learnedBefore)
  const why = terms.some(({ source }) => source.kind === 'memory')
    ? 'it replays real images of earlier tasks, and there are none of what the model of from learned'
    : penalties.length > 0
      ? 'it holds weights by what was consolidated at the end of earlier tasks, and nothing was of what the model of from learned'
      : needsClassifier
        ? 'it draws evenly by class, and no classifier knows the classes of what the model of from learned'
        : undefined
  if (why === undefined) return
  throw invalid(
    `${label} can't go on from a model: ${why}; expected a method that needs the model alone, e.g. generative-distillation, ` +
      'or from.learnedBefore 0, which takes the model for first weights',
  )
}
