import { z } from 'zod'
import { ContinualDiffusionError } from '../errors.js'
import { seedSchema } from '../validation/fields.js'
import { counted } from '../validation/names.js'
import { parseOptions } from '../validation/options.js'
import { type Dataset, positionsByClass, type TrainTest } from './dataset.js'
import { datasetSchema } from './schemas.js'
import { torchRandperm } from './torch-random.js'

/**
 * Options of {@link trainTestSplit}.
 *
 * @category Data
 */
export interface SplitOptions {
  /** Share of each class's images that become test images, 0 < test < 1. Default 0.2. */
  test?: number | undefined
  /** Seed that draws them, 0 … 2³² − 1. Default 0. */
  seed?: number | undefined
}

/** Schema of {@link SplitOptions}. */
export const splitSchema = z
  .strictObject({ test: z.number().gt(0).lt(1).default(0.2), seed: seedSchema.default(0) })
  .prefault({})

/**
 * Splits a data set that has no test images of its own into training and test images: of each class the same share, drawn by the seed. Each class keeps
 * at least one training and one test image. The command line splits an image folder without `train` and `test` in the same way.
 *
 * @returns copies of the images, named `<name>/train` and `<name>/test`
 * @throws ContinualDiffusionError `ERR_BAD_DATA` for a class of fewer than two images
 *
 * @category Data
 */
export function trainTestSplit(dataset: Dataset, options: SplitOptions = {}): TrainTest {
  parseOptions(datasetSchema, dataset, 'trainTestSplit: dataset')
  const { test, seed } = parseOptions(splitSchema, options, 'trainTestSplit')
  const { name, classes, labels } = dataset
  /** Which images are test images. */
  const isTest = new Uint8Array(labels.length)
  for (const [label, all] of positionsByClass(dataset).entries()) {
    if (all.length < 2) {
      throw new ContinualDiffusionError(
        'ERR_BAD_DATA',
        `${name}: the class ${classes[label]} has ${counted(all.length, 'image')}; expected at least 2, to split them into training and test images`,
      )
    }
    const count = Math.min(all.length - 1, Math.max(1, Math.round(all.length * test)))
    for (const i of torchRandperm(all.length, seed).slice(0, count)) isTest[all[i]!] = 1
  }
  const part = (which: 'train' | 'test') => {
    const indices = Int32Array.from(labels.keys()).filter((i) => isTest[i] === (which === 'test' ? 1 : 0))
    return subset(dataset, `${name}/${which}`, indices)
  }
  return { train: part('train'), test: part('test') }
}

function subset(dataset: Dataset, name: string, indices: Int32Array): Dataset {
  const each = dataset.height * dataset.width * dataset.channels
  const images = new Uint8Array(indices.length * each)
  for (const [i, index] of indices.entries()) {
    images.set(dataset.images.subarray(index * each, (index + 1) * each), i * each)
  }
  return { ...dataset, name, images, labels: indices.map((index) => dataset.labels[index]!) }
}
