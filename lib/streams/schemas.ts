import { z } from 'zod'
import { subsetSchema } from '../data/schemas.js'
import type { Stream } from './stream.js'

/** Schemas of what functions take of a stream. Tasks are copied, and so are their indices. */

const number = z.int().min(1)

/** What learning takes of a task. */
export const taskSchema = z.looseObject({
  number,
  train: subsetSchema,
  earlier: z.array(z.looseObject({ number: number.optional(), train: subsetSchema })),
})

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
