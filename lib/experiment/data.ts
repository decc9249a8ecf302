import { existsSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import type { UNetConfig } from '../config/unet.js'
import { trainTest } from '../data/arrays.js'
import type { TrainTest } from '../data/dataset.js'
import { knownSources } from '../data/known.js'
import { loadCifar10, loadCifar100 } from '../data/load-cifar.js'
import { loadIdx } from '../data/load-idx.js'
import { firstInColour, loadImageFolder } from '../data/load-image-folder.js'
import { fashionMnist, mnist } from '../data/load-known.js'
import { splitSchema, trainTestSplit } from '../data/split.js'
import { warn } from '../validation/printable.js'
import { type ImageSize, sizeSchema } from '../validation/size.js'
import { dataNames } from './data-names.js'

/** What images are resized to: `[height, width]` in pixels, or the side of a square. Default: the U-Net's `sample_size`. */
const size = sizeSchema(1, 4096).optional()
const folder = z.string('expected the path of the folder with the data (--data-folder)').min(1)

const idxFiles = z.strictObject({ images: z.string().min(1), labels: z.string().min(1) })

/** Where the images of an experiment come from: a data set that the package knows, or a folder in a known format. */
export const dataSchema = z.discriminatedUnion(
  'name',
  [
    z.strictObject({
      name: z.literal('fashion-mnist'),
      size,
      /** Uses the small part of the data that is shipped with the package. Default false. */
      subset: z.boolean().default(false),
      /** Folder with the data set's files. Default: looked for in the known places, and downloaded. */
      folder: folder.optional(),
    }),
    z.strictObject({ name: z.literal('mnist'), size, folder: folder.optional() }),
    z.strictObject({
      name: z.literal('idx'),
      size,
      /** Folder with IDX files, gzipped or not. */
      folder,
      /** Files inside the folder; default: named as MNIST's are. */
      train: idxFiles.default({ images: 'train-images-idx3-ubyte', labels: 'train-labels-idx1-ubyte' }),
      test: idxFiles.default({ images: 't10k-images-idx3-ubyte', labels: 't10k-labels-idx1-ubyte' }),
      /** Class names; default: the labels. */
      classes: z.array(z.string()).min(1).optional(),
    }),
    // Folders with the files of the binary version.
    z.strictObject({ name: z.literal('cifar-10'), size, folder }),
    z.strictObject({
      name: z.literal('cifar-100'),
      size,
      folder,
      /** The hundred classes (`fine`, the default) or the twenty kinds of them. */
      labels: z.enum(['coarse', 'fine']).default('fine'),
    }),
    z.strictObject({
      name: z.literal('image-folder'),
      size,
      /**
       * Folder that holds `train/<class>/<image>` and `test/<class>/<image>`, or `<class>/<image>`, in any format that sharp reads.
       */
      folder,
      /** Names of the two folders inside it. */
      train: z.string().min(1).default('train'),
      test: z.string().min(1).default('test'),
      /** How `<class>/<image>` is split: the share of each class's images that are test images, and the seed that draws them. */
      split: splitSchema,
      /** How an image of other proportions gets those of `size`. Default `crop`. */
      fit: z.enum(['crop', 'stretch', 'pad']).default('crop'),
      /** 1: grey; 3: colour. Default: the U-Net's `in_channels`. */
      channels: z.union([z.literal(1), z.literal(3)]).optional(),
      /** How colour becomes grey: `luminance` (default), or `luma` as Pillow does. */
      grey: z.enum(['luminance', 'luma']).default('luminance'),
      /** What lies under transparent pixels: `black` (default), `white`, or `ignore` for their stored colours as Pillow has them. */
      alpha: z.enum(['black', 'white', 'ignore']).default('black'),
      /** Follows symbolic links, wherever they lead. Default false: a link is an error. */
      followLinks: z.boolean().default(false),
    }),
  ],
  `expected an object whose name is one of ${dataNames.join(', ')}`,
)

export type DataConfig = z.output<typeof dataSchema>

/**
 * @param unet what an image folder's images are made for
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND`, `ERR_BAD_DATA`, `ERR_DOWNLOAD_FAILED`
 */
export async function loadData(
  config: DataConfig,
  unet: UNetConfig & { sample_size: ImageSize },
  signal?: AbortSignal,
): Promise<TrainTest> {
  switch (config.name) {
    case 'fashion-mnist': {
      const { size, folder, subset } = config
      return fashionMnist({ size, folder, subset, signal })
    }
    case 'mnist':
      return mnist({ size: config.size, folder: config.folder, signal })
    case 'cifar-10':
      return loadCifar10({ folder: config.folder, size: config.size, signal })
    case 'cifar-100':
      return loadCifar100({ folder: config.folder, size: config.size, labels: config.labels, signal })
    case 'image-folder': {
      const {
        folder,
        fit,
        channels = unet.in_channels as 1 | 3,
        grey,
        alpha,
        size = unet.sample_size,
        followLinks,
      } = config
      const name = path.basename(path.resolve(folder))
      const options = { size, fit, channels, grey, alpha, followLinks, signal }
      const part = async (which: 'train' | 'test') => {
        const at = path.join(folder, config[which])
        const dataset = await loadImageFolder(at, { ...options, name: `${name}/${which}` })
        if (isGreyUnasked(config, channels)) await warnOfColour(at, followLinks)
        return dataset
      }
      const isSplit = existsSync(path.join(folder, config.train)) || existsSync(path.join(folder, config.test))
      if (isSplit) return trainTest(await part('train'), await part('test'))
      const split = trainTestSplit(await loadImageFolder(folder, { ...options, name }), config.split)
      warn(
        `${folder} has no ${config.train}/ and ${config.test}/, so that each class is split by seed ${config.split.seed}: ` +
          `${split.train.labels.length} training and ${split.test.labels.length} test images`,
        'CONTINUAL_DIFFUSION_SPLIT',
      )
      if (isGreyUnasked(config, channels)) await warnOfColour(folder, followLinks)
      return split
    }
    case 'idx': {
      const { folder, train, test, classes, size } = config
      const within = ({ images, labels }: typeof train) => ({
        images: idx(folder, images),
        labels: idx(folder, labels),
      })
      return loadIdx({ name: path.basename(folder), train: within(train), test: within(test), classes, size, signal })
    }
  }
}

function isGreyUnasked(config: { channels?: number | undefined }, channels: number): boolean {
  return config.channels === undefined && channels === 1
}

async function warnOfColour(folder: string, followLinks: boolean): Promise<void> {
  const coloured = await firstInColour(folder, followLinks)
  if (coloured === undefined) return
  warn(
    `${coloured} is in colour: images become grey, as unet.in_channels is 1; for colour, set unet.in_channels and unet.out_channels to 3 (--channels 3)`,
    'CONTINUAL_DIFFUSION_GREY',
  )
}

/** The packed file is taken where the plain one isn't there. */
function idx(folder: string, name: string): string {
  const plain = path.join(folder, name)
  return !existsSync(plain) && existsSync(`${plain}.gz`) ? `${plain}.gz` : plain
}

const titles = {
  'fashion-mnist': knownSources['fashion-mnist'].title,
  mnist: knownSources.mnist.title,
  'cifar-10': 'CIFAR-10',
  'cifar-100': 'CIFAR-100',
} as const

/** What a report calls the data. */
export function dataTitle(config: DataConfig): string {
  if (config.name === 'idx' || config.name === 'image-folder') return path.basename(path.resolve(config.folder))
  return `${titles[config.name]}${'subset' in config && config.subset ? ' (small subset)' : ''}`
}
