import { z } from 'zod'
import { ContinualDiffusionError } from '../errors.js'
import { signalSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { type ImageSize, imageSizeSchema, largestSide, mostChannels } from '../validation/size.js'
import { fromArrays, trainTest } from './arrays.js'
import type { Dataset, TrainTest } from './dataset.js'
import { type IdxArray, readIdx } from './idx.js'

/**
 * Paths of the IDX files of one part of a data set. The files may be gzipped.
 *
 * @category Data
 */
export interface IdxFiles {
  /** File of the images: count × height × width, or count × height × width × channels. */
  images: string
  /** File of the labels: one class index per image. */
  labels: string
}

/**
 * Options of {@link loadIdx}.
 *
 * @category Data
 */
export interface IdxOptions {
  /** Name of the data set in messages and reports. */
  name: string
  train: IdxFiles
  test: IdxFiles
  /** Class names. Default: `'0'`, `'1'` …, up to the largest label. */
  classes?: readonly string[]
  /** What the images are resized to on the device: `[height, width]`, or the side of a square. Default: as stored. */
  size?: ImageSize
  signal?: AbortSignal
}

const filesSchema = z.strictObject({ images: z.string().min(1), labels: z.string().min(1) })

const schema = z.strictObject({
  name: z.string().min(1),
  train: filesSchema,
  test: filesSchema,
  classes: z.array(z.string()).min(1).readonly().optional(),
  size: imageSizeSchema.optional(),
  signal: signalSchema.optional(),
})

/**
 * Loads a data set from IDX files, the format of MNIST and Fashion-MNIST.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a wrong option, `ERR_DATA_NOT_FOUND` for a missing file,
 *   `ERR_BAD_DATA` for a damaged file and for labels that don't match the images
 *
 * @category Data
 */
export async function loadIdx(options: IdxOptions): Promise<TrainTest> {
  const { name, size, signal, classes, ...files } = parseOptions(schema, options, 'loadIdx')
  const train = await readPart(files.train, signal)
  const test = await readPart(files.test, signal)
  return fromIdx({ name, train, test, classes, size })
}

/** The images and the labels of one part of a data set, as their files hold them. */
export interface IdxPart {
  /** Of rank 3 or 4. */
  readonly images: IdxArray
  /** Of rank 1. */
  readonly labels: IdxArray
  /** What messages call the file of the images. */
  readonly file: string
}

/** {@link loadIdx} after the files were read. */
export function fromIdx({
  name,
  train,
  test,
  classes = numbered(train, test),
  size,
}: {
  name: string
  train: IdxPart
  test: IdxPart
  classes?: readonly string[]
  size?: ImageSize
}): TrainTest {
  const part = (which: 'train' | 'test', { images, labels, file }: IdxPart): Dataset => {
    const [, height, width, channels = 1] = images.shape as [number, number, number, number?]
    if (!(isSide(height) && isSide(width) && channels >= 1 && channels <= mostChannels)) {
      throw new ContinualDiffusionError(
        'ERR_BAD_DATA',
        `${file}: the shape is ${images.shape.join(' × ')}; expected count × height × width × channels, with sides of ` +
          `1 … ${largestSide} pixels and at most ${mostChannels} channels`,
      )
    }
    return fromArrays({
      name: `${name}/${which}`,
      images: images.data,
      labels: labels.data,
      classes,
      height,
      width,
      channels,
      size,
    })
  }
  return trainTest(part('train', train), part('test', test))
}

function isSide(length: number): boolean {
  return length >= 1 && length <= largestSide
}

async function readPart(files: IdxFiles, signal: AbortSignal | undefined): Promise<IdxPart> {
  const images = await readIdx(files.images, { rank: [3, 4], signal })
  const labels = await readIdx(files.labels, { rank: 1, signal })
  return { images, labels, file: files.images }
}

function numbered(...parts: IdxPart[]): string[] {
  const most = parts.flatMap(({ labels }) => [...new Set(labels.data)]).reduce((a, b) => Math.max(a, b), 0)
  return Array.from({ length: most + 1 }, (_, i) => String(i))
}
