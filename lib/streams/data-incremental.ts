import { z } from 'zod'
import type { Dataset, TrainTest } from '../data/dataset.js'
import { trainTestSchema } from '../data/schemas.js'
import { torchRandperm } from '../data/torch-random.js'
import { seedSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { allClasses, buildStream, cut, nameOfBoth, shares } from './build.js'
import type { Stream } from './stream.js'

/**
 * Options of {@link dataIncremental}.
 *
 * @category Streams
 */
export interface DataIncrementalOptions {
  /** Number of tasks, 1 … 100,000. */
  tasks: number
  /** Seed of the shuffle of the images, 0 … 2³² − 1. Default 0. */
  seed?: number
}

/** Schema of `tasks`. */
export const shareCountSchema = z.int().min(1).max(100_000)

const schema = z.strictObject({ tasks: shareCountSchema, seed: seedSchema.default(0) })

/**
 * Each task brings an equal share of the images of all classes, drawn at random. Shares differ by one image at most. Training and test images
 * are shared out in the same way.
 *
 * @category Streams
 */
export function dataIncremental(data: TrainTest, options: DataIncrementalOptions): Stream {
  const { tasks, seed } = parseOptions(schema, options, 'dataIncremental')
  parseOptions(trainTestSchema, data, 'dataIncremental: data')
  const deal = (dataset: Dataset) =>
    cut(torchRandperm(dataset.labels.length, seed), shares(dataset.labels.length, tasks)).map((indices) => ({
      dataset,
      indices: Int32Array.from(indices).sort(),
    }))
  const train = deal(data.train)
  const test = deal(data.test)
  return buildStream(
    `data-incremental ${nameOfBoth(data.train.name)}`,
    train.map((share, i) => ({
      name: `share ${i + 1} of ${tasks}`,
      classes: allClasses(data.train),
      train: share,
      test: test[i]!,
    })),
  )
}
