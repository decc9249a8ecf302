import { classTables } from '../by-class.js'
import { metricChart } from '../charts.js'
import { seriesOf } from '../colors.js'
import { escapeXml as e } from '../escape.js'
import { metricMatrix, transferOf } from '../forgetting.js'
import { details, inline, methodName, table } from '../html.js'
import { whyMissing } from '../notes.js'
import { pairedRows } from '../paired.js'
import type { Results } from '../results.js'
import { type Cell, cell, dagger, formatCell, inSentence, methodsOf, seedsOf, tasksOf } from '../summary.js'
import { countsHead, formatDifference, type MetricTable, metricTables, overSeeds, referenceOf } from '../table.js'

/** Every metric after the last task in one table, then each against the task. */
export function numbersSection(results: Results): string {
  const last = tasksOf(results).at(-1)
  if (last === undefined) return ''
  const metrics = Object.keys(results.metrics)
  const tables = metricTables(results)
  const charts = metrics.map(
    (metric, i) => `<div class="metric">
<h3>${e(tables[i]!.title)} <span>${tables[i]!.better} is better</span></h3>
<figure>${inline(metricChart(results, metric))}</figure>
${details('Values', tableByTask(tables[i]!))}
</div>`,
  )
  const marked = tables.flatMap(({ rows }) => rows.flatMap(({ cells }) => cells.flatMap((c) => c?.notes ?? [])))
  const missing = whyMissing(
    results,
    results.runs.flatMap(({ tasks }) => tasks),
  )
  const notes = [...new Set(marked.map((note) => `${dagger} ${note}`)), ...missing]
  return `<section id="numbers">
<h2>The numbers after task ${last}</h2>
<p class="note">Generated images against the test images of all classes seen so far${overNote(results)}. The best value of each
column is set in bold, which says nothing about how sure it is. The row of real training images is what a generator as good as the data
would have. Numbers are comparable with each other, and with no table elsewhere that was computed in other features or from
other counts of images.</p>
${finalTableHtml(results, last)}
${pairedHtml(results)}
${notes.length === 0 ? '' : `<ul class="note">${notes.map((note) => `<li>${e(note)}</li>`).join('')}</ul>`}
</section>
<section id="by-task">
<h2>From task to task</h2>
<div class="charts">${charts.join('\n')}</div>
</section>
${classesSection(results)}`
}

/** The metrics of each class after the last task. */
function classesSection(results: Results): string {
  const tables = classTables(results)
  if (tables.length === 0) return ''
  const parts = tables.map(({ title, better, methods, rows }) => {
    const seriesNumber = seriesOf(methods)
    const lines = rows.map(({ name, counts, cells }) => [e(name), ...bold(cells, better), counts])
    return `<h3>${e(title)} <span>${better} is better</span></h3>
${table({
  head: ['Class', ...methods.map((method) => methodName(method, seriesNumber(method))), countsHead(rows)],
  rows: lines,
})}`
  })
  return `<section id="by-class">
<h2>Class by class after task ${tables[0]!.task}</h2>
<p class="note">Images that were asked for as each class${overNote(results)}. The best value of each row is set in bold.</p>
${parts.join('\n')}
</section>`
}

function overNote(results: Results): string {
  return seedsOf(results).length > 1 ? `; ${overSeeds(results)}; the bars in the charts show the same error` : ''
}

