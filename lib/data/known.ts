import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ContinualDiffusionError } from '../errors.js'
import { cacheFolder } from '../files/cache-folder.js'
import { unknownName } from '../validation/names.js'
import type { IdxFiles } from './load-idx.js'

/** Names of the data sets that the package knows where to find. */
export type KnownName = 'fashion-mnist' | 'mnist'

/** One published file. */
export interface KnownFile {
  /** Name as published, gzipped. */
  readonly file: string
  /** Length of the unpacked file. */
  readonly bytes: number
  /** SHA-256 of the unpacked file: mirrors and distributions pack it anew. */
  readonly sha256: string
}

/** A published data set: what it holds and where it comes from. */
export interface KnownSource {
  readonly name: KnownName
  readonly title: string
  readonly homepage: string
  readonly licence: string
  /** Class names, in the order of the labels. */
  readonly classes: readonly string[]
  /** Number of images of each part. */
  readonly counts: { readonly train: number; readonly test: number }
  /** Trains' images and labels, tests' images and labels. */
  readonly files: {
    readonly train: { readonly images: KnownFile; readonly labels: KnownFile }
    readonly test: { readonly images: KnownFile; readonly labels: KnownFile }
  }
  /** Folders on the web that hold the files, tried in this order. */
  readonly urls: readonly string[]
  /** Folder inside this package with a small part of it, and how many images that has. */
  readonly subset?: { readonly folder: string; readonly counts: { readonly train: number; readonly test: number } }
}

/** Four files as MNIST first named them; the lengths follow from 60,000 + 10,000 images of 28 × 28. */
function idxFiles(sha256: { trainImages: string; trainLabels: string; testImages: string; testLabels: string }) {
  return {
    train: {
      images: { file: 'train-images-idx3-ubyte.gz', bytes: 47_040_016, sha256: sha256.trainImages },
      labels: { file: 'train-labels-idx1-ubyte.gz', bytes: 60_008, sha256: sha256.trainLabels },
    },
    test: {
      images: { file: 't10k-images-idx3-ubyte.gz', bytes: 7_840_016, sha256: sha256.testImages },
      labels: { file: 't10k-labels-idx1-ubyte.gz', bytes: 10_008, sha256: sha256.testLabels },
    },
  }
}

/** The data sets that the package knows where to find. */
export const knownSources: Readonly<Record<KnownName, KnownSource>> = {
  'fashion-mnist': {
    name: 'fashion-mnist',
    title: 'Fashion-MNIST',
    homepage: 'https://github.com/zalandoresearch/fashion-mnist',
    licence: 'MIT',
    classes: ['T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot'],
    counts: { train: 60_000, test: 10_000 },
    files: idxFiles({
      trainImages: 'c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888',
      trainLabels: 'bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9',
      testImages: '5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b',
      testLabels: '0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34',
    }),
    urls: [
      'https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion',
      'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com',
    ],
    subset: { folder: 'fashion-mnist-subset', counts: { train: 5_000, test: 1_000 } },
  },
  mnist: {
    name: 'mnist',
    title: 'MNIST',
    homepage: 'http://yann.lecun.com/exdb/mnist',
    licence: 'CC BY-SA 3.0',
    classes: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
    counts: { train: 60_000, test: 10_000 },
    files: idxFiles({
      trainImages: 'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db',
      trainLabels: '65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5',
      testImages: '0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7',
      testLabels: 'ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2',
    }),
    urls: ['https://ossci-datasets.s3.amazonaws.com/mnist', 'https://storage.googleapis.com/cvdf-datasets/mnist'],
  },
}

/** Where data sets are looked for. */
export interface PlacesOptions {
  /** Folder given by the user with the data set's files in it. */
  folder?: string
  /** Folder of the system's data sets, each in a folder of its name. Default `/usr/share/datasets` (Debian's). */
  systemFolder?: string
  /** Folder that downloads are kept in, each data set in a folder of its name. Default: in the user's cache folder, if there is one. */
  cacheFolder?: string
}

/** A place where a data set may be, and whether it is there. */
export interface Place {
  /** `folder`: given; `system`; `cache`: downloaded before; `subset`: the small part in this package. */
  readonly kind: 'folder' | 'system' | 'cache' | 'subset'
  readonly path: string
  readonly found: boolean
  /** Files that the place lacks, by published name; each may also be there unpacked, without `.gz`. */
  readonly missing: readonly string[]
  /** Paths to read, when found. */
  readonly files?: { readonly train: IdxFiles; readonly test: IdxFiles }
}

/**
 * A known data set by name.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for another name, with the nearest known one
 */
export function knownSource(name: string): KnownSource {
  if (Object.hasOwn(knownSources, name)) return knownSources[name as KnownName]
  throw new ContinualDiffusionError('ERR_INVALID_ARGUMENT', unknownName('data set', name, Object.keys(knownSources)))
}

/**
 * Looks for a known data set: in the given folder if any, the system's data set folder, the user's cache, and the part
 * shipped with this package if any, in this order.
 */
export async function locate(name: KnownName, options: PlacesOptions = {}): Promise<Place[]> {
  const source = knownSource(name)
  const places: { kind: Place['kind']; path: string }[] = []
  if (options.folder !== undefined) places.push({ kind: 'folder', path: options.folder })
  places.push({ kind: 'system', path: join(options.systemFolder ?? '/usr/share/datasets', name) })
  const cache = cachePath(name, options)
  if (cache !== undefined) places.push({ kind: 'cache', path: cache })
  if (source.subset) places.push({ kind: 'subset', path: shippedPath(source.subset.folder) })
  return Promise.all(places.map(({ kind, path }) => look(source, kind, path)))
}

/** Folder where downloads of a data set are kept; undefined where none is given and the user has no cache folder. */
export function cachePath(name: KnownName, options: Pick<PlacesOptions, 'cacheFolder'> = {}): string | undefined {
  const folder = options.cacheFolder ?? cacheFolder('data')
  return folder && join(folder, name)
}

function shippedPath(folder: string): string {
  return fileURLToPath(new URL(`../../data/${folder}`, import.meta.url))
}

async function look(source: KnownSource, kind: Place['kind'], path: string): Promise<Place> {
  const missing: string[] = []
  const find = async ({ file }: KnownFile) => {
    for (const candidate of [file, file.replace(/\.gz$/, '')]) {
      if (await readable(join(path, candidate))) return join(path, candidate)
    }
    missing.push(file)
    return ''
  }
  const part = async ({ images, labels }: { images: KnownFile; labels: KnownFile }) => ({
    images: await find(images),
    labels: await find(labels),
  })
  const files = { train: await part(source.files.train), test: await part(source.files.test) }
  return missing.length === 0 ? { kind, path, found: true, missing, files } : { kind, path, found: false, missing }
}

async function readable(path: string): Promise<boolean> {
  return access(path, constants.R_OK).then(
    () => true,
    () => false,
  )
}
