import type { Subset } from '../data/dataset.js'

/**
 * A task of a stream: the classes and images that it brings.
 *
 * @category Streams
 */
export interface Task {
  /** k, counted from 1. */
  readonly number: number
  /** Name for people, e.g. `Pullover, Shirt`. */
  readonly name: string
  /** Class indices that this task brings. */
  readonly classes: readonly number[]
  readonly train: Subset
  readonly test: Subset
  /** The tasks before this one, in order. */
  readonly earlier: readonly Task[]
}

/**
 * The data of a task and of all earlier tasks.
 *
 * @category Streams
 */
export interface Seen {
  /** The tasks, in order. */
  readonly tasks: readonly Task[]
  /** Indices of all classes of these tasks. */
  readonly classes: readonly number[]
  /** The training images, one subset per task, in order. */
  readonly train: readonly Subset[]
  /** The test images, one subset per task, in order. */
  readonly test: readonly Subset[]
}

/**
 * A sequence of tasks. Iterating over it gives the tasks in order.
 *
 * @category Streams
 */
export interface Stream extends Iterable<Task> {
  readonly name: string
  readonly tasks: readonly Task[]
  /** The data of `task` and of every task before it. */
  seen(task: Task): Seen
}
