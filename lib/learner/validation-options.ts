import type { Subset } from '../data/dataset.js'

/**
 * How a task is validated while it is learned. Exactly one of `fraction`, `images` and `metric` says by what.
 *
 * @category Learner
 */
export interface ValidationOptions {
  /** Number of steps between two validations, counted from the task's beginning, ≥ 1. One more comes after the last step. */
  readonly every: number
  /**
   * By the denoising loss on this part of the task's training images, 0 < fraction < 1, which is not trained on: drawn at random, as a function of the
   * learner's seed and the task's number. A method that trains on all tasks' images holds out that part of each.
   */
  readonly fraction?: number
  /** By the denoising loss on these images, which are trained on only if the task has them too. */
  readonly images?: Subset | readonly Subset[]
  /** By a number of your own, the lower the better, e.g. a distance that `evaluate` gives. It may use the learner as `callback` may. */
  readonly metric?: () => number | Promise<number>
  /** Number of draws of timestep and noise for each image. They are the same each time. Default 1. */
  readonly samples?: number
  /** Number of images in one forward pass. Default 128. */
  readonly batchSize?: number
  /** Early stopping: the task ends when so many validations in a row were no better than the best before them, ≥ 1. Default: it doesn't. */
  readonly patience?: number
  /** By how much a value must be lower than the best to be better, ≥ 0. Default 0. */
  readonly minDelta?: number
  /** Whether the task ends with the weights, and their moving average, of its best validation. Adam's state is that of the last step. Default false. */
  readonly keepBest?: boolean
}

/**
 * A validation of the task that is learned. The denoising loss is that of `Learner.denoisingLoss` in one band, of the moving average of the weights
 * if there is one. Its draws are a function of the learner's seed, and so the same at every step: values can be compared.
 *
 * @category Learner
 */
export interface Validation {
  /** The step of the task after which it came. */
  readonly step: number
  /** The loss or the metric. */
  readonly value: number
  /** The lowest so far, by more than `minDelta`. */
  readonly best: { readonly step: number; readonly value: number }
}
