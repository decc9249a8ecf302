import type { Evaluation } from '../evaluation/evaluate.js'
import type { TaskValue } from '../evaluation/per-task.js'
import { oneLine } from '../validation/printable.js'
import { plainText } from './plain-text.js'
import type { MetricInfo } from './results.js'
import { dagger, formatCell, measuredValue } from './summary.js'
import { withNotes } from './table.js'

/**
 * One evaluation as text: every metric on all test images and, where it has them, on each task by itself.
 *
 * @param width characters of a line
 */
export function evaluationTable(
  found: {
    readonly evaluation: Evaluation<string, TaskValue>
    readonly metrics: Readonly<Record<string, MetricInfo>>
    readonly classes: readonly string[]
    readonly seed: number
  },
  width?: number,
): string {
  const { evaluation, metrics, classes, seed } = found
  const { real, generated, values, tasks = [] } = evaluation
  const intervals = Object.values(values).some(({ interval }) => interval)
  const notes: string[] = []
  const number = (found: TaskValue | undefined) => {
    const mean = measuredValue(found)
    if (found?.note !== undefined) notes.push(found.note)
    if (mean === undefined) return found?.note === undefined ? '–' : `– ${dagger}`
    return formatCell({
      mean,
      error: undefined,
      interval: found?.interval,
      notes: found?.note === undefined ? [] : [found.note],
    })
  }
  const table = plainText(
    {
      title: `Against ${real} test images of ${classes.join(', ')}, the stream's of seed ${seed}; ${generated} generated images${intervals ? '; [95 % interval over generated images]' : ''}`,
      head: ['Metric', 'better', 'all', ...tasks.map(({ task }) => `task ${task}`)],
      rows: Object.entries(metrics).map(([name, { title, better }]) => [
        title,
        better,
        number(values[name]),
        ...tasks.map((task) => number(task.values[name])),
      ]),
    },
    width,
  )
  return withNotes(table, notes)
}

/** How many of the generated images each class has, with a bar for each. */
export function classHistogram(labels: ArrayLike<number>, given: readonly string[]): string {
  const classes = given.map(oneLine)
  const counts = classes.map(() => 0)
  for (const label of Array.from(labels)) counts[label] = (counts[label] ?? 0) + 1
  const most = Math.max(1, ...counts)
  const width = Math.max(...classes.map((name) => name.length))
  const digits = String(most).length
  return classes
    .map((name, c) => {
      const count = counts[c]!
      return `${name.padEnd(width)}  ${String(count).padStart(digits)}  ${'█'.repeat(Math.round((40 * count) / most))}`.trimEnd()
    })
    .join('\n')
}
