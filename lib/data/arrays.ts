import { types } from 'node:util'
import { z } from 'zod'
import { ContinualDiffusionError } from '../errors.js'
import { held } from '../validation/fields.js'
import { parseOptions, shown } from '../validation/options.js'
import { channelsSchema, type ImageSize, imageSizeSchema, sideSchema, writtenSize } from '../validation/size.js'
import type { Dataset, TrainTest } from './dataset.js'
import { datasetSchema } from './schemas.js'

/**
 * Options of {@link fromArrays}: labelled images.
 *
 * @category Data
 */
export interface ArraysOptions {
  /** Name of the data set in messages and reports, e.g. `my-data/train`. */
  name: string
  /** uint8, count × height × width × channels, interleaved; used as it is, not copied. */
  images: Uint8Array | Uint8ClampedArray
  /** One class index per image, in 0 … classes.length − 1. */
  labels: ArrayLike<number>
  /** Class names, each once; a label is an index into them. */
  classes: readonly string[]
  /** Height of the images in pixels. */
  height: number
  /** Width of the images in pixels. */
  width: number
  /** 1 (grey) to 16. */
  channels: number
  /** What the images are resized to on the device: `[height, width]`, or the side of a square. Default: as given. */
  size?: ImageSize
}

/** Names of classes. */
export const classesSchema = z
  .array(z.string().min(1))
  .min(1)
  .refine((names) => new Set(names).size === names.length, 'expected each name once')

const schema = z.strictObject({
  name: z.string().min(1),
  // Of these, data, a wrong one is an ERR_BAD_DATA.
  images: z.unknown().optional(),
  labels: z.unknown().optional(),
  classes: classesSchema,
  height: sideSchema,
  width: sideSchema,
  channels: channelsSchema,
  size: imageSizeSchema.optional(),
})

/**
 * Makes a data set from arrays, and checks them.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a wrong option; `ERR_BAD_DATA` when the types, lengths or ranges of images
 *   and labels don't match the options
 *
 * @category Data
 */
export function fromArrays(options: ArraysOptions): Dataset {
  const { name, classes, height, width, channels, size } = parseOptions(schema, options, 'fromArrays')
  const { images, labels } = options
  const bad = (what: string) => new ContinualDiffusionError('ERR_BAD_DATA', `${name}: ${what}`)

  if (!isBytes(images)) {
    throw bad(`the images are ${typeName(images)}; expected a Uint8Array, 0 (black) to 255 (white)`)
  }
  if (labels === null || typeof labels !== 'object' || !Number.isSafeInteger(labels.length)) {
    throw bad(`the labels are ${typeName(labels)}; expected an Int32Array or another array of class indices`)
  }
  if (labels.length === 0) throw bad('there are no labels; expected at least one image with its label')
  const expected = labels.length * height * width * channels
  if (images.length !== expected) {
    const each = `${height} × ${width} × ${channels}`
    throw bad(
      `the images hold ${held(images, 'bytes')}, that is ${images.length / (height * width * channels)} images of ${each}; ` +
        `expected ${expected} bytes, as there are ${labels.length} labels`,
    )
  }
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i] as number
    if (!Number.isInteger(label) || label < 0 || label >= classes.length) {
      throw bad(`label ${i} is ${shown(label)}; expected a class index, 0 … ${classes.length - 1}`)
    }
  }
  return {
    name,
    images: new Uint8Array(images.buffer, images.byteOffset, images.length),
    labels: Int32Array.from(labels),
    classes,
    height,
    width,
    channels,
    size,
  }
}

/**
 * Joins a train part and a test part.
 *
 * @throws ContinualDiffusionError `ERR_BAD_DATA` when the two parts differ in classes or in the shape of their images
 *
 * @category Data
 */
export function trainTest(train: Dataset, test: Dataset): TrainTest {
  parseOptions(datasetSchema, train, 'trainTest: train')
  parseOptions(datasetSchema, test, 'trainTest: test')
  for (const key of ['height', 'width', 'channels', 'size'] as const) {
    const [a, b] = [train[key], test[key]].map((value) => value && writtenSize(value))
    if (a !== b) throw different(train, test, key, a, b)
  }
  if (train.classes.length !== test.classes.length) {
    const which = `${onlyIn(train, test, 'it has no ')}${onlyIn(test, train, 'only it has ')}`
    throw different(train, test, 'number of classes', train.classes.length, test.classes.length, which)
  }
  for (const [i, name] of train.classes.entries()) {
    if (name !== test.classes[i]) throw different(train, test, `name of class ${i}`, name, test.classes[i])
  }
  return { train, test }
}

/** The classes, or the first of them, that one data set has and another hasn't. */
function onlyIn({ classes }: Dataset, other: Dataset, what: string): string {
  const names = classes.filter((name) => !other.classes.includes(name)).map(shown)
  const more = names.length > 5 ? ` and ${names.length - 5} more` : ''
  return names.length === 0 ? '' : `; ${what}${names.slice(0, 5).join(', ')}${more}`
}

function different(train: Dataset, test: Dataset, what: string, a: unknown, b: unknown, which = '') {
  return new ContinualDiffusionError(
    'ERR_BAD_DATA',
    `${test.name}: the ${what} is ${b}; expected ${a}, as in ${train.name}, which it tests${which}`,
  )
}

/** Whether a value holds bytes, also when another realm made it (Jest, vm). */
export function isBytes(value: unknown): value is Uint8Array | Uint8ClampedArray {
  return types.isUint8Array(value) || types.isUint8ClampedArray(value)
}

function typeName(value: unknown): string {
  return typeof value === 'object' && value !== null ? `of type ${value.constructor?.name}` : shown(value)
}
