import { z } from 'zod'
import { positionsByClass, type Subset, type TrainTest } from '../data/dataset.js'
import { trainTestSchema } from '../data/schemas.js'
import { torchRandperm } from '../data/torch-random.js'
import { ContinualDiffusionError } from '../errors.js'
import { seedSchema } from '../validation/fields.js'
import { parseOptions, shown } from '../validation/options.js'
import { allClasses, buildStream, cut, nameOfBoth } from './build.js'
import type { Stream } from './stream.js'

/**
 * Options of {@link classIncremental}.
 *
 * @category Streams
 */
export interface ClassIncrementalOptions {
  /**
   * Number of tasks, which divides the number of classes; or how many classes each task brings, all classes in all: `[3, 2, 2]`, or
   * `[5, 1, 1]` for a large first task.
   */
  tasks: number | readonly number[]
  /** Shuffles the classes as `torch.randperm(classes)` after `torch.manual_seed(seed)` does; 0 … 2³² − 1. */
  seed?: number
  /** The class indices in the order that you want, each once. It excludes `seed`. Default without `seed`: 0, 1, 2 … */
  order?: readonly number[]
}

/** Some classes' images, in the data set's order. */
type OfClasses = (classes: readonly number[]) => Subset

const count = z.int().min(1)

/** Schema of `tasks`; whether they fit the classes {@link classesOfTasks} says. */
export const tasksSchema = z.union([count, z.array(count).min(1)])

const schema = z.strictObject({
  tasks: tasksSchema,
  seed: seedSchema.optional(),
  order: z.array(z.int()).optional(),
})

/**
 * Each task brings new classes, the same number each or as many as `tasks` says. Labels stay indices into all classes of the data set. With ten classes, five tasks and
 * the seeds 42, 69 and 1714 these are the streams of the paper's experiments (arXiv 2311.14028).
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when `tasks` doesn't fit the classes or `order` isn't a
 *   permutation of them; `ERR_BAD_DATA` when a class has no images
 *
 * @category Streams
 */
export function classIncremental(data: TrainTest, options: ClassIncrementalOptions): Stream {
  const where = 'classIncremental'
  const { tasks, seed, order: given } = parseOptions(schema, options, where)
  const { train, test } = parseOptions(trainTestSchema, data, `${where}: data`)
  const names = train.classes
  const bad = (what: string) => new ContinualDiffusionError('ERR_INVALID_ARGUMENT', `${where}: ${what}`)

  if (seed !== undefined && given !== undefined) throw bad('both seed and order are given; give one of the two')
  const counts = classesOfTasks(tasks, names.length)
  if (counts === undefined) throw bad(`tasks is ${shown(tasks)}; ${tasksExpected(names.length, train.name, tasks)}`)
  const order = given ?? (seed === undefined ? allClasses(train) : torchRandperm(names.length, seed))
  if (!isPermutation(order, names.length)) {
    throw bad(`order is ${order.join(' ')}; expected each of 0 … ${names.length - 1} once`)
  }
  const [ofTrain, ofTest] = [train, test].map((dataset) => {
    const positions = positionsByClass(dataset)
    const empty = order.find((c) => positions[c]!.length === 0)
    if (empty !== undefined) {
      throw new ContinualDiffusionError(
        'ERR_BAD_DATA',
        `${where}: ${dataset.name} has no images of class ${empty} (${names[empty]}); expected at least one`,
      )
    }
    return (classes: readonly number[]): Subset => ({
      dataset,
      indices: Int32Array.from(classes.flatMap((c) => positions[c]!)).sort(),
    })
  }) as [OfClasses, OfClasses]
  return buildStream(
    `class-incremental ${nameOfBoth(train.name)}`,
    cut(order, counts).map((classes) => ({
      name: classes.map((c) => names[c]).join(', '),
      classes,
      train: ofTrain(classes),
      test: ofTest(classes),
    })),
  )
}

/** How many classes each task brings; undefined where that isn't all of them. */
export function classesOfTasks(tasks: number | readonly number[], classes: number): readonly number[] | undefined {
  if (typeof tasks === 'number') return classes % tasks === 0 ? Array(tasks).fill(classes / tasks) : undefined
  return tasks.reduce((a, b) => a + b, 0) === classes ? tasks : undefined
}

/** What is to be said where {@link classesOfTasks} gives nothing. */
export function tasksExpected(classes: number, data: string, tasks: number | readonly number[]): string {
  const count = Math.min(classes, typeof tasks === 'number' ? tasks : tasks.length)
  const example = Array.from({ length: count }, (_, i) => Math.ceil((classes - i) / count))
  return (
    `expected a divisor of ${classes}, the number of classes of ${nameOfBoth(data)}, or how many classes each task brings, ${classes} in all, ` +
    `such as ${example.join(' ')}`
  )
}

/** Whether these are the numbers 0 … n − 1, in any order. */
export function isPermutation(order: readonly number[], n: number): boolean {
  return order.length === n && new Set(order).size === n && order.every((c) => c >= 0 && c < n)
}
