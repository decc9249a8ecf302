import { z } from 'zod'
import { invalid } from '../errors.js'
import { unknownName } from '../validation/names.js'
import { parseOptions } from '../validation/options.js'
import { type PairedDifference, pairedRows } from './paired.js'
import type { Results } from './results.js'
import { alpha, holm } from './significance.js'
import { formatNumber, methodsOf } from './summary.js'
import { checkTable, type Layout, layouts, unlimited } from './table.js'

/**
 * A method compared with a baseline by one metric after the last task.
 *
 * @category Results and reports
 */
export interface MethodTest {
  readonly metric: string
  readonly method: string
  /** Undefined where the two have values for fewer than three seeds in common. */
  readonly difference: PairedDifference | undefined
  /** `difference.p` by Holm's correction for all methods that are compared by this metric. */
  readonly holmP: number | undefined
}

/**
 * Tests for each metric which methods differ from a baseline after the last task, paired by seed: by the paired t test and by the exact sign-flip
 * permutation test. The p of the t test is corrected by Holm's method for all methods that are compared by the same metric, as Demšar 2006 (JMLR
 * 7) advises for comparisons with one baseline.
 *
 * @param baseline label of a method. Default: the first method
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a baseline that the results don't have
 *
 * @category Results and reports
 */
export function methodTests(results: Results, baseline?: string): MethodTest[] {
  checkTable(results, 'text', unlimited, 'methodTests')
  const name = checkBaseline(results, baseline, 'methodTests')
  const { rows } = pairedRows(results, name)
  return Object.keys(results.metrics).flatMap((metric, m) => {
    const known = rows.flatMap(({ method, differences }) => {
      const difference = differences[m]
      return difference === undefined ? [] : [{ method, difference }]
    })
    const adjusted = holm(known.map(({ difference }) => difference.p))
    return methodsOf(results)
      .filter((method) => method !== name)
      .map((method): MethodTest => {
        const at = known.findIndex((one) => one.method === method)
        return { metric, method, difference: known[at]?.difference, holmP: adjusted[at] }
      })
  })
}

function checkBaseline(results: Results, baseline: string | undefined, where: string): string {
  parseOptions(z.string().optional(), baseline, `${where}: baseline`)
  const methods = methodsOf(results)
  if (baseline === undefined || methods.includes(baseline)) return baseline ?? methods[0] ?? ''
  throw invalid(`${where}: ${unknownName('method', baseline, methods)}`)
}

/**
 * {@link methodTests} as a table for each metric: seeds, mean difference with its 95 % interval, p, and whether the method differs from the baseline at
 * the level 0.05 after Holm's correction.
 *
 * @param baseline label of a method. Default: the first method
 * @param width characters of a line in the layout `text`: what is wider is wrapped. Default: no limit
 *
 * @category Results and reports
 */
export function testTable(results: Results, layout: Layout = 'text', width = unlimited, baseline?: string): string {
  checkTable(results, layout, width, 'testTable')
  const name = checkBaseline(results, baseline, 'testTable')
  const tests = methodTests(results, name)
  return Object.entries(results.metrics)
    .flatMap(([metric, { title, better }]) => {
      const rows = tests.filter((test) => test.metric === metric)
      if (rows.length === 0) return []
      const table = {
        title: `${title}: difference to ${name} after the last task, paired by seed; ${better} is better`,
        head: [
          'Method',
          'seeds',
          'mean difference',
          '95 % interval',
          'p (t test)',
          'p (Holm)',
          'p (sign flips)',
          'differs',
        ],
        rows: rows.map(({ method, difference, holmP = Number.NaN }) =>
          difference === undefined
            ? [method, 'fewer than 3', '–', '–', '–', '–', '–', '–']
            : [
                method,
                String(difference.seeds.length),
                signed(difference.mean),
                `${signed(difference.interval[0])} … ${signed(difference.interval[1])}`,
                formatP(difference.p),
                formatP(holmP),
                difference.signFlipP === undefined ? '–' : formatP(difference.signFlipP),
                holmP <= alpha ? 'yes' : 'not shown',
              ],
        ),
      }
      return [layouts[layout](table, width)]
    })
    .join('\n\n')
}

function signed(value: number): string {
  return formatNumber(value).replace(/^-/, '−')
}

function formatP(p: number): string {
  return p < 0.0001 ? '< 0.0001' : p.toPrecision(2)
}
