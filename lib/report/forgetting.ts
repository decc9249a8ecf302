import { backwardTransfer, forgetting, type TaskMatrix } from '../evaluation/transfer.js'
import type { MethodRun, Results } from './results.js'
import { measuredValue, methodsOf, spread, tasksAt, tasksOf } from './summary.js'

/** A mean with its standard error over the seeds. */
export interface Mean {
  readonly mean: number
  readonly error: number | undefined
}

/** One value for each task j after each task k ≥ j, the mean over the seeds; null where a seed's can't be measured. */
export type MeanMatrix = readonly (readonly (number | null)[])[]

/** A table that grows by a row with each task: of a metric, or of the solver's accuracies. */
export type MatrixOf = (run: MethodRun) => TaskMatrix

/** The metric on each task by itself. */
export function metricMatrix(metric: string): MatrixOf {
  return ({ tasks }) =>
    rowsOf(tasks.map(({ alone }) => alone?.map(({ values }) => measuredValue(values[metric]) ?? null)))
}

/** The solver's accuracy on each task. */
export const solverMatrix: MatrixOf = ({ tasks }) => rowsOf(tasks.map(({ solver }) => solver))

/** The matrix as far as it goes: runs evaluated without their single tasks have none. */
function rowsOf(rows: readonly (readonly (number | null)[] | undefined)[]): TaskMatrix {
  const end = rows.indexOf(undefined)
  return (end < 0 ? rows : rows.slice(0, end)).flatMap((row) => (row === undefined ? [] : [row]))
}

/** A method's matrix, averaged over the seeds; undefined when it has none. */
export function meanMatrix(results: Results, method: string, matrixOf: MatrixOf): MeanMatrix | undefined {
  const matrices = results.runs.filter((run) => run.method === method).map(matrixOf)
  const rows = Math.max(0, ...matrices.map((matrix) => matrix.length))
  if (rows === 0) return undefined
  return Array.from({ length: rows }, (_, k) =>
    Array.from({ length: k + 1 }, (_, j) => {
      const values = matrices.flatMap((matrix) => (matrix[k] === undefined ? [] : [matrix[k][j] ?? null]))
      return values.includes(null) ? null : spread(values as number[]).mean
    }),
  )
}

/** Mean forgetting and backward transfer of a method over the seeds; undefined where a seed's can't be measured, with the reason. */
export function transferOf(
  results: Results,
  method: string,
  matrixOf: MatrixOf,
  better: 'lower' | 'higher',
): { forgetting: Mean | undefined; backwardTransfer: Mean | undefined; unknown: string } {
  const last = tasksOf(results).at(-1) ?? 0
  const matrices = results.runs.filter((run) => run.method === method).map(matrixOf)
  const whole = matrices.filter((matrix) => matrix.length === last && last > 1)
  const direction = { higherIsBetter: better === 'higher' }
  const mean = (of: typeof forgetting) => {
    const values = whole.map((matrix) => of(matrix, direction).mean)
    return values.length === 0 || values.includes(null) ? undefined : spread(values as number[])
  }
  const unknown = whole.length === 0 ? 'not finished' : 'not measured'
  return { forgetting: mean(forgetting), backwardTransfer: mean(backwardTransfer), unknown }
}

/** Whether any method has a matrix with at least one value off its diagonal. */
export function hasMatrix(results: Results, matrixOf: MatrixOf): boolean {
  return methodsOf(results).some((method) =>
    meanMatrix(results, method, matrixOf)?.some((row, k) => row.some((value, j) => j < k && value !== null)),
  )
}

/**
 * The fewest and the most images, real and generated, that a value on one task after the last task was computed from, e.g.
 * `200 / 183–260`; empty where tasks were not evaluated alone.
 */
export function countsAlone(results: Results): string {
  const last = tasksOf(results).at(-1) ?? 0
  const alone = methodsOf(results).flatMap((method) =>
    tasksAt(results, method, last).flatMap(({ task }) => task.alone ?? []),
  )
  if (alone.length === 0) return ''
  const range = (kind: 'real' | 'generated') => {
    const counts = alone.map((task) => task[kind]).sort((a, b) => a - b)
    return [...new Set([counts[0], counts.at(-1)])].join('–')
  }
  return `${range('real')} / ${range('generated')}`
}
