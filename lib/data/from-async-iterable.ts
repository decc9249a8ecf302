import { setImmediate } from 'node:timers/promises'
import { types } from 'node:util'
import { z } from 'zod'
import { ContinualDiffusionError } from '../errors.js'
import { signalSchema } from '../validation/fields.js'
import { isRecord, parseOptions, shown } from '../validation/options.js'
import { channelsSchema, imageSizeSchema, sideSchema } from '../validation/size.js'
import { allocate, copiedAtOnce } from './allocate.js'
import { type ArraysOptions, classesSchema, fromArrays, isBytes } from './arrays.js'
import type { Dataset } from './dataset.js'

/**
 * One image from a source of {@link fromAsyncIterable}.
 *
 * @category Data
 */
export interface LabelledImage {
  /** uint8, height × width × channels, interleaved. It is copied, so the source may reuse its array. */
  readonly image: Uint8Array | Uint8ClampedArray
  /** A class index, 0 … classes.length − 1, or a class name. */
  readonly label: number | string
}

/**
 * Options of {@link fromAsyncIterable}.
 *
 * @category Data
 */
export interface AsyncIterableOptions extends Omit<ArraysOptions, 'images' | 'labels'> {
  /** Largest number of images to read, ≥ 1; then the source is closed. Default: all images. */
  limit?: number
  /** An abort rejects with `signal.reason`, before the next image, and closes the source. */
  signal?: AbortSignal
}

const sourceSchema = z.custom<AsyncIterable<unknown> | Iterable<unknown>>((value) => {
  const { [Symbol.asyncIterator]: later, [Symbol.iterator]: now } = Object(value)
  return typeof value === 'object' && typeof (later ?? now) === 'function'
}, 'expected an async iterable of images with their labels')

const schema = z.strictObject({
  name: z.string().min(1),
  classes: classesSchema,
  height: sideSchema,
  width: sideSchema,
  channels: channelsSchema,
  size: imageSizeSchema.optional(),
  limit: z.int().min(1).optional(),
  signal: signalSchema.optional(),
})

/**
 * Makes a data set from a source that yields images one after another: an async generator, a Node stream in object mode, a database cursor.
 * It reads the source to its end, or to `limit`, and keeps the images in memory.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a wrong option; `ERR_BAD_DATA` for an image of a wrong length or with an
 *   unknown label (the message has the image's position), and for a source without images
 * @throws whatever the source throws
 *
 * @category Data
 */
export async function fromAsyncIterable(
  source: AsyncIterable<LabelledImage> | Iterable<LabelledImage>,
  options: AsyncIterableOptions,
): Promise<Dataset> {
  const { limit, signal, ...shape } = parseOptions(schema, options, 'fromAsyncIterable')
  parseOptions(sourceSchema, source, 'fromAsyncIterable: source')
  const { name, classes, height, width, channels } = shape
  const bad = (i: number, what: string) =>
    new ContinualDiffusionError('ERR_BAD_DATA', `${name}: image ${i} of the source: ${what}`)
  const byName = new Map(classes.map((c, i) => [c, i]))
  const size = height * width * channels
  const what = `${name}: images of ${height} × ${width} × ${channels}`
  const inChunk = Math.max(1, Math.floor(copiedAtOnce / size))
  const chunks: Uint8Array[] = []
  const labels: number[] = []
  signal?.throwIfAborted()
  for await (const item of source) {
    signal?.throwIfAborted()
    const i = labels.length
    if (!isRecord(item)) throw bad(i, `it is ${shown(item)}; expected an object with image and label`)
    const { image, label } = item
    if (!isBytes(image) || image.length !== size) {
      const found =
        types.isTypedArray(image) || Array.isArray(image)
          ? `${image.constructor.name} of ${image.length}`
          : shown(image)
      throw bad(i, `the image is ${found}; expected a Uint8Array of ${size}: ${height} × ${width} × ${channels}`)
    }
    const index = typeof label === 'string' ? byName.get(label) : label
    if (index === undefined || !Number.isInteger(index) || index < 0 || index >= classes.length) {
      throw bad(
        i,
        `the label is ${shown(label)}; expected a class index, 0 … ${classes.length - 1}, or one of ${classes.join(', ')}`,
      )
    }
    const within = i % inChunk
    if (within === 0) {
      await setImmediate() // a source may never wait itself
      signal?.throwIfAborted()
      chunks.push(allocate(inChunk * size, what))
    }
    chunks.at(-1)!.set(image, within * size)
    labels.push(index)
    if (labels.length === limit) break
  }
  const images = allocate(labels.length * size, what)
  for (const [n, chunk] of chunks.entries()) {
    const from = n * inChunk * size
    images.set(chunk.subarray(0, images.length - from), from)
    await setImmediate()
  }
  return fromArrays({ ...shape, images, labels })
}
