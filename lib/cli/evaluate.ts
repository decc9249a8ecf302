import type { Command } from 'commander'
import type { Device } from '../validation/fields.js'
import { wholeNumber } from './arguments.js'
import { lineWidth, print } from './output.js'

interface Options {
  experiment?: string
  task?: number
  count?: number
  steps?: number
  seed?: number
  device: string
  threads?: number
  json?: boolean
}

/** Adds the command `evaluate`: a saved learner against the test images of what it has learned. */
export function registerEvaluate(program: Command, signal: AbortSignal): void {
  program
    .command('evaluate')
    .description('compare what a saved learner, or a diffusers model folder, generates with test images')
    .argument('<learner>', 'its folder')
    .option(
      '-e, --experiment <experiment>',
      "preset or JSON file with the data and metrics (default: those of the learner's run)",
    )
    .option('--task <number>', 'compare with the tasks up to this one (default: the tasks learned)', wholeNumber(1))
    .option('-n, --count <count>', "images to generate (default: the experiment's)", wholeNumber(2))
    .option('--steps <count>', "sampler steps (default: the learner's)", wholeNumber(1))
    .option('-s, --seed <seed>', "seed of the images (default: the learner's)", wholeNumber(0))
    .option('--device <device>', 'auto, cpu, cuda or cuda:N', 'auto')
    .option('--threads <count>', "threads of the CPU (default: libtorch's)", wholeNumber(1))
    .option('--json', 'print the values as JSON')
    .action(async (folder: string, { experiment: named, json, device, ...options }: Options) => {
      const [{ evaluateSaved }, { evaluationTable }, { asGroup }, { experimentOf }, { runDisplay }] = await Promise.all(
        [
          import('../experiment/evaluate-saved.js'),
          import('../report/evaluation-table.js'),
          import('./as-group.js'),
          import('./experiment.js'),
          import('./run-display.js'),
        ],
      )
      await asGroup(async (group) => {
        const experiment = await experimentOf(folder, named)
        const display = runDisplay(process.stderr)
        const isFirst = group.rank === 0
        try {
          const found = await evaluateSaved(folder, {
            ...{ ...options, experiment, device: device as Device, signal, group },
            ...(isFirst && { onEvent: display.show }),
          })
          display.end()
          if (isFirst) print(json ? JSON.stringify(found, null, 2) : evaluationTable(found, lineWidth()))
        } finally {
          display.end()
        }
      })
    })
}
