import type { Subset } from '../data/dataset.js'

/**
 * One element of a stream.
 *
 * @category Streams
 */
export interface Task {
  /** k, counted from 1. */
  readonly number: number
  /** For people: e.g. `Pullover, Shirt`. */
  readonly name: string
  /** Class indices that this task brings. */
  readonly classes: readonly number[]
  readonly train: Subset
  readonly test: Subset
  /** The tasks before this one, in order. */
  readonly earlier: readonly Task[]
}

/**
 * All that the learner has been shown up to and including a task.
 *
 * @category Streams
 */
export interface Seen {
  /** The tasks shown, in order. */
  readonly tasks: readonly Task[]
  readonly classes: readonly number[]
  /** One per task, in order. */
  readonly train: readonly Subset[]
  /** One per task, in order. */
  readonly test: readonly Subset[]
}

/**
 * A sequence of tasks.
 *
 * @category Streams
 */
export interface Stream extends Iterable<Task> {
  readonly name: string
  readonly tasks: readonly Task[]
  /** The data of `task` and of every task before it. */
  seen(task: Task): Seen
}
