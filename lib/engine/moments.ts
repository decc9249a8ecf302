import { ContinualDiffusionError } from '../errors.js'
import { call } from './call.js'
import type { NativeMoments } from './state.js'

/** Mean and covariance of rows that come in batches, kept in float64; memory does not grow with the rows. */
export class RunningMoments implements NativeMoments {
  /** D values. */
  readonly mean: Float64Array
  /** D × D: the centred sum of the rows' outer products. */
  readonly m2: Float64Array
  #count = 0
  #last: Promise<void> = Promise.resolve()

  /** @param features D, the length of a row */
  constructor(features: number) {
    this.mean = new Float64Array(features)
    try {
      this.m2 = new Float64Array(features ** 2)
    } catch (cause) {
      throw new ContinualDiffusionError(
        'ERR_OUT_OF_MEMORY',
        `the covariance of ${features} features takes ${features} × ${features} × 8 bytes, for which there is no memory; use fewer features`,
        { cause },
      )
    }
  }

  /** Rows so far. */
  get count(): number {
    return this.#count
  }

  /** Adds rows, N × D. Calls may overlap: each waits for the one before. */
  add(rows: Float32Array): Promise<void> {
    const before = this.#count
    this.#count += rows.length / this.mean.length
    this.#last = this.#last.then(() => call((addon) => addon.accumulateMoments(rows, before, this.mean, this.m2)))
    return this.#last
  }
}

/** Fréchet distance between the normal distributions with the moments of `a` and `b`: |μ − ν|² + tr(A + B − 2(AB)^½). */
export function momentsDistance(a: NativeMoments, b: NativeMoments): Promise<number> {
  return call((addon) => addon.frechetDistance(a, b))
}
