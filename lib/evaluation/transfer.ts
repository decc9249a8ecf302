import { z } from 'zod'
import { invalid } from '../errors.js'
import { parseOptions } from '../validation/options.js'
import type { Evaluation } from './evaluate.js'

/**
 * The matrix R of a metric: element [i][j] is the value on task j + 1 alone, after task i + 1 was learned, j ≤ i. It is null if the value
 * could not be measured.
 *
 * @category Evaluation
 */
export type TaskMatrix = readonly (readonly (number | null)[])[]

/**
 * The change of a metric on each earlier task, and the mean change.
 *
 * @category Evaluation
 */
export interface Transfer {
  /** One number per earlier task, j = 1 … T − 1; null if a value that it is computed from is null. */
  readonly tasks: readonly (number | null)[]
  /** Mean of `tasks`; null if one of them is null, because a task that can't be measured is often one that was forgotten. */
  readonly mean: number | null
}

/**
 * Whether a higher or a lower value of a metric is better. Default: lower. A `Metric` has this shape.
 *
 * @category Evaluation
 */
export interface Direction {
  readonly higherIsBetter?: boolean
}

const evaluationsSchema = z.array(
  z.looseObject({ tasks: z.array(z.looseObject({ values: z.record(z.string(), z.unknown()) })).optional() }),
)
/** A metric may be given as one. */
const directionSchema = z.looseObject({ higherIsBetter: z.boolean().optional() })
const matrixSchema = z.array(z.array(z.number().or(z.nan()).nullable()))

/**
 * The matrix of a metric's values on single tasks, from evaluations with `perTask`.
 *
 * @param evaluations the evaluation after task 1, the evaluation after task 2, …
 * @param name the metric's name
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when an evaluation doesn't have a value of the metric for each of its tasks
 *
 * @category Evaluation
 */
export function taskMatrix(evaluations: readonly Evaluation[], name: string): TaskMatrix {
  parseOptions(evaluationsSchema, evaluations, 'taskMatrix: evaluations')
  parseOptions(z.string(), name, 'taskMatrix: name')
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
 * How much worse a metric is on each earlier task, after the last task, than its best value before. With T tasks, Fⱼ = R[T][j] − min over
 * i < T of R[i][j] for a metric where lower is better, and Fⱼ = max over i < T of R[i][j] − R[T][j] where higher is better. It has the
 * metric's unit. Positive means forgotten.
 *
 * Chaudhry et al. 2018 (arXiv 1801.10112), who use accuracy as the metric.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a matrix with fewer than two rows, or whose i-th row has not i values
 *
 * @category Evaluation
 */
export function forgetting(matrix: TaskMatrix, direction: Direction = {}): Transfer {
  return transfer(matrix, direction, 'forgetting', (earlier, last) => {
    const known = earlier.filter((value) => value !== null)
    if (known.length === 0) return null
    return direction.higherIsBetter ? Math.max(...known) - last : last - Math.min(...known)
  })
}

/**
 * How much the later tasks changed a metric on each earlier task, from the end of that task to the end of the last task:
 * Bⱼ = R[T][j] − R[j][j] for a metric where higher is better, and Bⱼ = R[j][j] − R[T][j] where lower is better. So positive always means
 * improved.
 *
 * Lopez-Paz and Ranzato 2017 (arXiv 1706.08840), who use accuracy as the metric.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a matrix with fewer than two rows, or whose i-th row has not i values
 *
 * @category Evaluation
 */
export function backwardTransfer(matrix: TaskMatrix, direction: Direction = {}): Transfer {
  return transfer(matrix, direction, 'backwardTransfer', ([first], last) => {
    if (first == null) return null
    return direction.higherIsBetter ? last - first : first - last
  })
}

/** @param change of a column: its values from the diagonal to before the last row, and the one in the last row */
function transfer(
  matrix: TaskMatrix,
  direction: Direction,
  where: string,
  change: (earlier: readonly (number | null)[], last: number) => number | null,
): Transfer {
  parseOptions(matrixSchema, matrix, `${where}: matrix`)
  parseOptions(directionSchema, direction, where)
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
