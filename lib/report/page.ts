import { answer } from './answer.js'
import { frequencyChart, lossChart, metricChart } from './charts.js'
import { seriesColor } from './colors.js'
import { escapeXml as e } from './escape.js'
import type { LossCurve, MethodRun, Results } from './results.js'
import { style } from './style.js'
import { formatCell, methodsOf, readable, seedsOf, tasksAt, tasksOf } from './summary.js'
import { type MetricTable, metricTables } from './table.js'

export interface PageContent {
  readonly results: Results
  /** The run's configuration as resolved; shown as JSON. */
  readonly config: unknown
  readonly curves: readonly LossCurve[]
  /** PNG files by the paths that the results name: `samples` and `realSamples` of each task. */
  readonly grids: ReadonlyMap<string, Uint8Array>
}

/**
 * A whole run on one self-contained HTML page: the question and what the numbers answer, the samples of every method
 * after every task, tables, curves, and what is needed to run it again. It has no scripts and loads nothing: pictures
 * are data URIs, charts are inline SVG, light and dark follow the reader's setting.
 *
 * @returns the page's HTML
 */
export function renderPage({ results, config, curves, grids }: PageContent): string {
  const tables = metricTables(results)
  const last = tasksOf(results).at(-1)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${e(results.title)}</title>
<style>${style()}</style>
</head>
<body>
<main>
<header>
<h1>${e(results.title)}</h1>
<p class="question">A diffusion model is taught ${count(last ?? 0, 'task')}, one after the other. What does it still
draw in the end?</p>
${results.complete ? '' : '<p class="warning">This run is not complete: what follows is what it had found so far.</p>'}
${answer(results)
  .map((paragraph) => `<p class="answer">${e(paragraph)}</p>`)
  .join('\n')}
</header>
${samplesSection(results, grids)}
${numbersSection(results, tables)}
${curvesSection(results, curves)}
${makingSection(results, config)}
</main>
</body>
</html>
`
}

function samplesSection(results: Results, grids: ReadonlyMap<string, Uint8Array>): string {
  const seeds = seedsOf(results)
  const [first, ...others] = seeds.map((seed) => ({ seed, html: sampleGrid(results, seed, grids) }))
  if (first === undefined) return ''
  const rest = others.map(({ seed, html }) => `<details><summary>Samples of seed ${seed}</summary>${html}</details>`)
  return `<section>
<h2>What each model draws</h2>
<p class="note">Every picture is a random batch drawn right after a task was learned, with the same random numbers for
every method, none chosen by hand. A model that forgets nothing goes on drawing the classes of all rows above.${
    seeds.length > 1 ? ` Seed ${first.seed}; the other seeds are below.` : ''
  }</p>
${first.html}
${rest.join('\n')}
</section>`
}

function sampleGrid(results: Results, seed: number, grids: ReadonlyMap<string, Uint8Array>): string {
  const methods = methodsOf(results)
  const about = new Map(results.methods.map((method) => [method.label, method.about]))
  const runs = methods.flatMap((label) => results.runs.find((r) => r.seed === seed && r.method === label) ?? [])
  const head = methods.map(
    (label, m) =>
      `<div class="column-head"><h3>${chip(m)}${e(readable(label))}</h3><p>${e(about.get(label) ?? '')}</p></div>`,
  )
  const rows = tasksOf(results).map((number) => {
    const known = runs.flatMap((run) => run.tasks.find((t) => t.task === number) ?? [])[0]
    if (known === undefined) return ''
    const real = picture(known.realSamples, `Real test images: ${known.name}`, grids)
    const cells = methods.map((label) => {
      const task = taskOf(runs, label, number)
      if (task === undefined) return '<div class="missing">–</div>'
      return picture(task.samples, `${readable(label)} after task ${number}, seed ${seed}`, grids)
    })
    return `<div class="row-head"><h3>Task ${number}</h3><p>${e(known.name)}</p></div>
<div>${real}</div>
${cells.map((html) => `<div>${html}</div>`).join('\n')}`
  })
  return `<div class="scroll"><div class="samples" style="--columns: ${methods.length + 1}">
<div></div><div class="column-head"><h3>New images</h3><p>Real test images of the classes that the task brings.</p></div>
${head.join('\n')}
${rows.join('\n')}
</div></div>`
}

function taskOf(runs: readonly MethodRun[], label: string, number: number) {
  return runs.find((run) => run.method === label)?.tasks.find((task) => task.task === number)
}

function picture(path: string, alt: string, grids: ReadonlyMap<string, Uint8Array>): string {
  const png = grids.get(path)
  if (png === undefined) return '<div class="missing">–</div>'
  return `<img alt="${e(alt)}" src="data:image/png;base64,${Buffer.from(png).toString('base64')}">`
}

function numbersSection(results: Results, tables: readonly MetricTable[]): string {
  const metrics = Object.keys(results.metrics)
  const parts = tables.map(
    (table, i) => `<div class="metric">
<div>${tableHtml(table)}</div>
<figure>${inline(metricChart(results, metrics[i]!))}</figure>
</div>`,
  )
  const notes = [
    ...new Set(results.runs.flatMap((run) => run.tasks.flatMap((t) => Object.values(t.metrics).map((m) => m.note)))),
  ].filter((note) => note !== undefined)
  const seeds = seedsOf(results)
  const over = seeds.length > 1 ? `Each value is the mean ± standard deviation over seeds ${seeds.join(', ')}.` : ''
  return `<section>
<h2>The numbers</h2>
<p class="note">Generated images against the test images of all classes seen so far, after each task. Lower is better in
both. The lowest value of each row is set in bold. ${over}</p>
${parts.join('\n')}
${notes.length === 0 ? '' : `<ul class="note">${notes.map((note) => `<li>${e(note)}</li>`).join('')}</ul>`}
</section>`
}

function tableHtml(table: MetricTable): string {
  const rows = table.rows.map((row) => {
    const lowest = Math.min(...row.cells.map((c) => c?.mean ?? Number.POSITIVE_INFINITY))
    const shared = row.cells.filter((c) => c?.mean === lowest).length > 1
    const cells = row.cells.map((c) => {
      if (c === undefined) return '<td>–</td>'
      const text = e(formatCell(c))
      return `<td>${c.mean === lowest && !shared ? `<strong>${text}</strong>` : text}</td>`
    })
    return `<tr><th scope="row">${row.task}${row.name === '' ? '' : ` <span>${e(row.name)}</span>`}</th>${cells.join('')}<td class="counts">${row.counts.real} / ${row.counts.generated}</td></tr>`
  })
  const heads = table.methods.map((label, m) => `<th scope="col">${chip(m)}${e(readable(label))}</th>`)
  return `<div class="scroll"><table>
<caption>${e(table.title)}</caption>
<thead><tr><th scope="col">After task</th>${heads.join('')}<th scope="col" class="counts">Images,<br>real / generated</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table></div>`
}

function curvesSection(results: Results, curves: readonly LossCurve[]): string {
  const frequencies = Object.keys(results.metrics).filter((metric) =>
    results.runs.some((run) => run.tasks.some((task) => task.metrics[metric]?.detail?.generated)),
  )
  const last = tasksOf(results).at(-1)
  const losses = seedsOf(results).filter((seed) => curves.some((curve) => curve.seed === seed))
  const parts = [
    ...frequencies.map(
      (metric) => `<h2>How often each class is drawn after task ${last}</h2>
<p class="note">Labels of the generated images are the classifier's.</p>
<figure>${inline(frequencyChart(results, metric))}</figure>`,
    ),
    ...(losses.length === 0
      ? []
      : [
          `<h2>Training loss</h2>
<p class="note">Each method minimises a sum of its own, so that the heights of two curves say nothing about each other; their
course does. Dashed lines are where a task ends.</p>
<div class="losses">${losses.map((seed) => `<figure>${inline(lossChart(results, curves, seed))}<figcaption>Seed ${seed}</figcaption></figure>`).join('\n')}</div>`,
        ]),
  ]
  return `<section>${parts.join('\n')}</section>`
}

function makingSection(results: Results, config: unknown): string {
  const { versions, classifier } = results
  const times = methodsOf(results).map((label) => {
    const tasks = results.runs.filter((run) => run.method === label).flatMap((run) => run.tasks)
    const sum = (part: 'learn' | 'evaluate') => tasks.reduce((all, task) => all + task.seconds[part], 0)
    return `${readable(label)}: ${duration(sum('learn'))} learning, ${duration(sum('evaluate'))} evaluating`
  })
  const shared = methodsOf(results).some((label) =>
    tasksOf(results).some((number) =>
      tasksAt(results, label, number).some(({ task }) => task.sharedFrom !== undefined),
    ),
  )
  const facts: [string, string][] = [
    ['Model', `U-Net of ${results.parameters.toLocaleString('en')} parameters`],
    ['Ran on', `${results.device} in ${results.precision}; ${versions.cpu}`],
    [
      'Classifier of the metrics',
      `${classifier.name}, ${classifier.features} features, ${(classifier.accuracy * 100).toFixed(1)} % right on the test images`,
    ],
    ['Time', times.join('; ')],
    [
      'Versions',
      `continual-diffusion ${versions.package}, libtorch ${versions.libtorch}${versions.cuda === null ? '' : ` (CUDA ${versions.cuda})`}, Node ${versions.node}, ${versions.platform}`,
    ],
  ]
  if (shared) {
    facts.push([
      'First task',
      'Trained once for each seed and taken over by the other methods: with nothing to remember yet, their objectives are the same.',
    ])
  }
  return `<section>
<h2>How it was made</h2>
<dl>${facts.map(([term, text]) => `<dt>${e(term)}</dt><dd>${e(text)}</dd>`).join('\n')}</dl>
<details><summary>Configuration</summary><pre>${e(JSON.stringify(config, null, 2))}</pre></details>
</section>`
}

function chip(n: number): string {
  return `<i class="chip" style="background: var(--${seriesColor(n)})"></i>`
}

/** HTML needs no namespaces on inline SVG; what scales is the view box. */
function inline(svg: string): string {
  return svg.replace(/ xmlns(:xlink)?="[^"]*"/g, '').replace(/(<svg [^>]*?) width="\d+" height="\d+"/, '$1')
}

function count(n: number, noun: string): string {
  const words = ['no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten']
  return `${words[n] ?? n} ${noun}${n === 1 ? '' : 's'}`
}

function duration(seconds: number): string {
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  return `${Math.floor(whole / 60)} min ${whole % 60} s`
}
