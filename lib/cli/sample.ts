import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import type { ImageBatch } from '../data/dataset.js'
import { type ExperimentInput, resolveExperiment } from '../experiment/config.js'
import { cachedClassifier } from '../experiment/evaluate-saved.js'
import { planExperiment } from '../experiment/plan.js'
import { replaceFile } from '../files/atomic.js'
import { imageGrid, rowsByClass } from '../images/grid.js'
import { writeImages } from '../images/image-files.js'
import { Learner } from '../learner/learner.js'
import { classHistogram } from '../report/evaluation-table.js'
import type { Device } from '../validation/fields.js'
import { atLeastZero, wholeNumber } from './arguments.js'
import { experimentOf } from './experiment.js'

interface Options {
  count: number
  out: string
  files?: string
  columns?: number
  class?: string[]
  guidance?: number
  steps?: number
  seed?: number
  device: string
  histogram?: boolean
  experiment?: string
}

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
      'scale of classifier-free guidance, e.g. 2; only for a learner that learned with labelDropout',
      atLeastZero,
    )
    .option('--steps <count>', "sampler steps (default: the learner's)", wholeNumber(1))
    .option('-s, --seed <seed>', "seed of the images (default: the learner's)", wholeNumber(0))
    .option('--device <device>', 'auto, cpu, cuda or cuda:N', 'auto')
    .option('--histogram', 'print how many images of each class the classifier of the metrics sees')
    .option(
      '-e, --experiment <experiment>',
      "for --histogram: preset or JSON file with the data (default: those of the learner's run)",
    )
    .action(async (folder: string, options: Options) => {
      const { count, out, files, columns, steps, seed, device, histogram } = options
      const experiment = histogram ? await experimentOf(folder, options.experiment) : undefined
      await using learner = await Learner.load(folder, { device: device as Device })
      const sampler = {
        ...(steps !== undefined && { steps }),
        ...(options.guidance !== undefined && { guidance: { scale: options.guidance } }),
      }
      const classes = options.class ?? learner.classesLearned
      const inRow = Math.ceil(count / Math.max(1, classes.length))
      const rows = rowsByClass(classes, inRow)
      // Of a model from elsewhere no names are known, and its labels are numbers.
      const labels = rows?.labels.map((name) =>
        learner.classes.length === 0 && /^\d+$/.test(name) ? Number(name) : name,
      )
      const images = await learner.sample({ count, sampler, seed, signal, ...rows, ...(labels && { labels }) })
      const grid = await imageGrid(images, { columns: columns ?? (rows && inRow) })
      await replaceFile(out, (temporary) => writeFile(temporary, grid))
      console.log(path.resolve(out))
      if (files !== undefined) {
        await writeImages(images, files)
        console.log(path.resolve(files))
      }
      if (experiment !== undefined) console.log(await histogramOf(images, experiment, device as Device, signal))
    })
}

async function histogramOf(images: ImageBatch, experiment: ExperimentInput, device: Device, signal: AbortSignal) {
  const config = { ...resolveExperiment(experiment), device }
  await using plan = await planExperiment({ config, methods: [] }, signal)
  await using classifier = await cachedClassifier(config, plan, signal)
  const { labels } = await classifier.classify(images)
  return classHistogram(labels, classifier.classes)
}
