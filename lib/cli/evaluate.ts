import type { Command } from 'commander'
import type { EvaluateSavedOptions } from '../experiment/evaluate-saved.js'
import type { Device } from '../validation/fields.js'
import { asTyped, imageSize, wholeNumber } from './arguments.js'
import { lineWidth, print } from './output.js'

interface Options {
  experiment?: string
  task?: number
  count?: number
  steps?: number
  seed?: number
  device?: string
  threads?: number
  variant?: string
  sampleSize?: number | [number, number]
  json?: boolean
}

/** What messages call the options. */
const typed = {
  'evaluate: task': '--task',
  'evaluate: count': '--count',
  'evaluate: seed': '--seed',
  steps: '--steps',
  device: '--device',
  threads: '--threads',
  'Learner.load: variant': '--variant',
  'Learner.load: sampleSize': '--sample-size',
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
    .option('-n, --count <count>', "images to generate (default: the experiment's)", wholeNumber(2, 1_000_000))
    .option('--steps <count>', "sampler steps (default: the learner's)", wholeNumber(1))
    .option('-s, --seed <seed>', "seed of the images (default: the learner's)", wholeNumber(0))
    .option('--variant <name>', "variant of a diffusers model's weights, e.g. fp16")
    .option('--sample-size <size>', "side of square images, or e.g. 24x32, in place of a diffusers model's", imageSize)
    .option('--device <device>', "auto, cpu, cuda or cuda:N (default: the experiment's)")
    .option('--threads <count>', "threads of the CPU (default: the experiment's)", wholeNumber(1))
    .option('--json', 'print the values as JSON')
    .action(async (folder: string, { experiment: named, json, device, ...options }: Options) => {
      const [{ evaluateSaved }, { evaluationTable }, { asGroup }, { experimentOf }, { progressBar }] =
        await Promise.all([
          import('../experiment/evaluate-saved.js'),
          import('../report/evaluation-table.js'),
          import('./as-group.js'),
          import('./experiment.js'),
          import('./progress.js'),
        ])
      await asGroup(async (group) => {
        const experiment = await experimentOf(folder, named)
        const bar = await progressBar()
        const isFirst = group.rank === 0
        const shown: Pick<EvaluateSavedOptions, 'onEvent' | 'onProgress'> = {
          onEvent: (event) => {
            if (event.kind === 'download') bar.update(event.file, event, `downloading ${event.file}`)
            else {
              const what = 'classifier for the metrics'
              bar.update(what, { done: event.fraction, total: 1 }, `training the ${what}`)
            }
          },
          onProgress: (progress) => bar.update('evaluating', progress),
        }
        try {
          const found = await evaluateSaved(folder, {
            ...{ ...options, experiment, device: device as Device | undefined, signal, group },
            ...(isFirst && shown),
          })
          bar.end()
          if (isFirst) print(json ? JSON.stringify(found, null, 2) : evaluationTable(found, lineWidth()))
        } catch (error) {
          throw asTyped(error, typed)
        } finally {
          bar.end()
        }
      }, signal)
    })
}
