import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { ContinualDiffusionError, lackOf } from '../errors.js'
import { noCacheFolder, warnNotKept, warnOfCache } from '../files/cache-folder.js'
import { functionSchema, signalSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { type ImageSize, imageSizeSchema } from '../validation/size.js'
import type { TrainTest } from './dataset.js'
import { download, verify } from './download.js'
import {
  cachePath,
  type KnownFile,
  type KnownName,
  knownSource,
  knownSources,
  locate,
  type Place,
  type PlacesOptions,
} from './known.js'
import { loadIdx } from './load-idx.js'

/** Options of a download of a known data set. */
export interface GetOptions extends Pick<PlacesOptions, 'cacheFolder'> {
  /**
   * Address of a folder that holds the four files under their published names, in place of the known ones. Default: the
   * environment variable `CONTINUAL_DIFFUSION_DATA_URL` with the data set's name after it, where that is set.
   */
  url?: string
  /** An abort rejects with `signal.reason`. */
  signal?: AbortSignal
  /** Called as bytes arrive, with the file's name, the packed bytes so far, and the packed bytes in all (0: unknown). */
  onProgress?: (file: string, done: number, total: number) => void
}

/**
 * Options of {@link fashionMnist} and {@link mnist}.
 *
 * @category Data
 */
export interface KnownOptions extends PlacesOptions, GetOptions {
  /** What the images are resized to on the device: `[height, width]`, or the side of a square. Default: as stored, 28. */
  size?: ImageSize
}

const knownSchema = z.strictObject({
  size: imageSizeSchema.optional(),
  folder: z.string().min(1).optional(),
  systemFolder: z.string().min(1).optional(),
  cacheFolder: z.string().min(1).optional(),
  url: z.url().optional(),
  subset: z.boolean().optional(),
  signal: signalSchema.optional(),
  onProgress: functionSchema<NonNullable<GetOptions['onProgress']>>().optional(),
})

/**
 * Fashion-MNIST: 60,000 + 10,000 grey images of 28 × 28 of ten kinds of clothing (arXiv 1708.07747, MIT licence).
 *
 * With `folder` it is read from that folder and nowhere else. Otherwise it is read from the system's data set folder (Debian's package
 * `dataset-fashion-mnist`) or from the user's cache; if neither has it, it is downloaded into that cache. Where the cache can't be written, it
 * is downloaded for this once, and a warning `CONTINUAL_DIFFUSION_NO_CACHE` says so.
 *
 * @param options.subset loads the part that is shipped with this package, the first 500 + 100 images of each class, without the other
 *   folders and without the network
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND` when files are missing in the folder, `ERR_BAD_DATA` for damaged files,
 *   `ERR_DOWNLOAD_FAILED`
 *
 * @category Data
 */
export function fashionMnist(options: KnownOptions & { subset?: boolean } = {}): Promise<TrainTest> {
  return load('fashion-mnist', options, 'fashionMnist')
}

/**
 * MNIST: 60,000 + 10,000 grey images of 28 × 28 of handwritten digits (LeCun, Cortes and Burges 1998). It is searched for
 * in the same places as {@link fashionMnist}.
 *
 * @category Data
 */
export function mnist(options: KnownOptions = {}): Promise<TrainTest> {
  return load('mnist', options, 'mnist')
}

/**
 * Downloads the files of a known data set that the cache lacks, or has damaged, each checked by its SHA-256, and returns the folder.
 * Aborting or failing leaves the files that were already whole.
 */
export async function getKnown(name: KnownName, options: GetOptions = {}): Promise<string> {
  const { files, urls } = knownSource(name)
  const base = process.env.CONTINUAL_DIFFUSION_DATA_URL
  const override = options.url ?? (base ? `${base.replace(/\/+$/, '')}/${name}` : undefined)
  const bases = override === undefined ? urls : [override.replace(/\/+$/, '')]
  const folder = cachePath(name, options)
  if (folder === undefined) throw new ContinualDiffusionError('ERR_WRITE_FAILED', `${name}: ${noCacheFolder}`)
  const { onProgress, signal } = options
  for (const part of [files.train, files.test]) {
    for (const known of [part.images, part.labels]) {
      const { file, sha256, bytes } = known
      if (await isWhole(folder, known, signal)) continue
      await download({
        urls: bases.map((url) => `${url}/${file}`),
        path: join(folder, file),
        sha256,
        bytes,
        signal,
        onProgress: (done, total) => onProgress?.(file, done, total),
      })
    }
  }
  return folder
}

/** Whether a folder has a file, packed or else not, as it was published. */
async function isWhole(folder: string, { file, ...expected }: KnownFile, signal?: AbortSignal): Promise<boolean> {
  const found = [file, file.replace(/\.gz$/, '')].find((name) => existsSync(join(folder, name)))
  if (found === undefined) return false
  try {
    await verify(join(folder, found), { ...expected, signal }, found === file)
    return true
  } catch (cause) {
    signal?.throwIfAborted()
    if (lackOf(cause)) throw new ContinualDiffusionError('ERR_BAD_DATA', `${found}: can't be read`, { cause })
    return false
  }
}

async function load(name: KnownName, options: KnownOptions & { subset?: boolean }, where: string): Promise<TrainTest> {
  parseOptions(name === 'mnist' ? knownSchema.omit({ subset: true }) : knownSchema, options, where)
  const { size, signal, subset = false, folder } = options
  if (subset && folder !== undefined) {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      `${where}: both folder (${folder}) and subset are given; the subset is part of this package, give one of the two`,
    )
  }
  const loadFrom = ({ files }: Place) =>
    loadIdx({
      name: subset ? `${name}-subset` : name,
      ...(files as NonNullable<Place['files']>),
      classes: knownSources[name].classes,
      size,
      signal,
    })
  if (subset || folder !== undefined) return loadFrom(await given(name, options, subset))
  for (const place of await locate(name, options)) {
    if (place.kind !== 'subset' && place.found && (await isPublished(name, place, signal))) return loadFrom(place)
  }
  try {
    return await loadFrom(await downloaded(name, options))
  } catch (error) {
    if (!(error instanceof ContinualDiffusionError) || error.code !== 'ERR_WRITE_FAILED') throw error
    const temporary = await mkdtemp(join(tmpdir(), 'continual-diffusion-'))
    try {
      const data = await loadFrom(await downloaded(name, { ...options, cacheFolder: temporary }))
      warnNotKept(name, error.message)
      return data
    } finally {
      await rm(temporary, { recursive: true, force: true })
    }
  }
}

