import { z } from 'zod'
import type { ImageBatch } from '../data/dataset.js'
import { imageBatchSchema } from '../data/schemas.js'
import { ContinualDiffusionError } from '../errors.js'
import { parseOptions } from '../validation/options.js'
import { picturesOf } from './picture.js'

/**
 * Options of {@link imageGrid}.
 *
 * @category Results and reports
 */
export interface GridOptions {
  /** Number of images in a row, ≥ 1. Default: ⌈√count⌉, which makes the grid nearly square. */
  readonly columns?: number
  /** Pixels of the PNG per image pixel along a side, a whole number ≥ 1. Default: images are about 64 pixels high. */
  readonly scale?: number
  /** Space between images, in image pixels, ≥ 0. Default 1. */
  readonly gap?: number
}

const gridSchema = z.strictObject({
  columns: z.int().min(1).optional(),
  scale: z.int().min(1).optional(),
  gap: z.int().min(0).optional(),
})

/**
 * Lays images out row by row in one PNG. Images are enlarged by repeating pixels (nearest neighbour), so the grid shows exactly the pixels of
 * the images. The gaps between images, and the empty cells of the last row, are transparent.
 *
 * @param images at least one image, with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels; of images with more, each channel is shown in
 *   grey, side by side from left to right
 * @returns the bytes of the PNG file
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for an empty batch, and when the number of bytes doesn't match the batch's shape
 *
 * @category Results and reports
 */
export async function imageGrid(images: ImageBatch, options: GridOptions = {}): Promise<Uint8Array> {
  const given = parseOptions(imageBatchSchema, images, 'imageGrid: images')
  const { columns: wanted, gap = 1, scale: scaling } = parseOptions(gridSchema, options, 'imageGrid')
  const expected = given.count * given.height * given.width * given.channels
  if (given.count < 1 || given.data.length !== expected) {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      `imageGrid: expected at least one image and count × height × width × channels = ${expected} bytes, ` +
        `found ${given.count} images in ${given.data.length} bytes`,
    )
  }
  const { count, height, width, channels, data } = picturesOf(given)
  const columns = Math.min(count, wanted ?? Math.ceil(Math.sqrt(count)))
  const rows = Math.ceil(count / columns)
  const scale = scaling ?? Math.max(1, Math.round(64 / height))

  const hasAlpha = channels === 2 || channels === 4
  const colours = hasAlpha ? channels - 1 : channels
  const out = colours + 1
  const gridWidth = columns * (width + gap) - gap
  const gridHeight = rows * (height + gap) - gap
  const canvas = new Uint8Array(gridWidth * gridHeight * out)
  for (let n = 0; n < count; n++) {
    const left = (n % columns) * (width + gap)
    const top = Math.floor(n / columns) * (height + gap)
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const from = ((n * height + y) * width + x) * channels
        const to = ((top + y) * gridWidth + left + x) * out
        for (let c = 0; c < colours; c++) canvas[to + c] = data[from + c]!
        canvas[to + colours] = hasAlpha ? data[from + colours]! : 255
      }
    }
  }
  const raw = { width: gridWidth, height: gridHeight, channels: out as 2 | 4 }
  const { default: sharp } = await import('sharp') // not for those who only train
  return sharp(canvas, { raw })
    .resize(gridWidth * scale, gridHeight * scale, { kernel: 'nearest' })
    .png({ compressionLevel: 9 })
    .toBuffer()
}

/** The labels of a grid with a row for each class; undefined where there are no classes. */
export function rowsByClass(
  classes: readonly string[],
  columns: number,
): { count: number; labels: readonly string[] } | undefined {
  if (classes.length === 0) return undefined
  return {
    count: classes.length * columns,
    labels: classes.flatMap((name) => Array.from({ length: columns }, () => name)),
  }
}
