import { escapeXml as e } from '../escape.js'
import { details, duration } from '../html.js'
import type { Results } from '../results.js'
import { readable } from '../summary.js'

/** A run folder that a page is made of. */
export interface Source {
  /** The folder's name. */
  readonly name: string
  /** Its path. */
  readonly folder: string
  /** When the run began; undefined where that is not known. */
  readonly begun: Date | undefined
  readonly results: Results
  /** The run's configuration as resolved; shown as JSON. */
  readonly config: unknown
}

/** What is needed to judge the numbers and to get them again. */
export function makingSection(sources: readonly Source[]): string {
  const parts = sources.map((source) => {
    const { name, results, config } = source
    const facts = [...originOf(source), ...factsOf(results)].map(
      ([term, text]) => `<dt>${e(term)}</dt><dd>${e(text)}</dd>`,
    )
    return `${sources.length > 1 ? `<h3>${e(name)}</h3>` : ''}
<dl>${facts.join('\n')}</dl>
${details('Configuration', `<pre tabindex="0">${e(JSON.stringify(config, null, 2))}</pre>`, true)}`
  })
  return `<section id="making">
<h2>How it was made</h2>
${parts.join('\n')}
</section>`
}

/** When a run began, and how to run it again. */
export function originOf({ folder, begun }: Source): [string, string][] {
  return [
    ...(begun === undefined
      ? []
      : [['Begun', `${begun.toISOString().slice(0, 16).replace('T', ' ')} UTC`] as [string, string]]),
    ['To run it again', `npx continual-diffusion run '${`${folder}/config.json`.replaceAll("'", "'\\''")}'`],
  ]
}

function factsOf({ versions, classifier, parameters, device, precision, runs, methods }: Results): [string, string][] {
  const times = methods.flatMap(({ label }) => {
    const tasks = runs.filter((run) => run.method === label).flatMap((run) => run.tasks)
    const sum = (part: 'learn' | 'evaluate') => tasks.reduce((all, task) => all + task.seconds[part], 0)
    if (tasks.length === 0) return []
    return [`${readable(label)}: ${duration(sum('learn'))} learning, ${duration(sum('evaluate'))} evaluating`]
  })
  return [
    ['Model', `U-Net of ${parameters.toLocaleString('en')} parameters`],
    ['Ran on', `${device} in ${precision}; ${versions.cpu}`],
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
}
