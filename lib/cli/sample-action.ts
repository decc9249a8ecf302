import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { ImageBatch } from '../data/dataset.js'
import type { Group } from '../engine/group.js'
import { type ExperimentInput, resolveExperiment } from '../experiment/config.js'
import { cachedClassifier } from '../experiment/evaluate-saved.js'
import { planExperiment } from '../experiment/plan.js'
import { replaceFile } from '../files/atomic.js'
import { imageGrid, rowsByClass } from '../images/grid.js'
import { writeImages } from '../images/image-files.js'
import { Learner } from '../learner/learner.js'
import { classHistogram } from '../report/evaluation-table.js'
import type { Device } from '../validation/fields.js'
import { print } from './output.js'
import { progressBar } from './progress.js'

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
  device?: string
  variant?: string
  sampleSize?: number | [number, number]
}

/**
 * Draws images with a saved learner, and writes and prints what was asked for.
 *
 * @param group the processes that draw; the first of them writes and prints
 * @param experiment whose classifier counts the images by class
 */
export async function sample(
  group: Group,
  folder: string,
  options: SampleOptions,
  experiment: ExperimentInput | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { count, out, files, columns, steps, seed, device, variant, sampleSize } = options
  await using learner = await Learner.load(folder, {
    ...{ device: (device ?? 'auto') as Device, group },
    ...(variant !== undefined && { variant }),
    ...(sampleSize !== undefined && { sampleSize }),
  })
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
  // A number is a class's index, unless a class is named so.
  const labels = rows?.labels.map((name) =>
    /^\d+$/.test(name) && !learner.classes.includes(name) ? Number(name) : name,
  )
  const bar = await progressBar()
  const images = await learner
    .sample({
      count,
      sampler,
      seed,
      signal,
      ...rows,
      ...(labels && { labels }),
      ...(guide && { guide }),
      onProgress: (progress) => bar.update('sampling', progress),
    })
    .finally(bar.end)
  if (group.rank > 0) return
  signal.throwIfAborted()
  const grid = await imageGrid(images, { columns: columns ?? (rows && inRow) })
  await replaceFile(out, (temporary) => writeFile(temporary, grid))
  print(path.resolve(out))
  if (files !== undefined) {
    await writeImages(images, files, signal)
    print(path.resolve(files))
  }
  if (experiment !== undefined) print(await histogramOf(images, experiment, device as Device | undefined, signal))
}

async function histogramOf(
  images: ImageBatch,
  experiment: ExperimentInput,
  device: Device | undefined,
  signal: AbortSignal,
) {
  const resolved = resolveExperiment(experiment)
  // Only the classifier looks at the images.
  const config = {
    ...resolved,
    device: device ?? resolved.device,
    evaluation: { ...resolved.evaluation, metrics: [], features: undefined },
  }
  await using plan = await planExperiment({ config, methods: [] }, { signal })
  await using classifier = await cachedClassifier(config, plan, signal)
  const { labels } = await classifier.classify(images)
  return classHistogram(labels, classifier.classes)
}
