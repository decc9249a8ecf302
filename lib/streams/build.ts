import type { Dataset, Subset, TrainTest } from '../data/dataset.js'
import { ContinualDiffusionError } from '../errors.js'
import { isRecord, shown } from '../validation/options.js'
import type { Seen, Stream, Task } from './stream.js'

/** The name that training and test images have in common, by that of the training images: these end in `/train` and `/test`. */
export function nameOfBoth(train: string): string {
  return train.replace(/\/train$/, '')
}

/** What a kind of stream says of each of its tasks. */
export type TaskContents = Omit<Task, 'number' | 'earlier'>

/**
 * A stream of given tasks, in order.
 *
 * @throws ContinualDiffusionError `ERR_BAD_DATA` when a task has nothing to train or to test on
 */
export function buildStream(name: string, contents: readonly TaskContents[]): Stream {
  const tasks: Task[] = []
  for (const task of contents) {
    for (const part of ['train', 'test'] as const) {
      if (task[part].indices.length === 0) {
        throw new ContinualDiffusionError(
          'ERR_BAD_DATA',
          `${name}: task ${tasks.length + 1} (${task.name}) has no images in ${task[part].dataset.name}; expected at least one`,
        )
      }
    }
    tasks.push({ ...task, number: tasks.length + 1, earlier: [...tasks] })
  }
  return { name, tasks, seen: (task) => seen(name, tasks, task), [Symbol.iterator]: () => tasks[Symbol.iterator]() }
}

function seen(name: string, tasks: readonly Task[], task: Task): Seen {
  if (!tasks.includes(task)) {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      `${name}: ${isRecord(task) ? `task ${shown(task.number)} (${task.name})` : shown(task)} is not a task of this stream; pass one of its own tasks`,
    )
  }
  const upTo = [...task.earlier, task]
  return {
    tasks: upTo,
    classes: [...new Set(upTo.flatMap(({ classes }) => classes))],
    train: upTo.map(({ train }) => train),
    test: upTo.map(({ test }) => test),
  }
}

/**
 * A data set with other numbers for its classes: indices into `classes`.
 *
 * @throws ContinualDiffusionError `ERR_BAD_DATA` for an image of no class, or of one that isn't among them
 */
function relabelled(dataset: Dataset, classes: readonly string[]): Dataset {
  const index = dataset.classes.map((name) => classes.indexOf(name))
  const labels = dataset.labels.map((label) => index[label] ?? -1)
  const wrong = labels.indexOf(-1)
  if (wrong < 0) return { ...dataset, classes, labels }
  const label = dataset.labels[wrong]!
  throw new ContinualDiffusionError(
    'ERR_BAD_DATA',
    `${dataset.name}: image ${wrong} has the label ${label}${label in index ? ` (${dataset.classes[label]})` : ''}; expected the index of one of the ` +
      `classes ${classes.join(', ')}`,
  )
}

/** A task of a whole data set, by its name, whose classes are numbered as in `classes`. */
export function wholeAmong({ train, test }: TrainTest, classes: readonly string[]): TaskContents {
  return {
    name: nameOfBoth(train.name),
    classes: train.classes.map((name) => classes.indexOf(name)),
    train: whole(relabelled(train, classes)),
    test: whole(relabelled(test, classes)),
  }
}

/** All images of a data set. */
export function whole(dataset: Dataset): Subset {
  return { dataset, indices: Int32Array.from(dataset.labels.keys()) }
}

/** Every class of a data set. */
export function allClasses(dataset: Dataset): number[] {
  return [...dataset.classes.keys()]
}

/** Items cut into runs of the given lengths. */
export function cut<T>(items: readonly T[], lengths: readonly number[]): T[][] {
  let start = 0
  return lengths.map((length) => {
    start += length
    return items.slice(start - length, start)
  })
}

/** `count` in `parts` whole numbers that differ by at most one, the larger ones first. */
export function shares(count: number, parts: number): number[] {
  return Array.from({ length: parts }, (_, i) => Math.floor(count / parts) + (i < count % parts ? 1 : 0))
}
