import { classTables } from '../by-class.js'
import { seriesOf } from '../colors.js'
import { escapeXml as e } from '../escape.js'
import { details, methodName } from '../html.js'
import type { MethodRun, Results } from '../results.js'
import { methodsOf, readable, seedsOf, tasksOf } from '../summary.js'

/** Pictures by the paths that the results name: PNG or WebP files. */
export type Grids = ReadonlyMap<string, Uint8Array>

/** What every method draws after every task, beside real images of the task. */
export function samplesSection(results: Results, grids: Grids, areLossy = false): string {
  const seeds = seedsOf(results)
  const [first, ...others] = seeds.map((seed) => ({ seed, html: sampleGrid(results, seed, grids) }))
  if (first === undefined) return ''
  return `<section id="samples">
<h2>What each model draws</h2>
<p class="note">Every picture is a random batch drawn right after a task was learned, with the same random numbers for
every method, none chosen by hand. A model that forgets nothing goes on drawing the classes of all rows above.${
    classTables(results).length > 0
      ? ' The models take labels: each line of a picture is one class that was asked for.'
      : ''
  }${seeds.length > 1 ? ` Seed ${first.seed}; the other seeds are below.` : ''}${
    areLossy
      ? ' So that the page stays small, the pictures here are compressed with loss; the run folder has the exact ones.'
      : ''
  }</p>
${first.html}
${others.map(({ seed, html }) => details(`Samples of seed ${seed}`, html)).join('\n')}
</section>`
}

function sampleGrid(results: Results, seed: number, grids: Grids): string {
  const runs = results.runs.filter((run) => run.seed === seed)
  const labels = methodsOf(results).filter((label) => runs.some((run) => run.method === label))
  const seriesNumber = seriesOf(methodsOf(results))
  const about = new Map(results.methods.map((method) => [method.label, method.about]))
  const head = labels.map(
    (label) =>
      `<div class="column-head"><h3>${methodName(label, seriesNumber(label))}</h3><p>${e(about.get(label) ?? '')}</p></div>`,
  )
  const rows = tasksOf(results).map((number) => {
    const known = runs.flatMap((run) => run.tasks.find((task) => task.task === number) ?? [])[0]
    if (known === undefined) return ''
    const real = picture(known.realSamples, `Real test images: ${known.name}`, 0, grids)
    const cells = labels.map((label, m) => {
      const task = taskOf(runs, label, number)
      if (task === undefined) return '<div class="missing">–</div>'
      return picture(task.samples, `${readable(label)} after task ${number}, seed ${seed}`, m + 1, grids, task.rows)
    })
    return `<div class="row-head" data-task="${number}"><h3>Task ${number}</h3><p>${e(known.name)}</p></div>
${[real, ...cells].map((html) => `<div data-task="${number}">${html}</div>`).join('\n')}`
  })
  return `<div class="scroll wide" tabindex="0" role="group" aria-label="Samples of seed ${seed}" style="--columns: ${labels.length + 1}"><div class="samples">
<div class="row-head"></div><div class="column-head"><h3>New images</h3><p>Real test images of what the task brings.</p></div>
${head.join('\n')}
${rows.join('\n')}
</div></div>`
}

function taskOf(runs: readonly MethodRun[], label: string, number: number) {
  return runs.find((run) => run.method === label)?.tasks.find((task) => task.task === number)
}

/**
 * @param column of the table that it stands in
 * @param rows names of the classes of its rows, from top to bottom
 */
function picture(path: string, alt: string, column: number, grids: Grids, rows: readonly string[] = []): string {
  const file = grids.get(path)
  if (file === undefined) return '<div class="missing">–</div>'
  const names = rows.map((name) => `<li>${e(name)}</li>`).join('')
  const kind = file[0] === png ? 'png' : 'webp'
  return `<div class="picture">${names === '' ? '' : `<ol class="rows">${names}</ol>`}<img loading="lazy" decoding="async" data-column="${column}" alt="${e(alt)}" src="data:image/${kind};base64,${Buffer.from(file).toString('base64')}"></div>`
}

/** The first byte of a PNG file. */
const png = 0x89
