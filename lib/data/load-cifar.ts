import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { z } from 'zod'
import { ContinualDiffusionError } from '../errors.js'
import { signalSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { type ImageSize, imageSizeSchema } from '../validation/size.js'
import { fromArrays, trainTest } from './arrays.js'
import type { Dataset, TrainTest } from './dataset.js'

/**
 * Options of {@link loadCifar10} and {@link loadCifar100}.
 *
 * @category Data
 */
export interface CifarOptions {
  /** Folder with the unpacked files of the binary version, under their published names. */
  folder: string
  /** Name of the data set in messages and reports. Default `cifar-10` or `cifar-100`. */
  name?: string
  /** Class names. Default: the names in the folder's text file. */
  classes?: readonly string[]
  /** What the images are resized to on the device: `[height, width]`, or the side of a square. Default: as stored, 32. */
  size?: ImageSize
  /** An abort rejects with `signal.reason`. */
  signal?: AbortSignal
}

/** Images that are read without letting others run: some milliseconds' work. */
const atOnce = 1024

/** One of the two published binary formats. */
interface Format {
  readonly name: string
  readonly train: readonly string[]
  readonly test: readonly string[]
  /** Text file with a class name on each line. */
  readonly names: string
  /** Bytes before the pixels of each image, and which of them is the label. */
  readonly labelBytes: number
  readonly labelByte: number
}

const cifar10Format: Format = {
  name: 'cifar-10',
  train: [1, 2, 3, 4, 5].map((n) => `data_batch_${n}.bin`),
  test: ['test_batch.bin'],
  names: 'batches.meta.txt',
  labelBytes: 1,
  labelByte: 0,
}

const cifar100Formats: Readonly<Record<'coarse' | 'fine', Format>> = {
  coarse: {
    name: 'cifar-100',
    train: ['train.bin'],
    test: ['test.bin'],
    names: 'coarse_label_names.txt',
    labelBytes: 2,
    labelByte: 0,
  },
  fine: {
    name: 'cifar-100',
    train: ['train.bin'],
    test: ['test.bin'],
    names: 'fine_label_names.txt',
    labelBytes: 2,
    labelByte: 1,
  },
}

const side = 32
const plane = side * side
const channels = 3

/** Far more than a list of names has. */
const largestNames = 65_536

const schema = z.strictObject({
  folder: z.string().min(1),
  name: z.string().min(1).optional(),
  classes: z.array(z.string()).min(1).readonly().optional(),
  size: imageSizeSchema.optional(),
  signal: signalSchema.optional(),
})

/**
 * Loads CIFAR-10, 50,000 + 10,000 colour images of 32 × 32 in ten classes (Krizhevsky 2009), from the files of its binary version:
 * `data_batch_1.bin` … `data_batch_5.bin`, `test_batch.bin` and `batches.meta.txt`.
 *
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND` for a missing file, `ERR_BAD_DATA` for a file that is cut off or has labels out
 *   of range; the message names the file
 *
 * @category Data
 */
export async function loadCifar10(options: CifarOptions): Promise<TrainTest> {
  return load(parseOptions(schema, options, 'loadCifar10'), cifar10Format)
}

/**
 * Loads CIFAR-100, 50,000 + 10,000 colour images of 32 × 32 (Krizhevsky 2009), from the files of its binary version: `train.bin`, `test.bin`,
 * and `fine_label_names.txt` or `coarse_label_names.txt`.
 *
 * @param options.labels `fine` (default): the 100 classes; `coarse`: the 20 superclasses
 * @throws ContinualDiffusionError as {@link loadCifar10}
 *
 * @category Data
 */
export async function loadCifar100(options: CifarOptions & { labels?: 'coarse' | 'fine' }): Promise<TrainTest> {
  const extended = schema.extend({ labels: z.enum(['coarse', 'fine']).default('fine') })
  const { labels, ...rest } = parseOptions(extended, options, 'loadCifar100')
  return load(rest, cifar100Formats[labels])
}

async function load(options: z.output<typeof schema>, format: Format): Promise<TrainTest> {
  const { folder, name = format.name, size, signal } = options
  const classes = options.classes ?? (await readNames(join(folder, format.names), signal))
  const part = async (which: 'train' | 'test'): Promise<Dataset> => {
    const files = format[which].map((file) => join(folder, file))
    const { images, labels } = await readRecords(files, format, classes.length, signal)
    return fromArrays({ name: `${name}/${which}`, images, labels, classes, height: side, width: side, channels, size })
  }
  return trainTest(await part('train'), await part('test'))
}

async function readNames(file: string, signal: AbortSignal | undefined): Promise<string[]> {
  const bytes = await readWhole(file, signal, (length) => {
    if (length > largestNames) throw bad(file, `the length is ${length} bytes; expected at most ${largestNames}`)
  })
  return parseNames(bytes, file)
}

/** The lines of a text file, at least one. */
export function parseNames(bytes: Uint8Array, file: string): string[] {
  const names = Buffer.from(bytes)
    .toString('utf8')
    .replace(/^\ufeff/, '') // which some editors put before it
    .split(/\r?\n/)
    .filter((line) => line !== '')
  if (names.length === 0) throw bad(file, 'there are no class names; expected one on each line')
  return names
}

async function readRecords(
  files: readonly string[],
  layout: RecordLayout,
  classes: number,
  signal: AbortSignal | undefined,
) {
  const parts: Records[] = []
  for (const file of files) {
    const bytes = await readWhole(file, signal, (length) => checkLength(length, file, layout))
    parts.push(await parseRecords(bytes, file, layout, classes))
  }
  const count = parts.reduce((sum, { labels }) => sum + labels.length, 0)
  const all = { images: new Uint8Array(count * channels * plane), labels: new Uint8Array(count) }
  let at = 0
  for (const { images, labels } of parts) {
    all.images.set(images, at * channels * plane)
    all.labels.set(labels, at)
    at += labels.length
    await setImmediate()
  }
  return all
}

type RecordLayout = Pick<Format, 'labelBytes' | 'labelByte'>

interface Records {
  /** count × 32 × 32 × 3, interleaved. */
  readonly images: Uint8Array
  readonly labels: Uint8Array
}

function checkLength(length: number, file: string, { labelBytes }: RecordLayout): void {
  const recordBytes = labelBytes + channels * plane
  if (length > 0 && length % recordBytes === 0) return
  throw bad(
    file,
    `the length is ${length} bytes; expected a multiple of ${recordBytes}: ${labelBytes} for the label and ` +
      `${channels} × ${side} × ${side} for the image. Get the file again`,
  )
}

/** What a file of the binary version holds: for each image its labels, and its three planes. */
export async function parseRecords(
  bytes: Uint8Array,
  file: string,
  layout: RecordLayout,
  classes: number,
): Promise<Records> {
  checkLength(bytes.length, file, layout)
  const { labelBytes, labelByte } = layout
  const recordBytes = labelBytes + channels * plane
  const count = bytes.length / recordBytes
  const images = new Uint8Array(count * channels * plane)
  const labels = new Uint8Array(count)
  for (let i = 0; i < count; i++) {
    const start = i * recordBytes
    const label = bytes[start + labelByte] as number
    if (label >= classes) throw bad(file, `label ${i} is ${label}; expected a class index, 0 … ${classes - 1}`)
    labels[i] = label
    interleave(bytes.subarray(start + labelBytes, start + recordBytes), images, i * channels * plane)
    if (i % atOnce === atOnce - 1) await setImmediate()
  }
  return { images, labels }
}

/** A red, a green and a blue plane → pixels, written from `to` on. */
function interleave(planes: Uint8Array, images: Uint8Array, to: number): void {
  for (let p = 0; p < plane; p++) {
    for (let c = 0; c < channels; c++) images[to + p * channels + c] = planes[c * plane + p] as number
  }
}

/** Reads a file whose length `check` has let pass: nothing is allocated for one of a wrong length. */
async function readWhole(
  file: string,
  signal: AbortSignal | undefined,
  check: (length: number) => void,
): Promise<Uint8Array> {
  signal?.throwIfAborted()
  try {
    const handle = await open(file)
    try {
      const stat = await handle.stat()
      if (!stat.isFile()) throw bad(file, 'it is not a file; expected one')
      check(stat.size)
      const bytes = new Uint8Array(stat.size)
      for (let at = 0; at < bytes.length; ) {
        signal?.throwIfAborted()
        const { bytesRead } = await handle.read(bytes, at, Math.min(bytes.length - at, 2 ** 24), at)
        if (bytesRead === 0) throw bad(file, `it ended after ${at} of ${stat.size} bytes, while it was read`)
        at += bytesRead
      }
      return bytes
    } finally {
      await handle.close()
    }
  } catch (cause) {
    signal?.throwIfAborted()
    if (cause instanceof ContinualDiffusionError) throw cause
    throw new ContinualDiffusionError(
      'ERR_DATA_NOT_FOUND',
      `${file}: can't be read (${(cause as Error).message}); give the folder of the unpacked binary version`,
      { cause },
    )
  }
}

function bad(file: string, what: string): ContinualDiffusionError {
  return new ContinualDiffusionError('ERR_BAD_DATA', `${file}: ${what}`)
}
