import { denoisingChart, frequencyChart, lossChart } from '../charts.js'
import { details, inline } from '../html.js'
import type { LossCurve, Results } from '../results.js'
import { seedsOf, tasksOf } from '../summary.js'

/** Class frequencies after the last task. */
export function frequenciesSection(results: Results): string {
  // Several metrics may be made of the same frequencies.
  const metric = Object.keys(results.metrics).find((name) =>
    results.runs.some((run) => run.tasks.some((task) => task.metrics[name]?.detail?.generated)),
  )
  if (metric === undefined) return ''
  return `<section id="frequencies">
<h2>How often each class is drawn after task ${tasksOf(results).at(-1)}</h2>
<p class="note">Labels of the generated images are the classifier's.</p>
<figure class="scroll" tabindex="0">${inline(frequencyChart(results, metric))}</figure>
</section>`
}

/** The denoising loss on held-out images after the last task. */
export function denoisingSection(results: Results): string {
  const last = tasksOf(results).at(-1)
  if (!results.runs.some(({ tasks }) => tasks.some(({ task, denoising }) => task === last && denoising))) return ''
  return `<section id="denoising">
<h2>At which noise levels something is lost</h2>
<p class="note">The denoising loss after task ${last} on test images of all tasks, by timestep: the small ones are fine detail, the large ones
the coarse layout. Lower is better.</p>
<figure class="loss">${inline(denoisingChart(results))}</figure>
</section>`
}

/** The loss of every method over the steps of all tasks. */
export function lossSection(results: Results, curves: readonly LossCurve[]): string {
  const seeds = seedsOf(results).filter((seed) => curves.some((curve) => curve.seed === seed))
  const [first, ...others] = seeds.map((seed) => ({ seed, html: chart(results, curves, seed) }))
  if (first === undefined) return ''
  return `<section id="losses">
<h2>Training loss</h2>
<p class="note">Each method minimises a sum of its own, so that the heights of two curves say nothing about each other; their
course does. Dashed lines are where a task ends.</p>
${first.html}
${others.map(({ seed, html }) => details(`Losses of seed ${seed}`, html)).join('\n')}
</section>`
}

function chart(results: Results, curves: readonly LossCurve[], seed: number): string {
  return `<figure class="loss">${inline(lossChart(results, curves, seed))}<figcaption>Seed ${seed}</figcaption></figure>`
}
