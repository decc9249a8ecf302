import path from 'node:path'
import { type Command, Option } from 'commander'
import { ContinualDiffusionError } from '../errors.js'
import type { ExperimentInput } from '../experiment/config.js'
import { resolveExperiment } from '../experiment/config.js'
import { dataNames } from '../experiment/data.js'
import { presetNames } from '../experiment/presets.js'
import { type RunOptions, type RunOutcome, resumeExperiment, runExperiment } from '../experiment/run.js'
import { methodsOf, seedsOf } from '../report/summary.js'
import { tablesAtEnd, tablesByTask } from '../report/table.js'
import { positiveNumber, wholeNumber, wholeNumbers } from './arguments.js'
import { readExperiment } from './experiment.js'
import { Interrupted } from './interrupt.js'
import { runDisplay } from './run-display.js'

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
  out?: string
}

/** What it may say of the run as a whole. */
interface Shown {
  resume?: string
  markdown?: boolean
}

/** Adds the command `run`: a whole experiment from a preset or a configuration file. */
export function registerRun(program: Command, signal: AbortSignal): void {
  program
    .command('run')
    .description('run an experiment: learn a stream of tasks by each method, evaluate, draw, report')
    .argument('[experiment]', `a preset (${presetNames.join(', ')}) or a JSON file`, 'demo')
    .addOption(
      new Option('--data <name>', 'data set, or the format of a folder, instead of the configured one').choices(
        dataNames,
      ),
    )
    .option('--data-folder <folder>', 'folder with the data, e.g. of image-folder <class>/<image>')
    .option('--tasks <counts...>', 'number of tasks, or how many classes each task brings', wholeNumbers(1))
    .option('-m, --method <names...>', 'methods, instead of the configured ones; a configured method keeps its options')
    .option('-s, --seed <seeds...>', 'seeds, instead of the configured ones', wholeNumbers(0))
    .option('--steps <count>', 'training steps for each task', wholeNumber(1))
    .option('--epochs <count>', 'passes over the data of each task', wholeNumber(1))
    .option('--batch-size <count>', 'images in a batch', wholeNumber(1))
    .option('--lr <rate>', 'learning rate', positiveNumber)
    .option('--device <device>', 'auto, cpu, cuda or cuda:N')
    .option('--precision <precision>', 'auto, fp32, tf32 or bf16')
    .option('-o, --out <folder>', 'run folder, new or empty (default: runs/<name>)')
    .option('--markdown', 'print nothing but the final table, in Markdown')
    .option('--resume <folder>', 'resume the run in this folder; takes no other option')
    .action(
      async (experiment: string, { resume, markdown, ...options }: RunCommandOptions & Shown, command: Command) => {
        if (resume !== undefined && (command.args.length > 0 || Object.keys(options).length > 0)) {
          command.error(
            'error: --resume resumes a run with its own configuration: give neither an experiment nor another option',
            {
              exitCode: 2,
            },
          )
        }
        const input = resume === undefined ? await readInput(experiment, options) : undefined
        const run = (events: RunOptions) =>
          input === undefined ? resumeExperiment(resume as string, events) : runExperiment(input, events)
        const display = runDisplay(process.stderr)
        let folder = ''
        try {
          const outcome: RunOutcome = await run({
            signal,
            onEvent: (event) => {
              if (event.kind === 'folder') folder = event.folder
              display.show(event)
            },
          })
          display.end()
          if (folder === '') console.error('this run is already complete')
          const { results } = outcome
          if (markdown) {
            console.log(tablesAtEnd(results, 'markdown'))
            return
          }
          const grids = methodsOf(results).map((method) => path.join(outcome.folder, 'samples', method))
          console.log(
            [
              '',
              tablesByTask(results),
              '',
              tablesAtEnd(results),
              '',
              `Samples   ${grids.map((grid) => path.join(grid, seedsOf(results).length > 1 ? 'seed-*' : `seed-${seedsOf(results)[0]}`)).join('\n          ')}`,
              `Results   ${path.join(outcome.folder, 'results.json')}`,
              `Page      ${outcome.page}`,
            ].join('\n'),
          )
        } catch (error) {
          display.end()
          if (error instanceof Interrupted && folder !== '') {
            console.error(`The results so far are in ${folder}; to resume: continual-diffusion run --resume ${folder}`)
          }
          throw error
        }
      },
    )
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
  const { method, seed, device, precision, out, data, dataFolder, tasks, ...train } = options
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
  for (const [key, value] of Object.entries({ seeds: seed, device, precision, out })) {
    if (value !== undefined) changed[key] = value
  }
  if (method !== undefined) {
    const configured = resolveExperiment(changed as ExperimentInput).methods
    changed.methods = method.map((name) => configured.find(({ label }) => label === name) ?? name)
  }
  return changed as ExperimentInput
}
