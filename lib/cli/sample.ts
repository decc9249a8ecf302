import type { Command } from 'commander'
import { asTyped, atLeastZero, imageSize, pngFile, wholeNumber } from './arguments.js'
import type { SampleOptions } from './sample-action.js'

interface Options extends SampleOptions {
  histogram?: boolean
  experiment?: string
}

/** What messages call the options. */
const typed = {
  'sample: labels': '--class',
  'sample: guide': '--guide',
  'sample: sampler: guidance': '--guidance',
  steps: '--steps',
  device: '--device',
  'Learner.load: variant': '--variant',
  'Learner.load: sampleSize': '--sample-size',
}

/** Adds the command `sample`: images from a saved learner, or from a diffusers model folder. */
export function registerSample(program: Command, signal: AbortSignal): void {
  program
    .command('sample')
    .description('generate images with a saved learner, or with a diffusers model folder')
    .argument('<learner>', 'its folder')
    .option(
      '-n, --count <count>',
      'images to generate; of classes, as many more as fill the rows',
      wholeNumber(1, 100_000),
      36,
    )
    .option('-o, --out <file>', 'PNG file for a grid of all images', pngFile, 'samples.png')
    .option('--files <folder>', 'also write each image to a PNG file of its own')
    .option('--columns <count>', 'images in a row of the grid', wholeNumber(1))
    .option(
      '--class <names...>',
      'classes by name or by number, from 0, a row of the grid for each (default: all that were learned); only for a network that takes labels',
    )
    .option(
      '--guidance <scale>',
      'scale of guidance, e.g. 2; for a learner that learned with labelDropout, or with --guide',
      atLeastZero,
    )
    .option('--guide <learner>', 'folder of a weaker learner, e.g. of one saved earlier, to be guided away from')
    .option('--steps <count>', "sampler steps (default: the learner's)", wholeNumber(1))
    .option('-s, --seed <seed>', "seed of the images (default: the learner's)", wholeNumber(0))
    .option('--variant <name>', "variant of a diffusers model's weights, e.g. fp16")
    .option('--sample-size <size>', "side of square images, or e.g. 24x32, in place of a diffusers model's", imageSize)
    .option('--device <device>', 'auto (default), cpu, cuda or cuda:N')
    .option('--histogram', 'print how many images of each class the classifier of the metrics sees')
    .option(
      '-e, --experiment <experiment>',
      "for --histogram: preset or JSON file with the data (default: those of the learner's run)",
    )
    .action(async (folder: string, { experiment: named, histogram, ...options }: Options, command: Command) => {
      if (options.guide !== undefined && options.guidance === undefined) {
        command.error('error: --guide is given without --guidance; expected both, e.g. --guidance 2')
      }
      const [{ sample }, { asGroup }, { checkLearner, experimentOf }] = await Promise.all([
        import('./sample-action.js'),
        import('./as-group.js'),
        import('./experiment.js'),
      ])
      await asGroup(async (group) => {
        await checkLearner(folder)
        const experiment = histogram ? await experimentOf(folder, named) : undefined
        try {
          await sample(group, folder, options, experiment, signal)
        } catch (error) {
          throw asTyped(error, typed)
        }
      }, signal)
    })
}
