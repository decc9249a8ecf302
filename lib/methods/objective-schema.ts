import { z } from 'zod'
import { parseOptions } from '../options.js'
import type { Loss, Method, Objective } from './objective.js'

/** Schema of {@link Loss}. */
export const lossSchema = z.union([
  z.enum(['mse', 'smooth-l1']),
  z.strictObject({ kind: z.literal('min-snr'), gamma: z.number().positive() }),
]) satisfies z.ZodType<Loss>

const sourceSchema = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({ kind: z.literal('task') }),
    z.strictObject({ kind: z.literal('memory') }),
    z.strictObject({
      kind: z.literal('teacher'),
      steps: z.int().min(1),
      eta: z.number().min(0).optional(),
      stopAtTimestep: z.boolean().optional(),
    }),
    z.strictObject({ kind: z.literal('gaussian'), symmetric: z.boolean().optional() }),
  ],
  "expected an object whose kind is 'task', 'memory', 'teacher' or 'gaussian'",
)

const termSchema = z.strictObject({
  source: sourceSchema,
  target: z.enum(['noise', 'teacher']),
  weight: z.number().min(0),
  loss: lossSchema.optional(),
  timesteps: z
    .tuple([z.int().min(0), z.int()])
    .readonly()
    .refine(([from, to]) => from < to, 'expected [from, to) with from < to')
    .optional(),
})

const penaltySchema = z.strictObject({ name: z.string().min(1), strength: z.number().min(0) })

const schema = z.strictObject({
  terms: z.array(termSchema).min(1, 'expected at least one term'),
  penalties: z.array(penaltySchema).readonly().optional(),
})

const methodSchema = z.looseObject({
  name: z.string().min(1),
  data: z.enum(['task', 'cumulative']).optional(),
  weights: z.enum(['kept', 'fresh']).optional(),
  objective: z.custom<Method['objective']>((f) => typeof f === 'function', 'expected a function of the task number'),
})

/** Checks that something is a {@link Method}. */
export function checkMethod(method: unknown, where: string): void {
  parseOptions(methodSchema, method, where)
}

/**
 * Checks an objective, which a method of the user's own may have made.
 *
 * @param timesteps T of the schedule that it is for
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` that names every wrong field
 */
export function parseObjective(objective: unknown, timesteps: number, where: string): Objective {
  const checked = schema.superRefine(({ terms }, context) => {
    for (const [i, { source, target, timesteps: range }] of terms.entries()) {
      const refuse = (path: string[], message: string) =>
        context.addIssue({ code: 'custom', path: ['terms', i, ...path], message })
      if (target === 'noise' && (source.kind === 'gaussian' || (source.kind === 'teacher' && source.stopAtTimestep))) {
        refuse(['target'], `expected 'teacher': the term ${source.kind} → noise has no noise to answer`)
      }
      if (source.kind === 'teacher' && source.steps > timesteps) {
        refuse(['source', 'steps'], `expected at most the schedule's ${timesteps} timesteps`)
      }
      if (range !== undefined && range[1] > timesteps) {
        refuse(['timesteps'], `expected at most the schedule's ${timesteps} timesteps for its end`)
      }
    }
  })
  return parseOptions(checked, objective, where)
}
