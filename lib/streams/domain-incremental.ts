import { z } from 'zod'
import type { Dataset, TrainTest } from '../data/dataset.js'
import { trainTestSchema } from '../data/schemas.js'
import { torchRandperm } from '../data/torch-random.js'
import { ContinualDiffusionError } from '../errors.js'
import { functionSchema, seedSchema } from '../validation/fields.js'
import { parseOptions, shown } from '../validation/options.js'
import { allClasses, buildStream, nameOfBoth, whole } from './build.js'
import type { Stream } from './stream.js'

/**
 * The shape of one image.
 *
 * @category Streams
 */
export type ImageShape = Pick<Dataset, 'height' | 'width' | 'channels'>

/**
 * A domain: a transform of each image that keeps its shape.
 *
 * @category Streams
 */
export interface Domain {
  /** Name for people, e.g. `rotated by 45°`. */
  readonly name: string
  /** Writes the transformed image into `to`, which holds zeros. Both are height × width × channels, interleaved. */
  transform(from: Uint8Array, to: Uint8Array, shape: ImageShape): void
}

const schema = z.strictObject({
  domains: z
    .array(
      z.looseObject({
        name: z.string().min(1),
        transform: functionSchema<Domain['transform']>(),
      }),
    )
    .min(1, 'expected at least one, e.g. [unchanged(), rotated(45)]'),
})

/**
 * Each task brings all classes again in another domain. The data of every domain is a transformed copy in memory.
 *
 * @param options.domains at least one, in the order of the tasks; see {@link unchanged}, {@link rotated} and {@link permuted}
 *
 * @category Streams
 */
export function domainIncremental(data: TrainTest, options: { domains: readonly Domain[] }): Stream {
  parseOptions(schema, options, 'domainIncremental')
  parseOptions(trainTestSchema, data, 'domainIncremental: data')
  const { domains } = options
  return buildStream(
    `domain-incremental ${nameOfBoth(data.train.name)}`,
    domains.map((domain) => ({
      name: domain.name,
      classes: allClasses(data.train),
      train: whole(changed(data.train, domain)),
      test: whole(changed(data.test, domain)),
    })),
  )
}

/**
 * A domain that leaves images unchanged.
 *
 * @category Streams
 */
export function unchanged(): Domain {
  return { name: 'unchanged', transform: (from, to) => to.set(from) }
}

/**
 * A domain that rotates images anticlockwise about their centre, with bilinear interpolation. Pixels from outside the image are 0.
 *
 * @param degrees any finite number
 *
 * @category Streams
 */
export function rotated(degrees: number): Domain {
  if (!Number.isFinite(degrees)) {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      `rotated: degrees is ${shown(degrees)}; expected a finite number`,
    )
  }
  const angle = (degrees * Math.PI) / 180
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
  // The same for all images of a shape: for each pixel, where its four neighbours are (−1: outside), and how far it is between them.
  let places: { height: number; width: number; corners: Int32Array; betweens: Float64Array } | undefined
  const placesOf = (height: number, width: number) => {
    const corners = new Int32Array(4 * height * width)
    const betweens = new Float64Array(2 * height * width)
    const at = (y: number, x: number) => (y < 0 || y >= height || x < 0 || x >= width ? -1 : y * width + x)
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [dy, dx] = [y - (height - 1) / 2, x - (width - 1) / 2]
        const fromY = sin * dx + cos * dy + (height - 1) / 2
        const fromX = cos * dx - sin * dy + (width - 1) / 2
        const [top, left] = [Math.floor(fromY), Math.floor(fromX)]
        const i = y * width + x
        corners.set([at(top, left), at(top, left + 1), at(top + 1, left), at(top + 1, left + 1)], 4 * i)
        betweens.set([fromY - top, fromX - left], 2 * i)
      }
    }
    return { height, width, corners, betweens }
  }
  return {
    name: `rotated by ${degrees}°`,
    transform(from, to, { height, width, channels }) {
      if (places?.height !== height || places.width !== width) places = placesOf(height, width)
      const { corners, betweens } = places
      const pixel = (place: number, c: number) => (place < 0 ? 0 : from[place * channels + c]!)
      for (let i = 0; i < height * width; i++) {
        const [v, u] = [betweens[2 * i]!, betweens[2 * i + 1]!]
        for (let c = 0; c < channels; c++) {
          const upper = (1 - u) * pixel(corners[4 * i]!, c) + u * pixel(corners[4 * i + 1]!, c)
          const lower = (1 - u) * pixel(corners[4 * i + 2]!, c) + u * pixel(corners[4 * i + 3]!, c)
          to[i * channels + c] = Math.round((1 - v) * upper + v * lower)
        }
      }
    },
  }
}

/**
 * A domain that puts the pixels into another order, the same for every image (permuted MNIST). The channels of a pixel stay together.
 *
 * @param seed of the order, 0 … 2³² − 1
 *
 * @category Streams
 */
export function permuted(seed: number): Domain {
  parseOptions(z.strictObject({ seed: seedSchema }), { seed }, 'permuted')
  let order: number[] = []
  return {
    name: `permuted by seed ${seed}`,
    transform(from, to, { height, width, channels }) {
      if (order.length !== height * width) order = torchRandperm(height * width, seed)
      for (const [i, source] of order.entries()) {
        for (let c = 0; c < channels; c++) to[i * channels + c] = from[source * channels + c]!
      }
    },
  }
}

function changed(dataset: Dataset, domain: Domain): Dataset {
  const { images, height, width, channels } = dataset
  const pixels = height * width * channels
  const out = new Uint8Array(images.length)
  for (let start = 0; start < images.length; start += pixels) {
    domain.transform(images.subarray(start, start + pixels), out.subarray(start, start + pixels), dataset)
  }
  return { ...dataset, name: `${dataset.name}, ${domain.name}`, images: out }
}
