import { z } from 'zod'
import { parseOptions } from '../validation/options.js'
import { oneLine } from '../validation/printable.js'
import { type ClassTable, classTables } from './by-class.js'
import { escapeMarkdown } from './escape.js'
import { countsAlone, hasMatrix, metricMatrix, transferOf } from './forgetting.js'
import { notesAtEnd } from './notes.js'
import { type PairedDifference, pairedRows } from './paired.js'
import { type PlainTable, plainText, wrap } from './plain-text.js'
import type { MetricInfo, Results } from './results.js'
import { tableSchema } from './results-schema.js'
import { type Cell, cell, dagger, formatCell, formatNumber, methodsOf, seedsOf, tasksAt, tasksOf } from './summary.js'

/** One metric by method (rows) and task (columns), ready to be laid out. */
export interface MetricTable extends MetricInfo {
  readonly tasks: readonly {
    readonly task: number
    /** Name of the task where it is the same for every seed, else empty. */
    readonly name: string
    /** Real and generated images that each value was computed from. */
    readonly counts: { readonly real: number; readonly generated: number }
  }[]
  readonly rows: readonly {
    readonly method: string
    /** One per task; undefined where the run has not got there. */
    readonly cells: readonly (Cell | undefined)[]
  }[]
}

/** One table per metric, in the results' order. */
export function metricTables(results: Results): MetricTable[] {
  const methods = methodsOf(results)
  return Object.entries(results.metrics).map(([metric, info]) => {
    const tasks = tasksOf(results).filter((task) => methods.some((method) => cell(results, metric, method, task)))
    const rows = methods.map((method) => ({
      method,
      cells: tasks.map((task) => cell(results, metric, method, task)),
    }))
    return {
      ...info,
      rows,
      tasks: tasks.map((task, i) => {
        const known = rows.find(({ cells }) => cells[i] !== undefined)?.cells[i]
        const names = new Set(methods.flatMap((method) => tasksAt(results, method, task).map((t) => t.task.name)))
        return {
          task,
          name: names.size === 1 ? [...names][0]! : '',
          counts: { real: known?.real ?? 0, generated: known?.generated ?? 0 },
        }
      }),
    }
  })
}

/**
 * The layout of a table: `text` has columns for a terminal.
 *
 * @category Results and reports
 */
export type Layout = 'text' | 'markdown'

/** Of a line, in characters. */
export const unlimited = Number.POSITIVE_INFINITY

export function checkTable(results: Results, layout: Layout, width: number, where: string): void {
  parseOptions(tableSchema, results, `${where}: results`)
  parseOptions(z.enum(['text', 'markdown']), layout, `${where}: layout`)
  parseOptions(z.union([z.int().min(1), z.literal(unlimited)]), width, `${where}: width`)
}

/**
 * A table for each metric: the value of every method after every task.
 *
 * @param width characters of a line in the layout `text`: what is wider is wrapped. Default: no limit
 *
 * @category Results and reports
 */
export function tablesByTask(results: Results, layout: Layout = 'text', width = unlimited): string {
  checkTable(results, layout, width, 'tablesByTask')
  const tables = metricTables(results).map(({ title, better, tasks, rows }) => ({
    title: `${title}; ${better} is better; ${overSeeds(results)}`,
    head: ['After task', ...tasks.map(({ task, name }) => (name === '' ? `${task}` : `${task} ${name}`))],
    rows: [
      ...rows.map(({ method, cells }) => [method, ...cells.map((c) => (c === undefined ? '–' : formatCell(c)))]),
      ['real / generated images', ...tasks.map(({ counts: { real, generated } }) => `${real} / ${generated}`)],
    ],
  }))
  const notes = metricTables(results).map(({ rows }) =>
    rows.flatMap(({ cells }) => cells.flatMap((c) => c?.notes ?? [])),
  )
  return tables.map((table, i) => withNotes(layouts[layout](table, width), notes[i]!)).join('\n\n')
}

/** A table with the notes of the values that are marked in it. */
export function withNotes(table: string, notes: readonly string[]): string {
  if (notes.length === 0) return table
  return `${table}\n\n${[...new Set(notes)].map((note) => `${dagger} ${oneLine(note)}`).join('\n')}`
}

/**
 * One table of all metrics after the last task, with seconds a task and teacher calls a step. It is empty if no task has been learned.
 *
 * @param width characters of a line in the layout `text`: what is wider is wrapped. Default: no limit
 *
 * @category Results and reports
 */
