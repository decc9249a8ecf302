import { type ImageSize, sizeOfSides } from '../validation/size.js'

/**
 * Labelled images in memory. Don't change a data set: the engine copies it to the device once and uses that copy.
 *
 * @category Data
 */
export interface Dataset {
  /** Name of the data set in messages and reports, e.g. `fashion-mnist/train`. */
  readonly name: string
  /** uint8, count × height × width × channels, interleaved as sharp's raw buffers and ImageData are. */
  readonly images: Uint8Array
  /** One class index per image, in 0 … classes.length − 1. */
  readonly labels: Int32Array
  /** Class names; a label is an index into them. */
  readonly classes: readonly string[]
  /** Height of the stored images in pixels. */
  readonly height: number
  /** Width of the stored images in pixels. */
  readonly width: number
  /** 1 (grey) to 16. */
  readonly channels: number
  /** What the images are resized to on the device: `[height, width]`, or the side of a square. Absent: as stored. */
  readonly size?: ImageSize
}

/** What a data set's images are on the device. */
export function sizeOf({ size, height, width }: Pick<Dataset, 'size' | 'height' | 'width'>): ImageSize {
  return size ?? sizeOfSides(height, width)
}

/**
 * A data set with a train part and a test part.
 *
 * @category Data
 */
export interface TrainTest {
  readonly train: Dataset
  readonly test: Dataset
}

/**
 * Some images of a data set, by index.
 *
 * @category Data
 */
export interface Subset {
  readonly dataset: Dataset
  /** Positions in the data set, each in 0 … count − 1. */
  readonly indices: Int32Array
}

/**
 * Images that belong to no data set, e.g. images that a learner generated.
 *
 * @category Data
 */
export interface ImageBatch {
  /** uint8, count × height × width × channels, interleaved. */
  readonly data: Uint8Array
  readonly count: number
  readonly height: number
  readonly width: number
  readonly channels: number
}

/** The same images in memory of their own. */
export function copyOf(images: ImageBatch): ImageBatch {
  return { ...images, data: images.data.slice() }
}

/** Images of several subsets in all. */
export function countImages(subsets: readonly Subset[]): number {
  return subsets.reduce((sum, { indices }) => sum + indices.length, 0)
}

/** Where the images of each class lie. */
export function positionsByClass({ classes, labels }: Pick<Dataset, 'classes' | 'labels'>): number[][] {
  const positions: number[][] = classes.map(() => [])
  for (const [i, label] of labels.entries()) positions[label]?.push(i)
  return positions
}
