import { setImmediate } from 'node:timers/promises'
import { call, withCancel } from '../engine/call.js'
import type { Bootstrap, NativeMoments } from '../engine/state.js'

/** Bounds of a 95 % confidence interval. */
export type Interval = readonly [low: number, high: number]

/**
 * The percentile interval of a bootstrap, moved so that the mean of the resampled values is the value itself. A resample has fewer different images,
 * which raises a distance as fewer images do: without the move, a small distance would lie below its own interval. For a fraction, whose
 * mean over resamples is the fraction, it is the plain percentile interval.
 *
 * @param least the smallest value that there is
 * @param most the largest
 */
export function percentileInterval(
  value: number,
  resampled: ArrayLike<number>,
  least = Number.NEGATIVE_INFINITY,
  most = Number.POSITIVE_INFINITY,
): Interval {
  const sorted = Float64Array.from(resampled).sort()
  const shift = value - sorted.reduce((sum, one) => sum + one, 0) / sorted.length
  const bound = (share: number) => Math.min(most, Math.max(least, quantile(sorted, share) + shift))
  return [bound(0.025), bound(0.975)]
}

/** Between the two nearest by their distances, as NumPy does. */
function quantile(sorted: Float64Array, share: number): number {
  const at = share * (sorted.length - 1)
  const [below, above] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!]
  return below + (at - Math.floor(at)) * (above - below)
}

/**
 * The interval of a statistic of how many images are of each category.
 *
 * @param statistic at least 0
 * @param most the largest value of it that there is
 */
export async function intervalOfCounts(
  counts: Float64Array,
  statistic: (counts: Float64Array) => number,
  bootstrap: Bootstrap,
  signal: AbortSignal | undefined,
  most?: number,
): Promise<Interval> {
  const found = await withCancel(signal, (flag) => call((addon) => addon.resampledCounts(counts, bootstrap, flag)))
  const values = new Float64Array(bootstrap.replicates)
  for (let i = 0; i < values.length; i++) {
    values[i] = statistic(found.subarray(i * counts.length, (i + 1) * counts.length))
    // Some milliseconds, after which others have their turn.
    if (i % 1000 === 999) await setImmediate()
  }
  return percentileInterval(statistic(counts), values, 0, most)
}

/** The interval of a fraction of so many images. */
export function intervalOfFraction(
  fraction: number,
  images: number,
  bootstrap: Bootstrap,
  signal: AbortSignal | undefined,
): Promise<Interval> {
  const inside = Math.round(fraction * images)
  return intervalOfCounts(
    Float64Array.from([inside, images - inside]),
    ([some]) => some! / images,
    bootstrap,
    signal,
    1,
  )
}

/** Most resamples of a Fréchet distance, each of which takes the covariance of all images anew. */
const mostResampled = 200

/** The interval of the Fréchet distance of generated images, whose features these rows are, to the real ones. */
export async function intervalOfDistance(
  value: number,
  real: NativeMoments,
  rows: readonly Float32Array[],
  { replicates, seed }: Bootstrap,
  signal: AbortSignal | undefined,
): Promise<Interval> {
  const some = { replicates: Math.min(replicates, mostResampled), seed }
  const values = await withCancel(signal, (flag) =>
    call((addon) => addon.resampledFrechetDistances(real, rows, some, flag)),
  )
  return percentileInterval(value, values, 0)
}

/** Most features of a Fréchet distance that has an interval: its cost grows with their cube. */
export const mostFeatures = 128
