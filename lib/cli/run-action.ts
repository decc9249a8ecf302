import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Group } from '../engine/group.js'
import { messageOf } from '../errors.js'
import { type ExperimentInput, resolveExperiment } from '../experiment/config.js'
import { type RunOptions, type RunOutcome, resumeExperiment, runExperiment } from '../experiment/run.js'
import { withModel } from '../experiment/with-model.js'
import { methodsOf, seedsOf } from '../report/summary.js'
import { tablesAtEnd } from '../report/table.js'
import { asTyped, ofFile } from './arguments.js'
import { asGroup } from './as-group.js'
import { asRun } from './as-run.js'
import { isPreset, readExperiment } from './experiment.js'
import { Interrupted } from './interrupt.js'
import { lineWidth, print, say } from './output.js'
import { jsonDisplay, quietDisplay, type RunDisplay, runDisplay } from './run-display.js'
import { typedPort } from './watch.js'

/** What the command line may give. */
export interface RunCommandOptions {
  data?: string
  tasks?: number[]
  dataFolder?: string
  size?: number | [height: number, width: number]
  channels?: number
  from?: string
  method?: string[]
  seed?: number[]
  steps?: number
  epochs?: number
  batchSize?: number
  accumulate?: number
  lr?: number
  lrSchedule?: string
  count?: number
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
  await asGroup((group) => runAs(group, experiment, options, shown, signal), signal)
}

async function runAs(
  group: Group,
  experiment: string,
  options: RunCommandOptions,
  { resume, markdown, quiet, json, watch, port = 0 }: Shown,
  signal: AbortSignal,
): Promise<void> {
  const isFirst = group.rank === 0
  /** Whether what goes wrong is what a file says, where it isn't what was typed. */
  let isOfFile = resume !== undefined
  const start = async (events: RunOptions) => {
    if (resume !== undefined) return resumeExperiment(resume, events)
    const input = await group.firstThenOthers(() => readInput(experiment, options), signal)
    isOfFile = !isPreset(experiment)
    return runExperiment(input, events)
  }
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
      const found = existsSync(path.join(folder, 'results.json'))
        ? 'The results so far are'
        : 'The run, which has no results yet, is'
      say(`${found} in ${folder}; to resume: ${asRun('run', '--resume', folder)}`)
    }
    const found = asTyped(error, typed(options))
    throw found === error && isOfFile ? ofFile(error) : found
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
    const { watchRun } = await import('../experiment/watch-run.js')
    const watching = await watchRun(folder, { port })
    display.pause()
    say(`watch at ${watching.address}`)
    return watching
  } catch (error) {
    display.pause()
    say(`warning: no page is served: ${messageOf(asTyped(error, typedPort))}`)
    return undefined
  }
}

async function readInput(experiment: string, options: RunCommandOptions): Promise<ExperimentInput> {
  const written = await readExperiment(experiment)
  const named = options.from === undefined ? written : await withFrom(written, options.from)
  const problem = (input: ExperimentInput) => {
    try {
      resolveExperiment(input, experiment)
    } catch (error) {
      return error as Error
    }
  }
  const own = problem(named)
  // Before the options are put in, so that messages name the file; what is wrong with the data, or with going on from a model, they may mend.
  if (own !== undefined && [options.data, options.dataFolder, options.from].every((option) => option === undefined)) {
    throw isPreset(experiment) ? own : ofFile(own)
  }
  try {
    const input = withOptions(named, options)
    resolveExperiment(input, experiment)
    return input
  } catch (error) {
    const found = asTyped(error, typed(options))
    throw (error as Error).message === own?.message && !isPreset(experiment) ? ofFile(found) : found
  }
}

/** The experiment with the model of a folder in place of its own network. */
function withFrom(input: ExperimentInput, folder: string): Promise<ExperimentInput> {
  const rest: Record<string, unknown> = { ...input }
  delete rest.unet
  // The schedule of a model that the experiment names was read from there.
  if (rest.from !== undefined) delete rest.schedule
  return withModel({ ...rest, from: folder } as ExperimentInput, 'run').catch((error) =>
    Promise.reject(asTyped(error, { from: '--from' })),
  )
}

/** What the options of the command line are in an experiment. */
const keys = {
  'train.steps': ['--steps', 'steps'],
  'train.epochs': ['--epochs', 'epochs'],
  'train.batchSize': ['--batch-size', 'batchSize'],
  'train.accumulate': ['--accumulate', 'accumulate'],
  'train.lr': ['--lr', 'lr'],
  'train.lrSchedule': ['--lr-schedule', 'lrSchedule'],
  'stream.tasks': ['--tasks', 'tasks'],
  'classIncremental: tasks': ['--tasks', 'tasks'],
  'dataIncremental: tasks': ['--tasks', 'tasks'],
  'evaluation.count': ['--count', 'count'],
  // A data set that is named on the command line needs its folder there.
  'data.folder': ['--data-folder', 'data'],
  'data.name': ['--data', 'data'],
  'unet.sample_size': ['--size', 'size'],
  'unet.in_channels': ['--channels', 'channels'],
  'unet.out_channels': ['--channels', 'channels'],
  methods: ['--method', 'method'],
  seeds: ['--seed', 'seed'],
  device: ['--device', 'device'],
  precision: ['--precision', 'precision'],
  threads: ['--threads', 'threads'],
  log: ['--log', 'log'],
  out: ['--out', 'out'],
} as const

/** The options that were given, by what messages call them. */
function typed(options: RunCommandOptions): Readonly<Record<string, string>> {
  const { data = options.dataFolder } = options
  const given = Object.entries(keys).filter(([, [, option]]) => ({ ...options, data })[option] !== undefined)
  return Object.fromEntries(given.map(([key, [option]]) => [key, option]))
}

/**
 * What the command line gives takes the place of what the experiment says; a method that it configures keeps its options and is
 * named by its label.
 */
export function withOptions(input: ExperimentInput, options: RunCommandOptions): ExperimentInput {
  const {
    method,
    seed,
    device,
    precision,
    threads,
    log,
    out,
    part,
    data,
    dataFolder,
    size,
    channels,
    tasks,
    count,
    from: _,
    ...train
  } = options
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
  if (size !== undefined || channels !== undefined) {
    changed.unet = {
      ...('unet' in input ? input.unet : undefined),
      ...(size !== undefined && { sample_size: size }),
      ...(channels !== undefined && { in_channels: channels, out_channels: channels }),
    }
  }
  if (count !== undefined) changed.evaluation = { ...input.evaluation, count }
  if (tasks !== undefined) changed.stream = { ...input.stream, tasks: tasks.length === 1 ? tasks[0] : tasks }
  for (const [key, value] of Object.entries({ seeds: seed, device, precision, threads, log, out, part })) {
    if (value !== undefined) changed[key] = value
  }
  if (method !== undefined) {
    // Those that are not named need not be able to go on from a model.
    const { from: _, ...fresh } = changed
    const configured = resolveExperiment(fresh as ExperimentInput).methods
    changed.methods = method.map((name) => configured.find(({ label }) => label === name) ?? name)
  }
  return changed as ExperimentInput
}
