import { answer } from './answer.js'
import { escapeXml as e } from './escape.js'
import type { LossCurve, Results } from './results.js'
import { contentPolicy, script } from './script.js'
import { costSection } from './sections/cost.js'
import { denoisingSection, frequenciesSection, lossSection } from './sections/curves.js'
import { forgettingSection } from './sections/forgetting.js'
import { makingSection, originOf, type Source } from './sections/making.js'
import { numbersSection } from './sections/numbers.js'
import { type Grids, samplesSection } from './sections/samples.js'
import { style } from './style.js'
import { inWords, tasksOf } from './summary.js'

export interface PageContent {
  readonly results: Results
  /** The run folders that the results are from. */
  readonly sources: readonly Source[]
  readonly curves: readonly LossCurve[]
  /** Pictures by the paths that the results name: `samples` and `realSamples` of each task. */
  readonly grids: Grids
  /** Whether the pictures are compressed with loss. Default false. */
  readonly areLossy?: boolean
}

/**
 * A run, or several joined, on one self-contained HTML page: the question and what the numbers answer, the samples of every
 * method after every task, tables, curves, what was forgotten, the cost, and what is needed to run it again. It loads nothing:
 * pictures are data URIs, charts are inline SVG, light and dark follow the reader's setting. One short script enlarges pictures and makes CSV
 * files; the page allows no other, and shows everything without it.
 *
 * @returns the page's HTML
 */
export function renderPage({ results, sources, curves, grids, areLossy = false }: PageContent): string {
  const tasks = tasksOf(results).at(-1) ?? 0
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${contentPolicy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${e(results.title)}</title>
<style>${style()}</style>
</head>
<body>
<main>
<header>
<h1>${e(results.title)}</h1>
<p class="question">A diffusion model is taught ${inWords(tasks)} ${tasks === 1 ? 'task' : 'tasks'}, one after the other. What does it still
draw in the end?</p>
${results.complete ? '' : '<p class="warning">This run is not complete: what follows is what it had found so far.</p>'}
${answer(results)
  .map((paragraph) => `<p class="answer">${e(paragraph)}</p>`)
  .join('\n')}
${sources
  .map(
    (source) =>
      `<p class="note">${e(
        originOf(source)
          .map((fact) => fact.join(': '))
          .join('. '),
      )}</p>`,
  )
  .join('\n')}
</header>
${samplesSection(results, grids, areLossy)}
${numbersSection(results)}
${forgettingSection(results)}
${frequenciesSection(results)}
${denoisingSection(results)}
${lossSection(results, curves)}
${costSection(results)}
${makingSection(sources)}
</main>
<script type="module">${script}</script>
</body>
</html>
`
}