function finalTableHtml(results: Results, last: number): string {
  const methods = methodsOf(results)
  const seriesNumber = seriesOf(methods)
  const columns = Object.entries(results.metrics).map(([metric, { title, better }]) => {
    const cells = methods.map((method) => cell(results, metric, method, last))
    const known = cells.find((c) => c !== undefined)
    const counts = known === undefined ? '–' : `${known.real} / ${known.generated}`
    const reference = referenceOf(results, metric, last)
    return { head: head(title, better), counts, reference, cells: bold(cells, better) }
  })
  const forgotten = Object.entries(results.metrics).flatMap(([metric, { title, better }]) => {
    const found = methods.map((method) => transferOf(results, method, metricMatrix(metric), better))
    const means = found.map(({ forgetting }) => forgetting)
    if (means.every((mean) => mean === undefined)) return []
    return [
      {
        head: head(`Forgetting: ${title.replace(/ \(.*$/, '')}`, 'lower'),
        counts: '',
        reference: '',
        cells: bold(
          means,
          'lower',
          found.map(({ unknown }) => unknown),
        ),
      },
    ]
  })
  const all = [...columns, ...forgotten.slice(0, 1)]
  const references = all.some(({ reference }) => reference !== '')
    ? [['Real training images', ...all.map(({ reference }) => reference)]]
    : []
  return table({
    head: ['Method', ...all.map((column) => column.head)],
    rows: [
      ...methods.map((label, m) => [methodName(label, seriesNumber(label)), ...all.map(({ cells }) => cells[m]!)]),
      ...references,
    ],
    foot: ['Images, real / generated', ...all.map(({ counts }) => counts)],
  })
}

/** How each method differs from the first, seed by seed. */
function pairedHtml(results: Results): string {
  const { baseline, rows } = pairedRows(results)
  if (rows.length === 0) return ''
  const methods = methodsOf(results)
  const html = table({
    head: ['Method', ...Object.values(results.metrics).map(({ title, better }) => head(title, better))],
    rows: rows.map(({ method, differences }) => [
      methodName(method, seriesOf(methods)(method)),
      ...differences.map(formatDifference),
    ]),
  })
  return `<h3>Difference to ${e(inSentence(baseline))} <span>in percent of its mean, with the 95 % interval; paired by seed</span></h3>
${html}`
}

function tableByTask({ better, tasks, rows }: MetricTable): string {
  const seriesNumber = seriesOf(rows.map(({ method }) => method))
  const columns = tasks.map((_, t) =>
    bold(
      rows.map(({ cells }) => cells[t]),
      better,
    ),
  )
  return table({
    head: ['After task', ...tasks.map(({ task, name }) => `${task}${name === '' ? '' : ` <span>${e(name)}</span>`}`)],
    rows: rows.map(({ method }, m) => [
      methodName(method, seriesNumber(method)),
      ...columns.map((column) => column[m]!),
    ]),
    foot: ['Images, real / generated', ...tasks.map(({ counts }) => `${counts.real} / ${counts.generated}`)],
  })
}

/** The features stand in brackets, on a line of their own. */
function head(title: string, better: 'lower' | 'higher'): string {
  const [, name = title, features = ''] = /^(.*?)(?: \((.*)\))?$/.exec(title) ?? []
  return `${e(name)}\u00a0${better === 'lower' ? '↓' : '↑'}${features === '' ? '' : `<span>${e(features)}</span>`}`
}

/** Values as HTML, the best one bold, unless several are. */
function bold(
  cells: readonly ((Pick<Cell, 'mean' | 'error'> & Partial<Cell>) | undefined)[],
  better: 'lower' | 'higher',
  unknown: readonly string[] = [],
): string[] {
  const means = cells.flatMap((c) => (c === undefined ? [] : [c.mean]))
  const best = better === 'lower' ? Math.min(...means) : Math.max(...means)
  const alone = means.length > 1 && means.filter((mean) => mean === best).length === 1
  return cells.map((c, i) => {
    if (c === undefined) return unknown[i] ?? '–'
    return dataOf(c, alone && c.mean === best)
  })
}

/** A value as it is shown, with all its digits for the CSV file. */
function dataOf(c: Pick<Cell, 'mean' | 'error'> & Partial<Cell>, isBest: boolean): string {
  const text = isBest ? `<strong>${formatCell(c)}</strong>` : formatCell(c)
  const { mean, error, interval } = c
  const bounds = interval ? ` data-low="${interval[0]}" data-high="${interval[1]}"` : ''
  return `<data value="${mean}"${error === undefined ? '' : ` data-error="${error}"`}${bounds}>${text}</data>`
}
