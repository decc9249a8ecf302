import { z } from 'zod'
import type { Dataset } from '../data/dataset.js'

/**
 * The classes of the tasks that a learner has learned: plain data, which its saved folder has too.
 *
 * @category Streams
 */
export interface LearnedClasses {
  /** Names of the classes of all data so far, in the order in which they came. */
  readonly names: readonly string[]
  /** The tasks, by their number, with the classes that each brought, as indices into `names`. One that an older version learned isn't there. */
  readonly tasks: readonly { readonly number: number; readonly classes: readonly number[] }[]
}

/** Schema of {@link LearnedClasses}. */
export const learnedClassesSchema = z
  .strictObject({
    names: z.array(z.string()).readonly(),
    tasks: z.array(z.strictObject({ number: z.int().min(1), classes: z.array(z.int().min(0)).readonly() })).readonly(),
  })
  .refine(
    ({ names, tasks }) => tasks.every(({ classes }) => classes.every((index) => index < names.length)),
    'expected tasks whose classes are indices into names',
  )

/** What was learned before, and a task. A task that is learned again is in the place of what it was. */
export function withTask(
  learned: LearnedClasses,
  task: { number: number; classes: readonly number[]; train: { dataset: Pick<Dataset, 'classes'> } },
): LearnedClasses {
  const { number, train } = task
  const names = [...new Set([...learned.names, ...train.dataset.classes])]
  const classes = task.classes.map((index) => names.indexOf(train.dataset.classes[index]!))
  const others = learned.tasks.filter((other) => other.number !== number)
  return { names, tasks: [...others, { number, classes }].sort((a, b) => a.number - b.number) }
}
