import { z } from 'zod'

/**
 * Height and width of images in pixels. One number: of squares of that side.
 *
 * @category Data
 */
export type ImageSize = number | readonly [height: number, width: number]

/** Channels of an image that a network can be made for, at most. */
export const mostChannels = 16

/** @param most pixels of a side, at most */
export function sizeSchema(least: number, most: number) {
  const side = z.int().min(least).max(most)
  const expected = `expected a whole number from ${least} to ${most}, or [height, width] of two such numbers`
  return z.union([side, z.tuple([side, side]).readonly()], expected)
}

/** Pixels of a side of images in memory and files, at most. */
export const largestSide = 65536
export const sideSchema = z.int().min(1).max(largestSide)
export const imageSizeSchema = sizeSchema(1, largestSide)
export const channelsSchema = z.int().min(1).max(mostChannels)

export function sidesOf(size: ImageSize): readonly [height: number, width: number] {
  return typeof size === 'number' ? [size, size] : size
}

/** One number for squares. */
export function sizeOfSides(height: number, width: number): ImageSize {
  return height === width ? height : [height, width]
}

export function isSameSize(a: ImageSize, b: ImageSize): boolean {
  return shownSize(a) === shownSize(b)
}

/** A size in a message: `28 × 28`. */
export function shownSize(size: ImageSize): string {
  return sidesOf(size).join(' × ')
}

/** A size as it stands in options: `28` or `[28, 32]`. */
export function writtenSize(size: ImageSize): string {
  const [height, width] = sidesOf(size)
  return height === width ? `${height}` : `[${height}, ${width}]`
}
