import type { MetricInfo, Results } from './results.js'
import { type Cell, methodsOf, spread, tasksAt, tasksOf } from './summary.js'

/** One metric by class (rows) and method (columns) after the last task. */
export interface ClassTable extends MetricInfo {
  readonly task: number
  readonly methods: readonly string[]
  readonly rows: readonly {
    readonly name: string
    /** Images of the class that values were computed from, e.g. `100 / 200`, real and generated, or `200`, generated alone. */
    readonly counts: string
    /** One for each method; undefined where a seed's value could not be measured. */
    readonly cells: readonly (Pick<Cell, 'mean' | 'error'> | undefined)[]
  }[]
}

/** A table for each metric that has a value for each class, in the results' order. */
export function classTables(results: Results): ClassTable[] {
  const task = tasksOf(results).at(-1)
  const methods = methodsOf(results)
  if (task === undefined) return []
  return Object.entries(results.metrics).flatMap(([metric, info]) => {
    const details = methods.map((method) => tasksAt(results, method, task).map((t) => t.task.metrics[metric]?.detail))
    const first = details.flat().find((detail) => detail?.classes)
    if (first === undefined) return []
    const rows = results.classes.flatMap((name, label) => {
      const cells = details.map((seeds) => {
        const values = seeds.map((detail) => detail?.classes?.[label] ?? Number.NaN)
        return values.length > 0 && values.every(Number.isFinite) ? spread(values) : undefined
      })
      if (cells.every((cell) => cell === undefined)) return []
      const counts = [first.real, first.asked].flatMap((of) => of?.[label] ?? []).join(' / ')
      return [{ name, counts, cells }]
    })
    return [{ ...info, task, methods, rows }]
  })
}
