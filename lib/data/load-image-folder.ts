import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { z } from 'zod'
import { ContinualDiffusionError, lackOf, messageOf } from '../errors.js'
import { type ByteName, byCodePoint, byteName } from '../files/byte-names.js'
import { functionSchema, pathSchema, signalSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { warn } from '../validation/printable.js'
import { type ImageSize, sidesOf, sizeSchema } from '../validation/size.js'
import { allocate } from './allocate.js'
import { fromArrays } from './arrays.js'
import type { Dataset } from './dataset.js'
import { decodeDoubtful, decodeImage, isInColour } from './decode-image.js'

/**
 * Options of {@link loadImageFolder}.
 *
 * @category Data
 */
export interface ImageFolderOptions {
  /** Name of the data set in messages and reports. Default: the folder's path. */
  name?: string
  /** What the images become: `[height, width]` in pixels, or the side of a square, each 1 … 4096. */
  size: ImageSize
  /**
   * How an image of other proportions is made to have these. `crop` (default): scaled to cover the size, and cut equally on both sides;
   * `stretch`: scaled to the size, which changes its proportions; `pad`: scaled to fit into the size, with black at the sides.
   */
  fit?: 'crop' | 'stretch' | 'pad'
  /** 1: grey; 3 (default): red, green and blue. Images are converted. */
  channels?: 1 | 3
  /**
   * How colour becomes grey. `luminance` (default): the grey that is as bright as the colour, weighed in linear light (red gives 127). `luma`:
   * 0.299 R + 0.587 G + 0.114 B of the stored values, as Pillow's `convert('L')` and so torchvision's `Grayscale` do (red gives 76).
   */
  grey?: 'luminance' | 'luma'
  /**
   * What lies under transparent pixels: `black` (default) or `white`. `ignore`: pixels have their stored colours, however transparent they are, as
   * Pillow's `convert('RGB')` and so torchvision's `ImageFolder` have them.
   */
  alpha?: 'black' | 'white' | 'ignore'
  /**
   * Whether symbolic links to folders and files are followed, also out of the folder. Default false: a link is an error, so that nothing
   * outside the folder is read.
   */
  followLinks?: boolean
  /** An abort rejects with `signal.reason`. */
  signal?: AbortSignal
  /** Called after every image. */
  onProgress?: (progress: { done: number; total: number }) => void
}

const schema = z.strictObject({
  name: z.string().min(1).optional(),
  size: sizeSchema(1, 4096),
  fit: z.enum(['crop', 'stretch', 'pad']).default('crop'),
  channels: z.union([z.literal(1), z.literal(3)]).default(3),
  grey: z.enum(['luminance', 'luma']).default('luminance'),
  alpha: z.enum(['black', 'white', 'ignore']).default('black'),
  followLinks: z.boolean().default(false),
  signal: signalSchema.optional(),
  onProgress: functionSchema<NonNullable<ImageFolderOptions['onProgress']>>().optional(),
})

/** Files being decoded at once: enough to keep sharp's threads busy. */
const atOnce = 16
/** Names that are read without letting others run. */
const namesAtOnce = 2048

/** Files that a message names. */
const namedAtMost = 5

/**
 * Loads images from a folder that has a folder for each class: `<folder>/<class>/<image>`, in any format that sharp reads (JPEG, PNG, WebP,
 * AVIF, GIF, TIFF, SVG …). The classes are the names of their folders in alphabetical order (by code point, as Python sorts), and the
 * images of a class are in the order of their names. A byte of a name that is not UTF-8 is written as `\xe9` in class names and messages.
 * Files and folders whose names begin with a dot are skipped; every other file must be an image. Images are rotated and mirrored as their EXIF
 * data says, before anything else. Of an animation the first frame is used. Of 16-bit samples the high byte is taken; wider, signed and
 * floating-point ones are refused. A palette is replaced by its colours. CMYK is converted by the file's colour profile, and without one as Pillow
 * does: (255 − ink)(255 − black) / 255. Where the decoder complains of a file but no pixels are lost, e.g. of bytes in a JPEG that belong to nothing, the image is
 * read, and a warning `CONTINUAL_DIFFUSION_DOUBTFUL_IMAGE` names the file.
 *
 * For a stream, join two such data sets by {@link trainTest}, or split one by {@link trainTestSplit}.
 *
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND` when the folder can't be read; `ERR_BAD_DATA` for a folder with another layout, and
 *   for damaged images, with their paths; `ERR_OUT_OF_MEMORY`
 * @throws signal.reason after an abort
 *
 * @category Data
 */
export async function loadImageFolder(folder: string, options: ImageFolderOptions): Promise<Dataset> {
  parseOptions(pathSchema, folder, 'loadImageFolder: folder')
  const parsed = parseOptions(schema, options, 'loadImageFolder')
  const { name = folder, size, channels, followLinks, signal, onProgress } = parsed
  const { classes, files } = await list({ path: Buffer.from(folder), text: folder }, followLinks, signal)
  const [height, width] = sidesOf(size)
  const imageBytes = height * width * channels
  const images = allocate(
    files.length * imageBytes,
    `${folder}: ${files.length} images of ${height} × ${width} × ${channels}`,
  )
  const refused: number[] = []
  let [next, done] = [0, 0]
  const decodeSome = async () => {
    while (next < files.length) {
      signal?.throwIfAborted()
      const i = next++
      try {
        // libvips keeps what it reads from a path, and doesn't see that the file has changed since.
        images.set(await decodeImage(await readFile(files[i]!.path), parsed), i * imageBytes)
      } catch (error) {
        if (lackOf(error)) throw bad(files[i]!.text, messageOf(error), error)
        refused.push(i)
      }
      onProgress?.({ done: ++done, total: files.length })
    }
  }
  await Promise.all(Array.from({ length: atOnce }, decodeSome))
  const [failures, doubtful]: [Complaint[], Complaint[]] = [[], []]
  for (const i of refused.sort((a, b) => a - b)) {
    signal?.throwIfAborted()
    const { path, text: file } = files[i]!
    try {
      const { pixels, complaint: reason } = await decodeDoubtful(await readFile(path), parsed)
      images.set(pixels, i * imageBytes)
      if (reason !== undefined) doubtful.push({ file, reason })
    } catch (cause) {
      if (lackOf(cause)) throw bad(file, messageOf(cause), cause)
      failures.push({ file, reason: messageOf(cause), cause })
    }
  }
  signal?.throwIfAborted()
  if (failures.length > 0) throw damaged(folder, failures)
  if (doubtful.length > 0) {
    warn(
      `${folder}: ${doubtful.length} of its images were read in spite of complaints: ${listed(doubtful)}`,
      'CONTINUAL_DIFFUSION_DOUBTFUL_IMAGE',
    )
  }
  const labels = files.map(({ label }) => label)
  return fromArrays({ name, images, labels, classes, height, width, channels })
}

/** The first image of the first class whose first image is in colour; undefined where there is none. It takes a folder that was loaded. */
export async function firstInColour(folder: string, followLinks: boolean): Promise<string | undefined> {
  const { files } = await list({ path: Buffer.from(folder), text: folder }, followLinks, undefined)
  for (const [i, { path, text, label }] of files.entries()) {
    if (label !== files[i - 1]?.label && (await isInColour(await readFile(path)))) return text
  }
  return undefined
}

/** Where something is: for the system, and in a message. */
interface Place {
  readonly path: Buffer
  readonly text: string
}

interface File extends Place {
  readonly label: number
}

/** Of the decoder. */
interface Complaint {
  readonly file: string
  readonly reason: string
  readonly cause?: unknown
}

async function list(folder: Place, followLinks: boolean, signal: AbortSignal | undefined) {
  const classes = await entries(folder, 'folder', followLinks)
  if (classes.length === 0) throw bad(folder.text, 'there are no folders in it; expected one for each class')
  const files: File[] = []
  for (const [label, name] of classes.entries()) {
    signal?.throwIfAborted()
    const within = inside(folder, name)
    const images = await entries(within, 'file', followLinks)
    if (images.length === 0) throw bad(within.text, 'there are no images in it; expected at least one')
    for (const image of images) files.push({ ...inside(within, image), label }) // there may be more than a call takes arguments
  }
  return { classes: classes.map(({ text }) => text), files }
}

function inside(folder: Place, name: ByteName): Place {
  return { path: Buffer.concat([folder.path, Buffer.from('/'), name.bytes]), text: join(folder.text, name.text) }
}

/** Sorted names of what is in a folder, each of which must be of one kind. */
async function entries(folder: Place, kind: 'folder' | 'file', followLinks: boolean): Promise<ByteName[]> {
  const found = await reading(folder.text, () => readdir(folder.path, { withFileTypes: true, encoding: 'buffer' }))
  const names: ByteName[] = []
  for (const entry of found) {
    const name = byteName(entry.name)
    if (name.text.startsWith('.')) continue
    const { path, text } = inside(folder, name)
    const linked = entry.isSymbolicLink()
    if (linked && !followLinks) {
      throw bad(
        text,
        'it is a symbolic link, which may lead out of the folder; give { followLinks: true } to follow it',
      )
    }
    const real = linked ? await reading(text, () => stat(path)) : entry
    if (kind === 'folder' ? !real.isDirectory() : !real.isFile()) {
      const advice = real.isDirectory()
        ? ': of train/<class>/<image> and test/… load the two one by one, and join them by trainTest'
        : ''
      throw bad(text, `it is no ${kind}; expected <folder>/<class>/<image> and nothing else${advice}`)
    }
    names.push(name)
    if (names.length % namesAtOnce === 0) await setImmediate()
  }
  return names.sort(byCodePoint)
}

async function reading<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (cause) {
    throw new ContinualDiffusionError(
      'ERR_DATA_NOT_FOUND',
      `${path}: can't be read (${(cause as Error).message}); give a folder that has a folder of images for each class`,
      { cause },
    )
  }
}

function bad(path: string, what: string, cause?: unknown): ContinualDiffusionError {
  return new ContinualDiffusionError('ERR_BAD_DATA', `${path}: ${what}`, { cause })
}

function damaged(folder: string, failures: readonly Complaint[]): ContinualDiffusionError {
  return new ContinualDiffusionError(
    'ERR_BAD_DATA',
    `${folder}: ${failures.length} of its files can't be read as images: ${listed(failures)}; mend or remove them`,
    { cause: failures[0]?.cause },
  )
}

/** The first of some files with the decoder's first complaint of each: some have one for each part of a file. */
function listed(complaints: readonly Complaint[]): string {
  const named = complaints.slice(0, namedAtMost).map(({ file, reason }) => {
    const [first = ''] = reason.split('\n')
    return `${file} (${first.slice(0, 200)})`
  })
  return `${named.join(', ')}${complaints.length > namedAtMost ? ` and ${complaints.length - namedAtMost} more` : ''}`
}
