import type { Command } from 'commander'
import { atLeastZero, wholeNumber } from './arguments.js'
import type { SampleOptions } from './sample-action.js'

/** Adds the command `sample`: images from a saved learner, or from a diffusers model folder. */
export function registerSample(program: Command, signal: AbortSignal): void {
  program
    .command('sample')
    .description('generate images with a saved learner, or with a diffusers model folder')
    .argument('<learner>', 'its folder')
    .option('-n, --count <count>', 'images to generate; of classes, as many more as fill the rows', wholeNumber(1), 36)
    .option('-o, --out <file>', 'PNG file for a grid of all images', 'samples.png')
    .option('--files <folder>', 'also write each image to a PNG file of its own')
    .option('--columns <count>', 'images in a row of the grid', wholeNumber(1))
    .option(
      '--class <names...>',
      'classes, a row of the grid for each (default: all that were learned); only for a learner of classes',
    )
    .option(
      '--guidance <scale>',
      'scale of guidance, e.g. 2; for a learner that learned with labelDropout, or with --guide',
      atLeastZero,
    )
    .option('--guide <learner>', 'folder of a weaker learner, e.g. of one saved earlier, to be guided away from')
    .option('--steps <count>', "sampler steps (default: the learner's)", wholeNumber(1))
    .option('-s, --seed <seed>', "seed of the images (default: the learner's)", wholeNumber(0))
    .option('--device <device>', 'auto, cpu, cuda or cuda:N', 'auto')
    .option('--histogram', 'print how many images of each class the classifier of the metrics sees')
    .option(
      '-e, --experiment <experiment>',
      "for --histogram: preset or JSON file with the data (default: those of the learner's run)",
    )
    .action(async (folder: string, options: SampleOptions) => {
      const { sample } = await import('./sample-action.js')
      await sample(folder, options, signal)
    })
}
