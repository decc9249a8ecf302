import { oneLine } from '../validation/printable.js'
import { hasMatrix, metricMatrix } from './forgetting.js'
import type { Results, TaskResult } from './results.js'
import { measuredValue, tasksOf } from './summary.js'

/** Why values are missing after tasks, once each. Where there is a value, its note stands below its own table. */
export function whyMissing({ metrics: known }: Results, tasks: readonly Pick<TaskResult, 'metrics'>[]): string[] {
  const noted = tasks.flatMap(({ metrics }) =>
    Object.entries(metrics).flatMap(([name, found]) => {
      const title = known[name]?.title.replace(/ \(.*$/, '') ?? name
      return found.note === undefined || measuredValue(found) !== undefined ? [] : [`${title}: ${found.note}.`]
    }),
  )
  return [...new Set(noted)]
}

/**
 * What a reader of the tables at the end should know: why values are missing after the last task, why there is no table of
 * forgetting, and what a dash means.
 *
 * @param tables their text
 * @returns lines, without control characters
 */
export function notesAtEnd(results: Results, tables: string): string[] {
  const last = tasksOf(results).at(-1) ?? 0
  const tasks = results.runs.flatMap((run) => run.tasks.filter(({ task }) => task === last))
  const isForgettingShown = Object.keys(results.metrics).some((metric) => hasMatrix(results, metricMatrix(metric)))
  const alone = tasks.flatMap(({ alone = [] }) => alone.filter(({ task }) => task < last))
  const [why] = alone.flatMap(({ task, values }) =>
    Object.values(values).flatMap(({ value, note }) => (value !== null || !note ? [] : [`task ${task}: ${note}`])),
  )
  const forgetting =
    why ?? `the tasks were not ${alone.length > 0 ? 'measured' : 'evaluated'} by themselves (evaluation.perTask)`
  return [
    ...whyMissing(results, tasks).map(oneLine),
    ...(last > 1 && !isForgettingShown ? [oneLine(`No table of forgetting: ${forgetting}.`)] : []),
    ...(/(^|\s)–(\s|$)/m.test(tables) ? ['–: not measured, as its notes say, or the run has not come so far.'] : []),
  ]
}
