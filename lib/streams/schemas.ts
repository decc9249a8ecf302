import { z } from 'zod'
import { subsetSchema } from '../data/schemas.js'
import { isRecord } from '../validation/options.js'
import type { Stream } from './stream.js'

/** Schemas of what functions take of a stream. Tasks are copied, and so are their indices. */

const number = z.int().min(1)
const classes = z.array(z.int().min(0)).readonly().optional()

/** Data in the place of a task. */
function isData(value: unknown): boolean {
  return isRecord(value) && ('images' in value || (isRecord(value.train) && 'images' in value.train))
}

/** What learning takes of a task. */
export const taskSchema = z
  .custom(
    (value) => !isData(value),
    'expected a task: one of the tasks of a stream, e.g. of single(data) or classIncremental(data, { tasks: 5 })',
  )
  .pipe(
    z.looseObject({
      number,
      classes,
      train: subsetSchema,
      earlier: z.array(z.looseObject({ number: number.optional(), classes, train: subsetSchema })),
    }),
  )
  .refine(
    (task) =>
      [...task.earlier, task].every(({ classes, train }) =>
        (classes ?? []).every((c) => c < train.dataset.classes.length),
      ),
    'expected classes that are indices into those of train.dataset, also in earlier',
  )

/** What is learned and tested. */
export const testedTaskSchema = z.looseObject({
  number,
  train: subsetSchema,
  test: subsetSchema,
  earlier: z.array(z.looseObject({ test: subsetSchema })),
})

export type TestedTask = z.output<typeof testedTaskSchema>

/** The stream itself. */
export const streamSchema = z.custom<Stream>(
  (value) => typeof value === 'object' && value !== null && Array.isArray((value as Stream).tasks),
  'expected a stream, e.g. classIncremental(data, { tasks: 5 })',
)
