import { z } from 'zod'

/**
 * Height and width of images in pixels. One number: of squares of that side.
 *
 * @category Data
 */
export type ImageSize = number | readonly [height: number, width: number]

/** @param most pixels of a side, at most */
export function sizeSchema(least: number, most: number) {
  const side = z.int().min(least).max(most)
  const expected = `expected a whole number from ${least} to ${most}, or [height, width] of two such numbers`
  return z.union([side, z.tuple([side, side]).readonly()], expected)
}

export function sidesOf(size: ImageSize): readonly [height: number, width: number] {
  return typeof size === 'number' ? [size, size] : size
}
