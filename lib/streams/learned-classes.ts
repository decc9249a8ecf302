import { z } from 'zod'
import type { Subset } from '../data/dataset.js'

/**
 * The classes of the tasks that a learner has learned: plain data, which its saved folder has too.
 *
 * @category Streams
 */
export interface LearnedClasses {
  /** Names of the classes of all data so far, in the order in which they came. */
  readonly names: readonly string[]
  /**
   * The tasks, in the order of their numbers, with the classes that each had images of, as indices into `names`. A task that an older version
   * learned isn't there.
   */
  readonly tasks: readonly { readonly number: number; readonly classes: readonly number[] }[]
}

/** Schema of {@link LearnedClasses}. */
export const learnedClassesSchema = z
  .strictObject({
    names: z.array(z.string()).readonly(),
    tasks: z.array(z.strictObject({ number: z.int().min(1), classes: z.array(z.int().min(0)).readonly() })).readonly(),
  })
  .refine(({ names }) => new Set(names).size === names.length, 'expected each name once')
  .refine(
    ({ names, tasks }) => tasks.every(({ classes }) => classes.every((index) => index < names.length)),
    'expected tasks whose classes are indices into names',
  )
  .refine(
    ({ tasks }) => tasks.every(({ number }, i) => i === 0 || number > tasks[i - 1]!.number),
    'expected each task once, in the order of their numbers',
  )

/** The names of the classes that a task has images of; of one whose images are gone, of those that it brought. */
export function classNamesOf({
  classes = [],
  train,
}: {
  classes?: readonly number[] | undefined
  train: Subset
}): string[] {
  const { dataset, indices } = train
  const labels = new Set<number>(indices.length === 0 ? classes : undefined)
  // An index, no iterator: there may be 100,000 images, and nothing else runs meanwhile.
  for (let i = 0; i < indices.length; i++) labels.add(dataset.labels[indices[i]!]!)
  return [...labels].sort((a, b) => a - b).map((label) => dataset.classes[label]!)
}

/** What was learned before, and a task. A task that is learned again is in the place of what it was. */
export function withTask(
  learned: LearnedClasses,
  task: { number: number; classes?: readonly number[] | undefined; train: Subset },
): LearnedClasses {
  const { number, train } = task
  const names = [...new Set([...learned.names, ...train.dataset.classes])]
  const classes = classNamesOf(task).map((name) => names.indexOf(name))
  const others = learned.tasks.filter((other) => other.number !== number)
  return { names, tasks: [...others, { number, classes }].sort((a, b) => a.number - b.number) }
}
