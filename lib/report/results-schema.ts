import path from 'node:path'
import { z } from 'zod'
import type { MethodRun, Results, Versions } from './results.js'

/** A path in a run folder, relative to it. A run may come from somebody else, and a report shows what its paths lead to. */
export const withinSchema = z
  .string()
  .refine(
    (file) => !path.isAbsolute(file) && path.normalize(file).split(path.sep)[0] !== '..',
    'expected a path that stays in the run folder',
  )

/** JSON has no word for a number that isn't finite, and `JSON.stringify` writes null. */
const measured = z
  .number()
  .nullable()
  .transform((value) => value ?? Number.NaN)

const share = z.number().min(0).max(1)
const count = z.int().min(0)
const counts = { real: count, generated: count }
const explained = {
  ...counts,
  interval: z.tuple([z.number(), z.number()]).optional(),
  note: z.string().optional(),
  reference: z.number().optional(),
  detail: z.record(z.string(), z.array(measured)).optional(),
}

const valuesSchema = z.record(z.string(), z.object({ ...explained, value: z.number().nullable() }))

const taskSchema = z.object({
  task: z.int().min(1),
  name: z.string(),
  classes: z.array(count),
  steps: count,
  seconds: z.object({ learn: z.number(), evaluate: z.number() }),
  loss: measured,
  teacherCalls: z.number(),
  metrics: valuesSchema,
  alone: z
    .array(
      z.object({
        ...counts,
        task: z.int().min(1),
        values: valuesSchema,
      }),
    )
    .optional(),
  denoising: z.array(z.object({ from: count, to: count, loss: measured, images: count, draws: count })).optional(),
  solver: z.array(share).optional(),
  samples: withinSchema,
  rows: z.array(z.string()).optional(),
  realSamples: withinSchema,
  learner: withinSchema.optional(),
  sharedFrom: z.string().optional(),
})

/** Tables and charts look tasks up by their numbers, and what grows by a row with each task by its place. */
const tasksSchema = z.array(taskSchema).superRefine((tasks, context) => {
  for (const [i, { task, alone, solver }] of tasks.entries()) {
    const refuse = (key: string, message: string) => context.addIssue({ code: 'custom', path: [i, key], message })
    if (task !== i + 1) refuse('task', `expected ${i + 1}, its place among the tasks`)
    const rows = { alone, solver }
    for (const [key, row] of Object.entries(rows)) {
      if (row && row.length !== i + 1) refuse(key, `expected ${i + 1} elements, one for each task so far`)
    }
  }
})

/** Schema of what methods have found, in results and in checkpoints. */
export const runsSchema: z.ZodType<readonly MethodRun[]> = z.array(
  z.object({ method: z.string(), seed: z.int(), tasks: tasksSchema }),
)

export const versionsSchema: z.ZodType<Versions> = z.object({
  package: z.string(),
  libtorch: z.string(),
  cuda: z.string().nullable(),
  node: z.string(),
  platform: z.string(),
  cpu: z.string(),
})

/** Schema of a run's `results.json`; what a newer version has added is left out. */
export const resultsSchema: z.ZodType<Results> = z.object({
  title: z.string(),
  complete: z.boolean(),
  versions: versionsSchema,
  classes: z.array(z.string()),
  parameters: count,
  device: z.string(),
  precision: z.string(),
  classifier: z.object({ name: z.string(), features: count, accuracy: share }),
  inputs: z.record(z.string(), z.string()).optional(),
  shareFirstTask: z.boolean(),
  metrics: z.record(z.string(), z.object({ title: z.string(), better: z.enum(['lower', 'higher']) })),
  methods: z.array(z.object({ label: z.string(), about: z.string() })),
  runs: runsSchema,
})

/** What tables read of results, which may be joined ones. */
export const tableSchema = z.looseObject({
  metrics: z.record(z.string(), z.looseObject({ title: z.string() })),
  methods: z.array(z.looseObject({ label: z.string() })),
  runs: z.array(z.looseObject({ method: z.string(), tasks: z.array(z.looseObject({})) })),
})
