import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { ImageBatch } from '../data/dataset.js'
import type { Group } from '../engine/group.js'
import { invalid } from '../errors.js'
import { type ExperimentInput, resolveExperiment } from '../experiment/config.js'
import { cachedClassifier } from '../experiment/evaluate-saved.js'
import { planExperiment } from '../experiment/plan.js'
import { replaceFile } from '../files/atomic.js'
import { imageGrid, rowsByClass } from '../images/grid.js'
import { writeImages } from '../images/image-files.js'
import { Learner } from '../learner/learner.js'
import { classHistogram } from '../report/evaluation-table.js'
import type { Device } from '../validation/fields.js'
import { asGroup } from './as-group.js'
import { experimentOf } from './experiment.js'
import { print } from './output.js'

/** What the command line gives. */
export interface SampleOptions {
  count: number
  out: string
  files?: string
  columns?: number
  class?: string[]
  guidance?: number
  guide?: string
  steps?: number
  seed?: number
  device: string
  histogram?: boolean
  experiment?: string
}

/** Draws images with a saved learner, and writes and prints what was asked for. */
export async function sample(folder: string, options: SampleOptions, signal: AbortSignal): Promise<void> {
  await asGroup((group) => sampleAs(group, folder, options, signal))
}

async function sampleAs(group: Group, folder: string, options: SampleOptions, signal: AbortSignal): Promise<void> {
  const { count, out, files, columns, steps, seed, device, histogram } = options
  if (options.guide !== undefined && options.guidance === undefined) {
    throw invalid('--guide is given without --guidance; expected both, e.g. --guidance 2')
  }
  const experiment = histogram ? await experimentOf(folder, options.experiment) : undefined
  await using learner = await Learner.load(folder, { device: device as Device, group })
  const sampler = {
    ...(steps !== undefined && { steps }),
    ...(options.guidance !== undefined && { guidance: { scale: options.guidance } }),
  }
  const { precision } = learner
  await using guide =
    options.guide === undefined
      ? undefined
      : await Learner.load(options.guide, { device: learner.device as Device, precision })
  const classes = options.class ?? learner.classesLearned
  const inRow = Math.ceil(count / Math.max(1, classes.length))
  const rows = rowsByClass(classes, inRow)
  // Of a model from elsewhere no names are known, and its labels are numbers.
  const labels = rows?.labels.map((name) => (learner.classes.length === 0 && /^\d+$/.test(name) ? Number(name) : name))
  const images = await learner.sample({
    count,
    sampler,
    seed,
    signal,
    ...rows,
    ...(labels && { labels }),
    ...(guide && { guide }),
  })
  if (group.rank > 0) return
  const grid = await imageGrid(images, { columns: columns ?? (rows && inRow) })
  await replaceFile(out, (temporary) => writeFile(temporary, grid))
  print(path.resolve(out))
  if (files !== undefined) {
    await writeImages(images, files)
    print(path.resolve(files))
  }
  if (experiment !== undefined) print(await histogramOf(images, experiment, device as Device, signal))
}

async function histogramOf(images: ImageBatch, experiment: ExperimentInput, device: Device, signal: AbortSignal) {
  const resolved = resolveExperiment(experiment)
  // Only the classifier looks at the images.
  const config = { ...resolved, device, evaluation: { ...resolved.evaluation, metrics: [], features: undefined } }
  await using plan = await planExperiment({ config, methods: [] }, { signal })
  await using classifier = await cachedClassifier(config, plan, signal)
  const { labels } = await classifier.classify(images)
  return classHistogram(labels, classifier.classes)
}
