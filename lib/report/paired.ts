import { parseOptions } from '../validation/options.js'
import type { Results } from './results.js'
import { tableSchema } from './results-schema.js'
import { pairedTP, signFlipP } from './significance.js'
import { meanInterval } from './student-t.js'
import { measuredValue, methodsOf, seedsOf, spread, tasksAt, tasksOf } from './summary.js'

/**
 * A metric of a method less that of a baseline, after the last task, paired by seed: what changes from seed to seed for both alike drops out.
 *
 * @category Results and reports
 */
export interface PairedDifference {
  /** Seeds for which both methods have a value. */
  readonly seeds: readonly number[]
  /** The mean of method − baseline. */
  readonly mean: number
  /** Its 95 % confidence interval by Student's t, which takes the differences as normally distributed. */
  readonly interval: readonly [low: number, high: number]
  /** The baseline's mean over the same seeds. */
  readonly baseline: number
  /** Two-sided p of the paired t test of whether the mean is 0. */
  readonly p: number
  /** That of the exact sign-flip permutation test; undefined for more than 20 seeds. It is at least 2 / 2ⁿ for n seeds. */
  readonly signFlipP: number | undefined
}

/**
 * @param metric name of the metric, e.g. `frechetDistance`
 * @returns undefined where the two have values for fewer than three seeds in common
 *
 * @category Results and reports
 */
export function pairedDifference(
  results: Results,
  metric: string,
  method: string,
  baseline: string,
): PairedDifference | undefined {
  parseOptions(tableSchema, results, 'pairedDifference: results')
  return differenceOf(results, metric, method, baseline)
}

function differenceOf(
  results: Results,
  metric: string,
  method: string,
  baseline: string,
): PairedDifference | undefined {
  const last = tasksOf(results).at(-1)
  if (last === undefined) return undefined
  const bySeed = (label: string) =>
    new Map(tasksAt(results, label, last).map(({ run, task }) => [run.seed, measuredValue(task.metrics[metric])]))
  const [theirs, own] = [bySeed(baseline), bySeed(method)]
  const seeds = seedsOf(results).filter((seed) => theirs.get(seed) !== undefined && own.get(seed) !== undefined)
  const differences = seeds.map((seed) => own.get(seed)! - theirs.get(seed)!)
  const { mean, error } = spread(differences)
  if (seeds.length < 3 || error === undefined) return undefined
  let flipped: number | undefined
  return {
    seeds,
    mean,
    interval: meanInterval(mean, error, seeds.length),
    baseline: spread(seeds.map((seed) => theirs.get(seed)!)).mean,
    p: pairedTP(mean, error, seeds.length),
    // 2ⁿ sums, which not every table shows.
    get signFlipP() {
      flipped ??= signFlipP(differences)
      return flipped
    },
  }
}

/**
 * The methods of results that have a difference to a baseline, with that for each metric.
 *
 * @param baseline label of a method. Default: the first
 */
export function pairedRows(
  results: Results,
  baseline = methodsOf(results)[0] ?? '',
): { baseline: string; rows: PairedRow[] } {
  const others = methodsOf(results).filter((label) => label !== baseline)
  const metrics = Object.keys(results.metrics)
  const rows = others.map((method) => ({
    method,
    differences: metrics.map((metric) => differenceOf(results, metric, method, baseline)),
  }))
  return { baseline, rows: rows.filter(({ differences }) => differences.some((found) => found !== undefined)) }
}

interface PairedRow {
  readonly method: string
  /** One for each metric, in the results' order. */
  readonly differences: readonly (PairedDifference | undefined)[]
}