export function finalTable(results: Results, layout: Layout = 'text', width = unlimited): string {
  checkTable(results, layout, width, 'finalTable')
  const last = tasksOf(results).at(-1)
  if (last === undefined) return ''
  const metrics = Object.entries(results.metrics)
  const counts = new Set<string>()
  const notes: string[] = []
  const rows = methodsOf(results).map((method) => {
    const values = metrics.map(([metric]) => {
      const found = cell(results, metric, method, last)
      if (found !== undefined) counts.add(`${found.real} real and ${found.generated} generated images`)
      notes.push(...(found?.notes ?? []))
      return found === undefined ? '–' : formatCell(found)
    })
    const { seconds, teacherCalls } = costOf(results, method)
    return [method, ...values, formatNumber(seconds), formatNumber(teacherCalls)]
  })
  const references = metrics.map(([metric]) => referenceOf(results, metric, last))
  if (references.some((reference) => reference !== '')) rows.push(['(real training images)', ...references, '', ''])
  // The features stand in brackets; they are the same for most metrics, and too long for a head.
  const parts = metrics.map(([, { title, better }]) => {
    const [, name = title, features = ''] = /^(.*?)(?: \((.*)\))?$/.exec(title) ?? []
    return { head: withArrow(name, better), name, features }
  })
  const features = [...new Set(parts.map((part) => part.features))].filter((text) => text !== '')
  const by = features.map(
    (text) => `${enumerate(parts.filter((p) => p.features === text).map((p) => p.name))} by the ${text}`,
  )
  const table = {
    title: [`After task ${last}`, ...counts, ...by, overSeeds(results)].join('; '),
    head: ['Method', ...parts.map(({ head }) => head), 'seconds a task', 'teacher calls a step'],
    rows,
  }
  return withNotes(layouts[layout](table, width), notes)
}

function withArrow(name: string, better: MetricInfo['better']): string {
  return `${name} ${better === 'lower' ? '↓' : '↑'}`
}

/** A metric of real training images after a task, as text; empty where it is not known. */
export function referenceOf(results: Results, metric: string, task: number): string {
  const found = methodsOf(results).flatMap((method) => cell(results, metric, method, task)?.reference ?? [])
  return found[0] === undefined ? '' : formatNumber(found[0])
}

/**
 * One table of how each method differs from the first after the last task, paired by seed: in percent of the first method's mean, with the
 * 95 % interval. It is empty with fewer than three seeds.
 *
 * @param width characters of a line in the layout `text`: what is wider is wrapped. Default: no limit
 *
 * @category Results and reports
 */
