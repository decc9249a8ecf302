import type { Results } from './results.js'
import { type Cell, cell, formatCell, methodsOf, seedsOf, tasksAt, tasksOf } from './summary.js'

/** One metric by task (rows) and method (columns), ready to be laid out. */
export interface MetricTable {
  /** The metric's title, with the features it is computed in. */
  readonly title: string
  readonly methods: readonly string[]
  readonly rows: readonly {
    readonly task: number
    /** Name of the task where it is the same for every seed, else empty. */
    readonly name: string
    /** Real and generated images that each value was computed from. */
    readonly counts: { readonly real: number; readonly generated: number }
    /** One per method; undefined where the run has not got there. */
    readonly cells: readonly (Cell | undefined)[]
  }[]
}

/** One table per metric, in the results' order. */
export function metricTables(results: Results): MetricTable[] {
  const methods = methodsOf(results)
  return Object.entries(results.metrics).map(([metric, title]) => ({
    title,
    methods,
    rows: tasksOf(results).map((task) => {
      const cells = methods.map((method) => cell(results, metric, method, task))
      const known = cells.find((c) => c !== undefined)
      const names = new Set(methods.flatMap((method) => tasksAt(results, method, task).map((t) => t.task.name)))
      return {
        task,
        name: names.size === 1 ? [...names][0]! : '',
        counts: { real: known?.real ?? 0, generated: known?.generated ?? 0 },
        cells,
      }
    }),
  }))
}

/** The tables as plain text in columns, for a terminal. */
export function textTable(results: Results): string {
  return render(results, (title, head, rows) => {
    const all = [head, ...rows]
    const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]!.length)))
    const line = (row: readonly string[]) =>
      row
        .map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!)))
        .join('   ')
        .trimEnd()
    const rule = widths.map((width) => '─'.repeat(width)).join('───')
    return [title, '', line(head), rule, ...rows.map(line)].join('\n')
  })
}

/** The tables in Markdown. */
export function markdownTable(results: Results): string {
  return render(results, (title, head, rows) => {
    const line = (row: readonly string[]) => `| ${row.map((text) => text.replaceAll('|', '\\|')).join(' | ')} |`
    const rule = line(head.map((_, i) => (i === 0 ? ':---' : '---:')))
    return [`**${title}**`, '', line(head), rule, ...rows.map(line)].join('\n')
  })
}

function render(
  results: Results,
  layout: (title: string, head: readonly string[], rows: readonly (readonly string[])[]) => string,
): string {
  const seeds = seedsOf(results)
  const over = seeds.length === 1 ? `seed ${seeds[0]}` : `mean ± standard deviation over seeds ${seeds.join(', ')}`
  return metricTables(results)
    .map((table) =>
      layout(
        `${table.title}; lower is better; ${over}`,
        ['After task', ...table.methods, 'real / generated images'],
        table.rows.map((row) => [
          row.name === '' ? `${row.task}` : `${row.task}  ${row.name}`,
          ...row.cells.map((c) => (c === undefined ? '–' : formatCell(c))),
          `${row.counts.real} / ${row.counts.generated}`,
        ]),
      ),
    )
    .join('\n\n')
}
