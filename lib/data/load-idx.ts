import { z } from 'zod'
import { signalSchema } from '../fields.js'
import { parseOptions } from '../options.js'
import { fromArrays, trainTest } from './arrays.js'
import type { Dataset, TrainTest } from './dataset.js'
import { readIdx } from './idx.js'

/** Paths of a data set's images and labels, IDX files, gzipped or not. */
export interface IdxFiles {
  /** count × height × width, or count × height × width × channels. */
  images: string
  /** One class index per image. */
  labels: string
}

/** A data set in IDX files. */
export interface IdxOptions {
  /** What messages and reports call it. */
  name: string
  train: IdxFiles
  test: IdxFiles
  /** Class names; default: the class indices, as many as there are in the labels. */
  classes?: readonly string[]
  /** Side, in pixels, of the square that the images are resized to on the device. Default: as stored. */
  size?: number
  signal?: AbortSignal
}

const filesSchema = z.strictObject({ images: z.string().min(1), labels: z.string().min(1) })

const schema = z.strictObject({
  name: z.string().min(1),
  train: filesSchema,
  test: filesSchema,
  classes: z.array(z.string()).min(1).readonly().optional(),
  size: z.int().min(1).max(65536).optional(),
  signal: signalSchema.optional(),
})

/**
 * Loads a data set from IDX files, the format of MNIST and its relatives.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a wrong option, `ERR_DATA_NOT_FOUND` for a missing file,
 *   `ERR_BAD_DATA` for a damaged one and for labels that don't match the images
 */
export async function loadIdx(options: IdxOptions): Promise<TrainTest> {
  const { name, size, signal, ...parsed } = parseOptions(schema, options, 'loadIdx')
  const train = await readPart(parsed.train, signal)
  const test = await readPart(parsed.test, signal)
  const classes = parsed.classes ?? numbered(train.labels, test.labels)
  const part = (which: 'train' | 'test', { images, labels }: Part): Dataset => {
    const [, height, width, channels = 1] = images.shape as [number, number, number, number?]
    return fromArrays({
      name: `${name}/${which}`,
      images: images.data,
      labels,
      classes,
      height,
      width,
      channels,
      size,
    })
  }
  return trainTest(part('train', train), part('test', test))
}

type Part = Awaited<ReturnType<typeof readPart>>

async function readPart(files: IdxFiles, signal: AbortSignal | undefined) {
  const images = await readIdx(files.images, { rank: [3, 4], signal })
  const labels = await readIdx(files.labels, { rank: 1, signal })
  return { images, labels: labels.data }
}

function numbered(...labels: Uint8Array[]): string[] {
  const most = labels.flatMap((part) => [...new Set(part)]).reduce((a, b) => Math.max(a, b), 0)
  return Array.from({ length: most + 1 }, (_, i) => String(i))
}