export function pairedTable(results: Results, layout: Layout = 'text', width = unlimited): string {
  checkTable(results, layout, width, 'pairedTable')
  const { baseline, rows } = pairedRows(results)
  if (rows.length === 0) return ''
  const metrics = Object.values(results.metrics)
  const seeds = new Set(rows.flatMap(({ differences }) => differences.map((found) => found?.seeds.length ?? 0)))
  return layouts[layout](
    {
      title: `Difference to ${baseline}, in percent of its mean [95 % interval]; paired by seed, ${[...seeds].filter(Boolean).join(' or ')} seeds`,
      head: ['Method', ...metrics.map(({ title, better }) => withArrow(title.replace(/ \(.*$/, ''), better))],
      rows: rows.map(({ method, differences }) => [method, ...differences.map(formatDifference)]),
    },
    width,
  )
}

/** `−39 % [−52, −26]`, in percent of the baseline's mean; where that is 0, the difference itself. */
export function formatDifference(difference: PairedDifference | undefined): string {
  if (difference === undefined) return '–'
  const { mean, interval, baseline } = difference
  if (baseline === 0) return `${formatCell({ mean, error: undefined, interval })}, from 0`
  const [middle, low, high] = [mean, ...interval].map((value) =>
    ((100 * value) / Math.abs(baseline)).toFixed(0).replace(/^-0$/, '0').replace('-', '−'),
  )
  return `${middle} % [${low}, ${high}]`
}

/**
 * One table of what each method forgot by each metric: how much worse the earlier tasks alone are after the last task than at their best,
 * see `forgetting`, the mean over these tasks. It is empty where tasks were not evaluated alone.
 *
 * @param width characters of a line in the layout `text`: what is wider is wrapped. Default: no limit
 *
 * @category Results and reports
 */
export function forgettingTable(results: Results, layout: Layout = 'text', width = unlimited): string {
  checkTable(results, layout, width, 'forgettingTable')
  const metrics = Object.entries(results.metrics).filter(([metric]) => hasMatrix(results, metricMatrix(metric)))
  if (metrics.length === 0) return ''
  const rows = methodsOf(results).map((method) => [
    method,
    ...metrics.map(([metric, { better }]) => {
      const { forgetting, unknown } = transferOf(results, method, metricMatrix(metric), better)
      return forgetting === undefined ? unknown : formatCell(forgetting)
    }),
  ])
  const table = {
    title: [
      'Forgetting: how much worse the earlier tasks are after the last task than at their best, on average over them; lower is better',
      `${countsAlone(results)} real / generated images of a task`,
      overSeeds(results),
    ].join('; '),
    head: ['Method', ...metrics.map(([, { title }]) => title.replace(/ \(.*$/, ''))],
    rows,
  }
  return layouts[layout](table, width)
}

/**
 * A table for each metric that has a value for each class, such as `conditionalAccuracy`: every class after the last task, by method. It is
 * empty where there is none.
 *
 * @param width characters of a line in the layout `text`: what is wider is wrapped. Default: no limit
 *
 * @category Results and reports
 */
export function tablesByClass(results: Results, layout: Layout = 'text', width = unlimited): string {
  checkTable(results, layout, width, 'tablesByClass')
  parseOptions(z.looseObject({ classes: z.array(z.string()) }), results, 'tablesByClass: results')
  const tables = classTables(results).map(({ title, better, task, methods, rows }) => ({
    title: `${title}; each class after task ${task}; ${better} is better; ${overSeeds(results)}`,
    head: ['Class', ...methods, countsHead(rows)],
    rows: rows.map(({ name, cells, counts }) => [
      name,
      ...cells.map((found) => (found === undefined ? '–' : formatCell(found))),
      counts,
    ]),
  }))
  return tables.map((table) => layouts[layout](table, width)).join('\n\n')
}

/** The head of the column of a class's counts. */
export function countsHead(rows: ClassTable['rows']): string {
  return rows[0]?.counts.includes('/') ? 'real / generated images' : 'generated images'
}

/** {@link finalTable}, and the other tables of the end for which there are values; as text, with notes on them. */
export function tablesAtEnd(results: Results, layout: Layout = 'text', width = unlimited): string {
  const all = [finalTable, forgettingTable, tablesByClass, pairedTable].map((table) => table(results, layout, width))
  const tables = all.filter((table) => table !== '').join('\n\n')
  const notes = layout === 'text' ? notesAtEnd(results, tables).flatMap((note) => wrap(note, width)) : []
  return notes.length === 0 ? tables : `${tables}\n\n${notes.join('\n')}`
}

/**
 * What learning a task cost on average: wall time, steps, and calls of the teacher's network in each step. Over the tasks after the
 * first, if there are any: in that one there is nothing to remember yet, and some methods take it over from another.
 */
export function costOf(results: Results, method: string): { seconds: number; steps: number; teacherCalls: number } {
  const tasks = results.runs.filter((run) => run.method === method).flatMap((run) => run.tasks)
  const later = tasks.filter(({ task }) => task > 1)
  // A first task that was taken over from another method cost nothing, which says nothing of this one.
  const own = later.length > 0 ? later : tasks.filter(({ sharedFrom }) => sharedFrom === undefined)
  const steps = own.reduce((sum, task) => sum + task.steps, 0)
  return {
    seconds: own.reduce((sum, { seconds }) => sum + seconds.learn, 0) / own.length,
    steps: steps / own.length,
    teacherCalls: own.reduce((sum, task) => sum + task.teacherCalls * task.steps, 0) / steps,
  }
}

/** `a`, `a and b`, `a, b and c`. */
export function enumerate(parts: readonly string[]): string {
  return parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`
}

export function overSeeds(results: Results): string {
  const seeds = seedsOf(results)
  const last = tasksOf(results).at(-1) ?? 0
  const bySeeds = new Map<string, string[]>()
  for (const method of methodsOf(results)) {
    const own = tasksAt(results, method, last)
      .map(({ run }) => run.seed)
      .join(', ')
    if (own !== '') bySeeds.set(own, [...(bySeeds.get(own) ?? []), method])
  }
  const interval = hasIntervals(results) ? ' [95 % interval over generated images]' : ''
  if (seeds.length === 1) return `seed ${seeds[0]}${interval}`
  if (bySeeds.size < 2) return `mean ± standard error over seeds ${seeds.join(', ')}`
  // Runs side by side, or one that was stopped in between.
  const each = [...bySeeds].map(([own, methods]) => `${own} of ${enumerate(methods)}`)
  return `mean ± standard error${interval && `, of one seed${interval}`}, over seeds ${each.join('; ')}`
}

function hasIntervals({ runs }: Results): boolean {
  return runs.some(({ tasks }) => tasks.some((task) => Object.values(task.metrics).some(({ interval }) => interval)))
}

export const layouts: Readonly<Record<Layout, (table: PlainTable, width: number) => string>> = {
  text: plainText,
  markdown,
}

function markdown({ title, head, rows }: PlainTable): string {
  const line = (row: readonly string[]) => `| ${row.map(escapeMarkdown).join(' | ')} |`
  const rule = `| ${head.map((_, i) => (i === 0 ? ':---' : '---:')).join(' | ')} |`
  return [`**${escapeMarkdown(title)}**`, '', line(head), rule, ...rows.map(line)].join('\n')
}
