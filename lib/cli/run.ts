import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import { ContinualDiffusionError } from '../engine/errors.js'
import type { ExperimentInput } from '../experiment/config.js'
import { resolveExperiment } from '../experiment/config.js'
import { presetNames } from '../experiment/presets.js'
import { runExperiment } from '../experiment/run.js'
import { unknownName } from '../options.js'
import { methodsOf, seedsOf } from '../report/summary.js'
import { textTable } from '../report/table.js'
import { positiveNumber, wholeNumber, wholeNumbers } from './arguments.js'
import { Interrupted } from './interrupt.js'
import { runDisplay } from './run-display.js'

/** What the command line may give. */
export interface RunCommandOptions {
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

/** Adds the command `run`: a whole experiment from a preset or a configuration file. */
export function registerRun(program: Command, signal: AbortSignal): void {
  program
    .command('run')
    .description('run an experiment: learn a stream of tasks by each method, evaluate, draw, report')
    .argument('[experiment]', `a preset (${presetNames.join(', ')}) or a JSON file`, 'demo')
    .option(
      '-m, --method <names...>',
      'methods, in place of the configured ones; one that is configured keeps its options',
    )
    .option('-s, --seed <seeds...>', 'seeds, in place of the configured ones', wholeNumbers(0))
    .option('--steps <count>', 'training steps for each task', wholeNumber(1))
    .option('--epochs <count>', 'passes over the data of each task', wholeNumber(1))
    .option('--batch-size <count>', 'images in a batch', wholeNumber(1))
    .option('--lr <rate>', 'learning rate', positiveNumber)
    .option('--device <device>', 'auto, cpu, cuda or cuda:N')
    .option('--precision <precision>', 'auto, fp32, tf32 or bf16')
    .option('-o, --out <folder>', 'run folder, new or empty (default: runs/<name>)')
    .action(async (experiment: string, options: RunCommandOptions) => {
      const input = withOptions(await readExperiment(experiment), options)
      const display = runDisplay(process.stderr)
      let folder = ''
      try {
        const outcome = await runExperiment(input, {
          signal,
          onEvent: (event) => {
            if (event.kind === 'folder') folder = event.folder
            display.show(event)
          },
        })
        display.end()
        const { results } = outcome
        const grids = methodsOf(results).map((method) => path.join(outcome.folder, 'samples', method))
        console.log(
          [
            '',
            textTable(results),
            '',
            `Samples   ${grids.map((grid) => path.join(grid, seedsOf(results).length > 1 ? 'seed-*' : `seed-${seedsOf(results)[0]}`)).join('\n          ')}`,
            `Results   ${path.join(outcome.folder, 'results.json')}`,
            `Page      ${outcome.page}`,
          ].join('\n'),
        )
      } catch (error) {
        display.end()
        if (error instanceof Interrupted && folder !== '') console.error(`What was done by then is in ${folder}`)
        throw error
      }
    })
}

async function readExperiment(experiment: string): Promise<ExperimentInput> {
  if ((presetNames as readonly string[]).includes(experiment)) {
    return { preset: experiment as (typeof presetNames)[number] }
  }
  let text: string
  try {
    text = await readFile(experiment, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT' && !/[./\\]/.test(experiment)) {
      throw new ContinualDiffusionError(
        'ERR_INVALID_ARGUMENT',
        `run: ${unknownName('preset', experiment, presetNames)}; or name a JSON file`,
      )
    }
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      `run: ${experiment} can't be read: ${(cause as Error).message}`,
      { cause },
    )
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      `${experiment} is not JSON: ${(cause as Error).message}`,
      { cause },
    )
  }
  // Checked here already, so that messages name the file.
  resolveExperiment(json as ExperimentInput, experiment)
  return json as ExperimentInput
}

/**
 * What the command line gives takes the place of what the experiment says; a method that it configures keeps its options and is
 * named by its label.
 */
export function withOptions(input: ExperimentInput, options: RunCommandOptions): ExperimentInput {
  const { method, seed, device, precision, out, ...train } = options
  const configured = method === undefined ? [] : resolveExperiment(input).methods
  const methods = method?.map((name) => configured.find(({ label }) => label === name) ?? name)
  const changed: Record<string, unknown> = { ...input }
  if (Object.keys(train).length > 0) {
    const before: Record<string, unknown> = { ...input.train }
    if (train.steps !== undefined) delete before.epochs
    if (train.epochs !== undefined) delete before.steps
    changed.train = { ...before, ...train }
  }
  for (const [key, value] of Object.entries({ methods, seeds: seed, device, precision, out })) {
    if (value !== undefined) changed[key] = value
  }
  return changed as ExperimentInput
}
