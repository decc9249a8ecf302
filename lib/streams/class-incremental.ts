import { z } from 'zod'
import type { TrainTest } from '../data/dataset.js'
import { trainTestSchema } from '../data/schemas.js'
import { ContinualDiffusionError } from '../errors.js'
import { seedSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { allClasses, buildStream, cut, ofClasses } from './build.js'
import type { Stream } from './stream.js'
import { torchRandperm } from './torch-random.js'

/**
 * Options of {@link classIncremental}.
 *
 * @category Streams
 */
export interface ClassIncrementalOptions {
  /** Number of tasks; it must divide the number of classes. */
  tasks: number
  /** Shuffles the classes as `torch.randperm(classes)` after `torch.manual_seed(seed)` does; 0 … 2³² − 1. */
  seed?: number
  /** The class indices in the order that you want, each once. It excludes `seed`. Default without `seed`: 0, 1, 2 … */
  order?: readonly number[]
}

const schema = z.strictObject({
  tasks: z.int().min(1),
  seed: seedSchema.optional(),
  order: z.array(z.int()).optional(),
})

/**
 * Each task brings the same number of new classes. Labels stay indices into all classes of the data set. With ten classes, five tasks and
 * the seeds 42, 69 and 1714 these are the streams of the paper's experiments (arXiv 2311.14028).
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when the tasks don't divide the classes or `order` isn't a
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
  if (names.length % tasks !== 0) {
    throw bad(`tasks is ${tasks}, which doesn't divide the ${names.length} classes of ${train.name}; name a divisor`)
  }
  const order = given ?? (seed === undefined ? allClasses(train) : torchRandperm(names.length, seed))
  if (!isPermutation(order, names.length)) {
    throw bad(`order is ${order.join(' ')}; expected each of 0 … ${names.length - 1} once`)
  }
  for (const dataset of [train, test]) {
    const present = new Set(dataset.labels)
    const empty = order.find((c) => !present.has(c))
    if (empty !== undefined) {
      throw new ContinualDiffusionError(
        'ERR_BAD_DATA',
        `${where}: ${dataset.name} has no images of class ${empty} (${names[empty]}); expected at least one`,
      )
    }
  }
  return buildStream(
    `class-incremental ${train.name.replace(/\/train$/, '')}`,
    cut(order, tasks).map((classes) => ({
      name: classes.map((c) => names[c]).join(', '),
      classes,
      train: ofClasses(train, classes),
      test: ofClasses(test, classes),
    })),
  )
}

/** Whether these are the numbers 0 … n − 1, in any order. */
export function isPermutation(order: readonly number[], n: number): boolean {
  return order.length === n && new Set(order).size === n && order.every((c) => c >= 0 && c < n)
}
