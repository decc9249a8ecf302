import { parseOptions } from '../validation/options.js'
import type { Results } from './results.js'
import { tableSchema } from './results-schema.js'
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
  const { mean, error } = spread(seeds.map((seed) => own.get(seed)! - theirs.get(seed)!))
  if (seeds.length < 3 || error === undefined) return undefined
  const half = error * studentT975(seeds.length - 1)
  return {
    seeds,
    mean,
    interval: [mean - half, mean + half],
    baseline: spread(seeds.map((seed) => theirs.get(seed)!)).mean,
  }
}

/** The methods of results that have a difference to the first, with that for each metric. */
export function pairedRows(results: Results): { baseline: string; rows: PairedRow[] } {
  const [baseline = '', ...others] = methodsOf(results)
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

/** The 97.5 % quantile of Student's t distribution for 1, 2, … degrees of freedom. */
const quantiles = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11,
  2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
]

/** The same; beyond the table by the first terms of its expansion in 1/ν (Abramowitz and Stegun 26.7.5). */
export function studentT975(degrees: number): number {
  const z = 1.959964
  return (
    quantiles[degrees - 1] ??
    z + (z ** 3 + z) / (4 * degrees) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * degrees ** 2)
  )
}
