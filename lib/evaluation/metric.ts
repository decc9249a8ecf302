import type { ImageBatch } from '../data/dataset.js'
import type { RealImages } from './real-images.js'

/**
 * How many images a value was computed from: it means little without them.
 *
 * @category Evaluation
 */
export interface Counts {
  readonly real: number
  readonly generated: number
}

/**
 * A metric's value with what is needed to read it.
 *
 * @category Evaluation
 */
export interface MetricValue extends Counts {
  /** Smaller is better, unless the metric says `higherIsBetter`. */
  readonly value: number
  /** Plain words where the value needs them, e.g. that a covariance is rank-deficient. */
  readonly note?: string
  /** What the value was computed from, where people want to see it, e.g. class frequencies. */
  readonly detail?: Readonly<Record<string, readonly number[]>>
}

/**
 * A metric in the making: real and generated images go in, in batches and in any order.
 *
 * @category Evaluation
 */
export interface MetricRun {
  /** @param labels class indices of real images, one per image; a metric that needs them refuses real images without */
  add(images: ImageBatch, kind: 'real' | 'generated', labels?: Int32Array): Promise<void>
  /**
   * Takes all real images at once, in place of `add`, and what was computed of them before.
   *
   * @internal
   */
  addReal?(images: RealImages): Promise<void>
  /** @throws signal.reason after an abort */
  finish(signal?: AbortSignal): Promise<MetricValue>
}

/**
 * A comparison of generated with real images.
 *
 * @category Evaluation
 */
export interface Metric {
  /** Key in reports, e.g. `frechetDistance`. */
  readonly name: string
  /** For tables, with the features named: e.g. `Fréchet distance (fashion-mnist classifier, 64 features)`. */
  readonly title: string
  /** Default false. */
  readonly higherIsBetter?: boolean
  /** Fewest real and fewest generated images that a value can be computed from. Default 1. */
  readonly minimum?: number
  start(): MetricRun
}
