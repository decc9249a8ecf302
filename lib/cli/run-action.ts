import path from 'node:path'
import type { Group } from '../engine/group.js'
import { ContinualDiffusionError, messageOf } from '../errors.js'
import { type ExperimentInput, resolveExperiment } from '../experiment/config.js'
import { type RunOptions, type RunOutcome, resumeExperiment, runExperiment } from '../experiment/run.js'
import { methodsOf, seedsOf } from '../report/summary.js'
import { tablesAtEnd } from '../report/table.js'
import { asGroup } from './as-group.js'
import { readExperiment } from './experiment.js'
import { Interrupted } from './interrupt.js'
import { lineWidth, print, say } from './output.js'
import { jsonDisplay, quietDisplay, type RunDisplay, runDisplay } from './run-display.js'

/** What the command line may give. */
export interface RunCommandOptions {
  data?: string
  tasks?: number[]
  dataFolder?: string
  method?: string[]
  seed?: number[]
  steps?: number
  epochs?: number
  batchSize?: number
  lr?: number
  device?: string
  precision?: string
  threads?: number
  log?: string
  out?: string
  part?: { number: number; of: number }
}

/** What it may say of a run as a whole, a resumed one too. */
export interface Shown {
  resume?: string
  markdown?: boolean
  quiet?: boolean
  json?: boolean
  watch?: boolean
  port?: number
}

/** Runs an experiment, or goes on with one, and prints what came of it. */
export async function run(
  experiment: string,
  options: RunCommandOptions,
  shown: Shown,
  signal: AbortSignal,
): Promise<void> {
  await asGroup((group) => runAs(group, experiment, options, shown, signal))
}

async function runAs(
  group: Group,
  experiment: string,
  options: RunCommandOptions,
  { resume, markdown, quiet, json, watch, port = 0 }: Shown,
  signal: AbortSignal,
): Promise<void> {
  const isFirst = group.rank === 0
  const start = async (events: RunOptions) =>
    resume === undefined
      ? runExperiment(await group.firstThenOthers(() => readInput(experiment, options), signal), events)
      : resumeExperiment(resume, events)
  const display = json ? jsonDisplay(process.stdout) : quiet ? quietDisplay(process.stderr) : runDisplay(process.stderr)
  let folder = ''
  let watching: Promise<{ close(): Promise<void> } | undefined> | undefined
  try {
    const outcome: RunOutcome = await start({
      signal,
      ...(group.size > 1 && { group }),
      onEvent: (event) => {
        if (!isFirst) return
        if (event.kind === 'folder') {
          folder = event.folder
          // A page that can't be served is no reason to end the run.
          if (watch) watching = watched(folder, port, display)
        }
        display.show(event)
      },
    })
    display.end()
    if (!isFirst) return
    if (folder === '') {
      if (json) display.show({ kind: 'end', state: 'complete', message: undefined })
      else say('this run is already complete')
    }
    if (json) return
    const { results } = outcome
    if (markdown) {
      print(tablesAtEnd(results, 'markdown'))
      return
    }
    const grids = methodsOf(results).map((method) => path.join(outcome.folder, 'samples', method))
    print(
      [
        '',
        tablesAtEnd(results, 'text', lineWidth()),
        '',
        `Samples   ${grids.map((grid) => path.join(grid, seedsOf(results).length > 1 ? 'seed-*' : `seed-${seedsOf(results)[0]}`)).join('\n          ')}`,
        `Results   ${path.join(outcome.folder, 'results.json')}`,
        `Page      ${outcome.page}`,
      ].join('\n'),
    )
  } catch (error) {
    display.end()
    if (error instanceof Interrupted && folder !== '') {
      say(`The results so far are in ${folder}; to resume: continual-diffusion run --resume ${folder}`)
    }
    throw error
  } finally {
    await (await watching)?.close()
  }
}

/** A page that can't be served is no reason to end the run. */
async function watched(
  folder: string,
  port: number,
  display: RunDisplay,
): Promise<{ close(): Promise<void> } | undefined> {
  try {
    const { watchRun } = await import('./watch-action.js')
    const watching = await watchRun(folder, port)
    display.pause()
    say(`watch at ${watching.address}`)
    return watching
  } catch (error) {
    display.pause()
    say(`warning: no page is served: ${messageOf(error)}`)
    return undefined
  }
}

async function readInput(experiment: string, options: RunCommandOptions): Promise<ExperimentInput> {
  const named = await readExperiment(experiment)
  // Checked before the options are put in, so that messages name the file.
  if (options.data === undefined && options.dataFolder === undefined) resolveExperiment(named, experiment)
  try {
    const input = withOptions(named, options)
    resolveExperiment(input, experiment)
    return input
  } catch (error) {
    if (!(error instanceof ContinualDiffusionError)) throw error
    throw new ContinualDiffusionError(error.code, asTyped(error.message, options), { cause: error })
  }
}

/** What the options of the command line are in an experiment. */
const keys = {
  'train.steps': ['--steps', 'steps'],
  'train.epochs': ['--epochs', 'epochs'],
  'train.batchSize': ['--batch-size', 'batchSize'],
  'train.lr': ['--lr', 'lr'],
  'stream.tasks': ['--tasks', 'tasks'],
  // A data set that is named on the command line needs its folder there.
  'data.folder': ['--data-folder', 'data'],
  'data.name': ['--data', 'data'],
  device: ['--device', 'device'],
  precision: ['--precision', 'precision'],
  threads: ['--threads', 'threads'],
} as const

/** A message that names the options that were given as they were typed. */
function asTyped(message: string, options: RunCommandOptions): string {
  return Object.entries(keys).reduce(
    (text, [key, [option, given]]) =>
      options[given] === undefined
        ? text
        : text.replaceAll(new RegExp(`(?<![\\w.])${key.replace('.', '\\.')} is `, 'g'), `${option} is `),
    message,
  )
}

/**
 * What the command line gives takes the place of what the experiment says; a method that it configures keeps its options and is
 * named by its label.
 */
export function withOptions(input: ExperimentInput, options: RunCommandOptions): ExperimentInput {
  const { method, seed, device, precision, threads, log, out, part, data, dataFolder, tasks, ...train } = options
  const changed: Record<string, unknown> = { ...input }
  if (Object.keys(train).length > 0) {
    const before: Record<string, unknown> = { ...input.train }
    if (train.steps !== undefined) delete before.epochs
    if (train.epochs !== undefined) delete before.steps
    changed.train = { ...before, ...train }
  }
  if (data !== undefined || dataFolder !== undefined) {
    // Of another data set than the experiment's only the name is known.
    const before = data === undefined || Array.isArray(input.data) ? {} : { ...input.data }
    changed.data = {
      ...(data === undefined ? input.data : before.name === data ? before : { name: data }),
      ...(dataFolder === undefined ? {} : { folder: dataFolder }),
    }
  }
  if (tasks !== undefined) changed.stream = { ...input.stream, tasks: tasks.length === 1 ? tasks[0] : tasks }
  for (const [key, value] of Object.entries({ seeds: seed, device, precision, threads, log, out, part })) {
    if (value !== undefined) changed[key] = value
  }
  if (method !== undefined) {
    const configured = resolveExperiment(changed as ExperimentInput).methods
    changed.methods = method.map((name) => configured.find(({ label }) => label === name) ?? name)
  }
  return changed as ExperimentInput
}
