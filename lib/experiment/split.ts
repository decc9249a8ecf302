import type { Dataset, TrainTest } from '../data/dataset.js'
import { ContinualDiffusionError } from '../errors.js'
import { torchRandperm } from '../streams/torch-random.js'

/** How a data set without test images of its own is split. */
export interface Split {
  /** Share of each class's images that become test images, 0 < test < 1. */
  readonly test: number
  readonly seed: number
}

/**
 * Splits a data set into training and test images, class by class, as a function of the seed.
 *
 * @throws ContinualDiffusionError `ERR_BAD_DATA` for a class of fewer than two images
 */
export function splitDataset(dataset: Dataset, { test, seed }: Split): TrainTest {
  const parts = { train: [] as number[], test: [] as number[] }
  for (const [label, name] of dataset.classes.entries()) {
    const all = [...dataset.labels.keys()].filter((i) => dataset.labels[i] === label)
    if (all.length < 2) {
      throw new ContinualDiffusionError(
        'ERR_BAD_DATA',
        `${dataset.name}: the class ${name} has ${all.length} images; expected at least 2, to split them into training and test images`,
      )
    }
    const count = Math.min(all.length - 1, Math.max(1, Math.round(all.length * test)))
    const order = torchRandperm(all.length, seed).map((i) => all[i]!)
    parts.test.push(...order.slice(0, count))
    parts.train.push(...order.slice(count))
  }
  const part = (which: 'train' | 'test') =>
    subset(
      dataset,
      `${dataset.name}/${which}`,
      parts[which].sort((a, b) => a - b),
    )
  return { train: part('train'), test: part('test') }
}

function subset(dataset: Dataset, name: string, indices: readonly number[]): Dataset {
  const each = dataset.height * dataset.width * dataset.channels
  const images = new Uint8Array(indices.length * each)
  for (const [i, index] of indices.entries()) {
    images.set(dataset.images.subarray(index * each, (index + 1) * each), i * each)
  }
  return { ...dataset, name, images, labels: Int32Array.from(indices, (index) => dataset.labels[index]!) }
}
