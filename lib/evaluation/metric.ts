import { copyOf, type ImageBatch } from '../data/dataset.js'
import type { Bootstrap } from '../engine/state.js'
import type { RealImages } from './real-images.js'

/**
 * Numbers of images that a value was computed from.
 *
 * @category Evaluation
 */
export interface Counts {
  readonly real: number
  readonly generated: number
}

/**
 * A metric's value, with the numbers of images that it was computed from.
 *
 * @category Evaluation
 */
export interface MetricValue extends Counts {
  /** Lower is better, unless the metric has `higherIsBetter`. */
  readonly value: number
  /**
   * With `bootstrap`, where it can be had at little cost: the 95 % confidence interval, which says how much the value changes with the images that
   * happened to be generated, and nothing about another training run. See docs/evaluation.md.
   */
  readonly interval?: readonly [low: number, high: number]
  /** A warning about the value in plain words, e.g. that a covariance is rank-deficient. */
  readonly note?: string
  /**
   * In the results of an experiment, for the Fréchet distance: that of as many real training images, where there are so many, to the same
   * test images.
   */
  readonly reference?: number | undefined
  /** Numbers behind the value, e.g. class frequencies. */
  readonly detail?: Readonly<Record<string, readonly number[]>>
}

/**
 * One computation of a metric. Real and generated images are added in batches, in any order.
 *
 * @category Evaluation
 */
export interface MetricRun {
  /**
   * Adds a batch of images.
   *
   * @param images a copy of its own: what the run writes into it changes nothing for other metrics
   * @param labels class indices, one per image: of real images theirs, of generated images those that a class-conditional learner was asked
   *   for; a metric that needs labels throws without them
   */
  add(images: ImageBatch, kind: 'real' | 'generated', labels?: Int32Array): Promise<void>
  /**
   * Takes all real images at once, in place of `add`, and what was computed of them before. A run that has it never writes into images, and
   * is given the batch objects that others are given too.
   *
   * @internal
   */
  addReal?(images: RealImages): Promise<void>
  /**
   * Computes the value after all images were added.
   *
   * @throws signal.reason after an abort
   */
  finish(signal?: AbortSignal): Promise<MetricValue>
}

/**
 * A metric: compares generated images with real images. Any object of this shape can be one.
 *
 * @category Evaluation
 */
export interface Metric<Name extends string = string> {
  /** Key in reports, e.g. `frechetDistance`. */
  readonly name: Name
  /** Title in tables, which names the features, e.g. `Fréchet distance (fashion-mnist classifier, 64 features)`. */
  readonly title: string
  /** Whether a higher value is better. Default false. */
  readonly higherIsBetter?: boolean
  /** Smallest number of real and of generated images from which a value can be computed. Default 1. */
  readonly minimum?: number
  /** Of a metric that compares labels with classes that it tells apart itself: their names, in the order in which the labels number them. */
  readonly classes?: readonly string[]
  /**
   * Of a metric that compares class by class, and so needs a class-conditional learner: the smallest number of real and of generated images
   * of a class.
   */
  readonly minimumOfClass?: number
  /**
   * Begins a computation.
   *
   * @param bootstrap where given, the value is to have an `interval`; a metric that has none at little cost leaves it out
   */
  start(bootstrap?: Bootstrap): MetricRun
}

/** Adds a batch to each run; a run of the user's own gets a copy, so that nobody else sees what it writes into the images. */
export async function addToEach(
  runs: readonly MetricRun[],
  images: ImageBatch,
  kind: 'real' | 'generated',
  labels?: Int32Array,
): Promise<void> {
  await Promise.all(
    runs.map((run) => (run.addReal ? run.add(images, kind, labels) : run.add(copyOf(images), kind, labels?.slice()))),
  )
}
