import { invalid } from '../errors.js'
import type { Evaluation } from './evaluate.js'

/**
 * R: element [i][j] is a metric on task j + 1 alone, after task i + 1 was learned, j ≤ i; null where it could not be measured.
 *
 * @category Evaluation
 */
export type TaskMatrix = readonly (readonly (number | null)[])[]

/**
 * A change by task and on the average.
 *
 * @category Evaluation
 */
export interface Transfer {
  /** One per earlier task, j = 1 … T − 1; null where a value that it needs is. */
  readonly tasks: readonly (number | null)[]
  /** Their mean; null when one of them is null, because what can't be measured any more is often what was forgotten most. */
  readonly mean: number | null
}

/**
 * In which direction a metric improves. Default: a smaller value is better. A `Metric` is of this shape.
 *
 * @category Evaluation
 */
export interface Direction {
  readonly higherIsBetter?: boolean
}

/**
 * The matrix of a metric from evaluations with `perTask`.
 *
 * @param evaluations the one after task 1, the one after task 2, …
 * @param name the metric's name
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when an evaluation has not the values of its tasks
 *
 * @category Evaluation
 */
export function taskMatrix(evaluations: readonly Evaluation[], name: string): TaskMatrix {
  return evaluations.map(({ tasks = [] }, i) => {
    const row = tasks.map(({ values }) => values[name]?.value)
    if (row.length !== i + 1 || row.includes(undefined)) {
      throw invalid(
        `taskMatrix: the evaluation after task ${i + 1} has values of '${name}' for ` +
          `${row.filter((value) => value !== undefined).length} single tasks; expected ${i + 1}: evaluate with the option perTask`,
      )
    }
    return row as (number | null)[]
  })
}

/**
 * How much worse a metric is on each earlier task after the last one than it was at its best: with T tasks, for a metric where a
 * smaller value is better, Fⱼ = R[T][j] − min over i < T of R[i][j]; where a higher value is better, Fⱼ = max over i < T of
 * R[i][j] − R[T][j] (Chaudhry et al. 2018, arXiv 1801.10112, where it is accuracy). Positive: forgotten; in the metric's unit.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a matrix with fewer than two rows, or whose i-th row has not i values
 *
 * @category Evaluation
 */
export function forgetting(matrix: TaskMatrix, direction: Direction = {}): Transfer {
  return transfer(matrix, 'forgetting', (earlier, last) => {
    const known = earlier.filter((value) => value !== null)
    if (known.length === 0) return null
    return direction.higherIsBetter ? Math.max(...known) - last : last - Math.min(...known)
  })
}

/**
 * How learning the later tasks changed a metric on each earlier task, from when that had just been learned to after the last one:
 * Bⱼ = R[T][j] − R[j][j] where a higher value is better (Lopez-Paz & Ranzato 2017, arXiv 1706.08840, where it is accuracy) and
 * Bⱼ = R[j][j] − R[T][j] where a smaller one is, so that positive always means improved.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a matrix with fewer than two rows, or whose i-th row has not i values
 *
 * @category Evaluation
 */
export function backwardTransfer(matrix: TaskMatrix, direction: Direction = {}): Transfer {
  return transfer(matrix, 'backwardTransfer', ([first], last) => {
    if (first == null) return null
    return direction.higherIsBetter ? last - first : first - last
  })
}

/** @param change of a column: its values from the diagonal to before the last row, and the one in the last row */
function transfer(
  matrix: TaskMatrix,
  where: string,
  change: (earlier: readonly (number | null)[], last: number) => number | null,
): Transfer {
  if (matrix.length < 2) throw invalid(`${where}: ${matrix.length} tasks; expected at least 2`)
  const wrong = matrix.findIndex((row, i) => row.length !== i + 1)
  if (wrong !== -1) {
    throw invalid(`${where}: row ${wrong + 1} of the matrix has ${matrix[wrong]?.length} values; expected ${wrong + 1}`)
  }
  const end = matrix.length - 1
  const tasks = Array.from({ length: end }, (_, j) => {
    const last = matrix[end]?.[j] ?? null
    return last === null
      ? null
      : change(
          matrix.slice(j, end).map((row) => row[j] ?? null),
          last,
        )
  })
  const known = tasks.filter((value) => value !== null)
  const mean = known.length === end ? known.reduce((sum, value) => sum + value, 0) / end : null
  return { tasks, mean }
}
