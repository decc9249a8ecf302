import { z } from 'zod'
import { teacherSamplerSchema } from '../config/sampler.js'
import { timestepsSchema } from '../config/schedule.js'
import { drawnTimestepsSchema, rangeOf } from '../config/timesteps.js'
import { invalid } from '../errors.js'
import { functionSchema } from '../validation/fields.js'
import { defined, parseOptions, shown } from '../validation/options.js'
import type { Keeps, Loss, Method, ReplayPool, ResolvedObjective } from './objective.js'

/** Schema of {@link Loss}. */
export const lossSchema = z.union([
  z.enum(['mse', 'smooth-l1']),
  z.strictObject({ kind: z.literal('min-snr'), gamma: z.number().positive() }),
  z.strictObject({ kind: z.literal('huber'), delta: z.number().positive() }),
]) satisfies z.ZodType<Loss>

const poolFields = z.strictObject({
  images: z.int().min(1).optional(),
  reuse: z.number().positive().optional(),
  refresh: z.int().min(1).optional(),
  classes: z.enum(['as-generated', 'even']).optional(),
  keep: z.boolean().optional(),
})

/** What a pool's fields must be together. */
const asPool = (fields: z.ZodType<z.output<typeof poolFields>, z.input<typeof poolFields>>) =>
  fields
    .refine(
      ({ images, reuse }) => (images === undefined) !== (reuse === undefined),
      'expected exactly one of images and reuse',
    )
    .refine(({ classes, keep }) => !keep || classes === 'even', "expected classes: 'even' where keep is true")
    .refine(
      ({ refresh, keep }) => !keep || refresh === undefined,
      'expected no refresh where keep is true: what is kept is not generated anew',
    )
    .transform((pool) => pool as ReplayPool)

/** Schema of {@link ReplayPool}. */
export const poolSchema = asPool(poolFields)

/** The same for a method that has a pool: fields that are left out keep the method's defaults. */
export const poolSchemaWith = ({ reuse, ...others }: { reuse: number } & Partial<ReplayPool>) =>
  asPool(
    poolFields.transform((given) => ({ ...others, ...(given.images === undefined && { reuse }), ...defined(given) })),
  ).prefault({})

const sourceSchema = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({ kind: z.literal('task') }),
    z.strictObject({ kind: z.literal('memory') }),
    z.strictObject({
      kind: z.literal('teacher'),
      sampler: teacherSamplerSchema,
      stopAtTimestep: z.boolean().optional(),
      pool: poolSchema.optional(),
      labels: z.null().optional(),
    }),
    z.strictObject({ kind: z.literal('gaussian'), symmetric: z.boolean().optional() }),
  ],
  "expected an object whose kind is 'task', 'memory', 'teacher' or 'gaussian'",
)

/** Schema of a {@link Term}. */
export const termSchema = z.strictObject({
  source: sourceSchema,
  target: z.enum(['data', 'teacher']),
  weight: z.number().min(0),
  loss: lossSchema.optional(),
  timesteps: drawnTimestepsSchema.optional(),
})

const penaltySchema = z.strictObject({ name: z.string().min(1), strength: z.number().min(0) })

const schema = z.strictObject({
  terms: z.array(termSchema).min(1, 'expected at least one term'),
  penalties: z.array(penaltySchema).readonly().optional(),
})

const fisher = {
  penalty: z.string().min(1),
  samples: z.int().min(1),
  timesteps: timestepsSchema.optional(),
}
const decay = z.number().min(0).max(1)

const consolidationSchema = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({ kind: z.literal('squared-gradients'), ...fisher, decay: decay.optional() }),
    z.strictObject({ kind: z.literal('mean-gradient'), ...fisher, optimal: z.boolean() }),
    z.strictObject({
      kind: z.literal('path-integral'),
      penalty: z.string().min(1),
      damping: z.number().positive(),
      decay: decay.optional(),
    }),
  ],
  "expected an object whose kind is 'squared-gradients', 'mean-gradient' or 'path-integral'",
)

