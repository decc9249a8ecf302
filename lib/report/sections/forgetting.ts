import { seriesOf } from '../colors.js'
import { escapeXml as e } from '../escape.js'
import {
  countsAlone,
  hasMatrix,
  type MatrixOf,
  type MeanMatrix,
  meanMatrix,
  metricMatrix,
  solverMatrix,
  transferOf,
} from '../forgetting.js'
import { details, methodName, table } from '../html.js'
import type { Results } from '../results.js'
import { formatCell, formatNumber, methodsOf, tasksOf } from '../summary.js'

/** How each metric stands on every task by itself after every later one, and what that makes of forgetting. */
export function forgettingSection(results: Results): string {
  const metrics = Object.entries(results.metrics).filter(([metric]) => hasMatrix(results, metricMatrix(metric)))
  const counts = countsAlone(results)
  const parts = metrics.map(([metric, { title, better }]) =>
    matrices(results, title, better, metricMatrix(metric), counts),
  )
  const solver = hasMatrix(results, solverMatrix)
    ? `<section id="solver">
<h2>What the solver knows</h2>
<p class="note">A classifier that learns the same tasks, the earlier ones through what each model replays: the share of test images of
each task that it classifies rightly, among all classes.</p>
${matrices(results, 'Accuracy of the solver', 'higher', solverMatrix)}
</section>`
    : ''
  const [first, ...others] = parts
  if (first === undefined) return solver
  return `<section id="forgetting">
<h2>What was forgotten</h2>
<p class="note">Each row is after a task, each column one task's test images by themselves, against the generated images of that
task's classes: as the classifier sees them or, of a model that takes labels, those that were asked for. Going down a column shows how a task fares while later ones are learned: it grows
redder where it is forgotten. A dash is where there were too few images of a task to measure anything: too few test images or, which is forgetting at its fullest, too few generated ones.
How many there were stands below.</p>
${first}
${others.map((html, i) => details(metrics[i + 1]![1].title, html)).join('\n')}
</section>
${solver}`
}

function matrices(
  results: Results,
  title: string,
  better: 'lower' | 'higher',
  matrixOf: MatrixOf,
  counts = '',
): string {
  const seriesNumber = seriesOf(methodsOf(results))
  const found = methodsOf(results).flatMap((method) => {
    const m = seriesNumber(method)
    const matrix = meanMatrix(results, method, matrixOf)
    return matrix === undefined ? [] : [{ method, m, matrix, ...transferOf(results, method, matrixOf, better) }]
  })
  const shade = shadeOf(
    found.map(({ matrix }) => matrix),
    better,
  )
  const maps = found.map(
    ({ method, m, matrix }) => `<figure class="heat"><figcaption>${methodName(method, m)}</figcaption>
${heatMap(matrix, tasksOf(results), shade)}</figure>`,
  )
  return `<h3 class="matrix-title">${e(title)} <span>${better} is better; redder is worse</span></h3>
<div class="heats">${maps.join('\n')}</div>
${table({
  head: ['Mean over the earlier tasks', 'Forgetting\u00a0↓', 'Backward transfer\u00a0↑'],
  rows: found.map(({ method, m, forgetting, backwardTransfer, unknown }) => [
    methodName(method, m),
    forgetting === undefined ? unknown : formatCell(forgetting),
    backwardTransfer === undefined ? unknown : formatCell(backwardTransfer),
  ]),
})}${counts === '' ? '' : `<p class="note">Images of a task after the last one, real / generated: ${counts}.</p>`}`
}

function heatMap(matrix: MeanMatrix, tasks: readonly number[], shade: (value: number) => number): string {
  const rows = matrix.map((row, k) => {
    const cells = tasks.map((_, j) => {
      const value = row[j]
      if (value === undefined) return '<td class="empty"></td>'
      if (value === null) return '<td class="unknown">–</td>'
      const percent = Math.round(100 * shade(value))
      return `<td class="cell" style="--shade: ${percent}%">${formatNumber(value)}</td>`
    })
    return `<tr><th scope="row">${tasks[k]}</th>${cells.join('')}</tr>`
  })
  return `<table><thead><tr><th scope="col">after ╲ of</th>${tasks.map((task) => `<th scope="col">${task}</th>`).join('')}</tr></thead>
<tbody>${rows.join('\n')}</tbody></table>`
}

/** From a value to 0 (the best of all that are shown) … 1 (the worst), by its logarithm where values span magnitudes. */
function shadeOf(matrices: readonly MeanMatrix[], better: 'lower' | 'higher'): (value: number) => number {
  const values = matrices.flatMap((matrix) => matrix.flat()).filter((value) => value !== null)
  // Not `Math.min(...values)`: with many tasks they are more than a call can have arguments.
  const least = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)
  const most = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  if (!(most > least)) return () => 0
  const scale = least > 0 && most / least > 20 ? Math.log : (value: number) => value
  const share = (value: number) => (scale(value) - scale(least)) / (scale(most) - scale(least))
  return better === 'lower' ? share : (value) => 1 - share(value)
}