/** Whether a place that others may have written to has just what was published; with a warning where it hasn't. */
async function isPublished(name: KnownName, { path }: Place, signal: AbortSignal | undefined): Promise<boolean> {
  const { train, test } = knownSource(name).files
  for (const known of [train.images, train.labels, test.images, test.labels]) {
    if (await isWhole(path, known, signal)) continue
    warnOfCache(`${join(path, known.file)} is not the file that was published: ${path} is not used`)
    return false
  }
  return true
}

/** The place that the caller names: what is there is taken as it is. */
async function given(name: KnownName, options: KnownOptions, subset: boolean): Promise<Place> {
  const places = await locate(name, options)
  const place = places.find(({ kind }) => kind === (subset ? 'subset' : 'folder')) as Place
  if (place.found) return place
  throw new ContinualDiffusionError(
    'ERR_DATA_NOT_FOUND',
    `${place.path}: ${name} is not there, or not whole; missing: ${place.missing.join(', ')} (or the same without .gz). ` +
      (subset ? 'Install this package again.' : `Leave the folder out to have ${name} looked for and downloaded.`),
  )
}

/** The cache, once all that it lacks or has damaged was downloaded. */
async function downloaded(name: KnownName, options: KnownOptions): Promise<Place> {
  const path = await getKnown(name, options)
  const place = (await locate(name, options)).find((candidate) => candidate.kind === 'cache' && candidate.found)
  if (place) return place
  throw new ContinualDiffusionError('ERR_DATA_NOT_FOUND', `${path}: ${name} is gone again`)
}