/** Schema of what of Adam's state a task begins with. */
export const optimizerStateSchema = z.enum(['reset', 'keep'])

/** Fields of a schema for {@link MemoryOptions}. */
export const memoryShape = {
  size: z.int().min(1),
  policy: z.enum(['reservoir', 'class-balanced', 'task-balanced']),
}

// Used when a task ends, hours after it began, and saved with a task in progress: what is wrong is to be known before.
const keepsSchema = z.strictObject({
  consolidations: z.array(consolidationSchema).readonly().optional(),
  memory: z.strictObject(memoryShape).optional(),
  teacherDecay: decay.optional(),
}) satisfies z.ZodType<Keeps>

const methodSchema = z.strictObject({
  name: z.string().min(1),
  data: z.enum(['task', 'cumulative']).optional(),
  epochOf: z.enum(['data', 'task']).optional(),
  weights: z.enum(['kept', 'fresh']).optional(),
  optimizer: optimizerStateSchema.optional(),
  keeps: keepsSchema.optional(),
  objective: functionSchema<Method['objective']>('a function of the task number'),
})

/** Checks that something is a {@link Method}, and gives a copy of all but its function. */
export function checkMethod(method: unknown, where: string): z.output<typeof methodSchema> {
  if (typeof method === 'function') {
    const name = method.name || 'method'
    throw invalid(`${where} is the function ${name}; expected the method that it makes: call it, ${name}()`)
  }
  if (typeof method === 'string') {
    throw invalid(
      `${where} is ${shown(method)}; expected a method, which a function makes, e.g. generativeDistillation(); names are for experiments`,
    )
  }
  return parseOptions(methodSchema, method, where)
}

/**
 * A method's objective for a task, checked.
 *
 * @param timesteps T of the schedule that it is for
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` that names every wrong field, or what the method's own function threw
 */
export function objectiveOf(method: Method, task: number, timesteps: number, where: string): ResolvedObjective {
  const what = `${where}: objective(${task})`
  let objective: unknown
  try {
    objective = method.objective(task)
  } catch (cause) {
    throw invalid(
      `${what} of the method ${method.name} threw: ${cause instanceof Error ? cause.message : shown(cause)}`,
      cause,
    )
  }
  return parseObjective(objective, timesteps, what)
}

/**
 * Checks an objective, which a method of the user's own may have made.
 *
 * @param timesteps T of the schedule that it is for
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` that names every wrong field
 */
export function parseObjective(objective: unknown, timesteps: number, where: string): ResolvedObjective {
  const checked = schema.superRefine(({ terms }, context) => {
    for (const [i, { source, target, timesteps: drawn }] of terms.entries()) {
      const refuse = (path: string[], message: string) =>
        context.addIssue({ code: 'custom', path: ['terms', i, ...path], message })
      if (target === 'data' && (source.kind === 'gaussian' || (source.kind === 'teacher' && source.stopAtTimestep))) {
        refuse(
          ['target'],
          `expected 'teacher': the source ${source.kind} has no clean image that the target could be made of`,
        )
      }
      if (source.kind === 'teacher' && source.labels === null && source.pool === undefined) {
        refuse(
          ['source', 'labels'],
          'expected none: only images of a pool can be told the null label; give the source a pool',
        )
      }
      if (source.kind === 'teacher' && source.sampler.steps > timesteps) {
        refuse(['source', 'sampler', 'steps'], `expected at most the schedule's ${timesteps} timesteps`)
      }
      const end = source.kind === 'teacher' ? (source.sampler.guidance?.timesteps?.[1] ?? 0) : 0
      if (end > timesteps) {
        refuse(
          ['source', 'sampler', 'guidance', 'timesteps'],
          `expected at most the schedule's ${timesteps} timesteps for its end`,
        )
      }
      if ((rangeOf(drawn)?.[1] ?? 0) > timesteps) {
        refuse(['timesteps'], `expected at most the schedule's ${timesteps} timesteps for its end`)
      }
    }
  })
  return parseOptions(checked, objective, where)
}
