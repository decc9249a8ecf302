import { seriesColor, seriesOf } from '../colors.js'
import { duration, methodName, table } from '../html.js'
import type { Results } from '../results.js'
import { formatNumber, methodsOf } from '../summary.js'
import { costOf } from '../table.js'

/** What each method's learning cost. */
export function costSection(results: Results): string {
  const methods = methodsOf(results)
  if (methods.length === 0) return ''
  const seriesNumber = seriesOf(methods)
  const costs = methods.map((method) => costOf(results, method))
  const longest = Math.max(...costs.map(({ seconds }) => seconds))
  const bar = (m: number) => {
    const width = longest > 0 ? ((100 * costs[m]!.seconds) / longest).toFixed(1) : '0'
    return `<i class="bar" style="width: ${width}%; background: var(--${seriesColor(seriesNumber(methods[m]!))})"></i>`
  }
  const shared = results.runs.some((run) => run.tasks.some(({ sharedFrom }) => sharedFrom !== undefined))
  return `<section id="cost">
<h2>What it cost</h2>
<p class="note">Averages over the tasks after the first, where there are any. A teacher call is one pass of the frozen network over a batch;
the student's own pass and its gradient come on top.${
    shared
      ? ' The first task was trained once for each seed and taken over by the other methods, as with nothing to remember yet their objectives are the same.'
      : ''
  }</p>
${table({
  head: [
    'Method',
    'Time for a task',
    '<span class="unseen">as a bar</span>',
    'Steps a task',
    'Steps per second',
    'Teacher calls a step',
  ],
  rows: methods.map((label, m) => {
    const { seconds, steps, teacherCalls } = costs[m]!
    return [
      methodName(label, seriesNumber(label)),
      duration(seconds),
      `<div class="bars">${bar(m)}</div>`,
      formatNumber(steps).replace(/\.0+$/, ''),
      seconds > 0 ? formatNumber(steps / seconds) : '–',
      formatNumber(teacherCalls),
    ]
  }),
})}
</section>`
}
