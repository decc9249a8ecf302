import { setImmediate } from 'node:timers/promises'
import type { Channels, default as Open, Sharp } from 'sharp'
import { type ImageSize, sidesOf } from '../validation/size.js'
import { misreadColours } from './tiff-colours.js'

/** How {@link decodeImage} makes pixels of an image. */
export interface DecodeOptions {
  readonly size: ImageSize
  readonly fit: 'crop' | 'stretch' | 'pad'
  readonly channels: 1 | 3
  readonly grey: 'luminance' | 'luma'
  readonly alpha: 'black' | 'white' | 'ignore'
}

/** libjpeg's complaints that pixels are lost; its others are of bytes that no pixel is made of. */
const lostPixels = /premature|truncated|bad (Huffman|arithmetic) code|instead of RST/i

/** Rec. 601's luma, in the 65536ths that Pillow adds up and rounds. */
const luma = [19595, 38470, 7471].map((weight) => weight / 65536) as [number, number, number]

/** Whether an image has colour to look at: one of its pixels, in a small copy, is no grey. */
export async function isInColour(bytes: Uint8Array): Promise<boolean> {
  const { default: sharp } = await import('sharp')
  const small = sharp(bytes, { failOn: 'none' }).resize(16, 16, { fit: 'fill' }).flatten().toColourspace('srgb')
  const pixels = await small.raw({ depth: 'uchar' }).toBuffer()
  const [r, g, b] = [0, 1, 2].map((channel) => pixels.filter((_, i) => i % 3 === channel)) as [Buffer, Buffer, Buffer]
  return r.some((red, i) => Math.max(red, g[i]!, b[i]!) - Math.min(red, g[i]!, b[i]!) > 16)
}

/**
 * @returns uint8, height × width × channels
 * @throws sharp's error for a damaged image and where the decoder complains, and an error for samples that aren't 8 or 16 bits wide and
 *   unsigned, and for a TIFF file's colours of a kind that isn't read
 */
export function decodeImage(bytes: Uint8Array, options: DecodeOptions): Promise<Uint8Array> {
  return decode(bytes, options, 'warning')
}

/**
 * An image that {@link decodeImage} refused. While other images are decoded it mustn't be called: libvips keeps one complaint for all.
 *
 * @returns its pixels and the decoder's complaint, where no pixels are lost
 * @throws as {@link decodeImage} where some are
 */
export async function decodeDoubtful(
  bytes: Uint8Array,
  options: DecodeOptions,
): Promise<{ pixels: Uint8Array; complaint?: string }> {
  try {
    return { pixels: await decode(bytes, options, 'warning') }
  } catch (error) {
    const { message } = error as Error
    if (lostPixels.test(message)) throw error
    return { pixels: await decode(bytes, options, 'error'), complaint: message }
  }
}

async function decode(
  bytes: Uint8Array,
  { size, fit, channels, grey, alpha }: DecodeOptions,
  failOn: 'warning' | 'error',
): Promise<Uint8Array> {
  const { default: sharp } = await import('sharp') // not for those who only train
  const { depth, bitsPerSample, space, icc, hasAlpha, ...about } = await sharp(bytes, { failOn: 'none' }).metadata()
  if (depth !== 'uchar' && depth !== 'ushort') {
    throw new Error(`its samples are ${depth} of ${bitsPerSample} bits; expected unsigned ones of 8 or 16 bits`)
  }
  const misread = misreadColours(bytes)
  if (misread !== undefined) {
    throw new Error(`its colours are ${misread}; expected grey, RGB, a palette, CMYK, CIELab or JPEG: save it as RGB`)
  }
  const [height, width] = sidesOf(size)
  const stored = sharp(bytes, { autoOrient: true, failOn })
  const areInks = space === 'cmyk' && icc === undefined && about.channels === 4 && depth === 'uchar'
  // Resizing would weigh colours by their alpha.
  const isBare = alpha === 'ignore' && hasAlpha
  const image = areInks
    ? fromRaw(sharp, await inksToColours(await rawOf(stored.pipelineColourspace('cmyk').toColourspace('cmyk'))))
    : isBare
      ? fromRaw(sharp, await rawOf(stored.removeAlpha().toColourspace('srgb')))
      : stored
  const opaque = image
    .resize(width, height, {
      fit: ({ crop: 'cover', stretch: 'fill', pad: 'contain' } as const)[fit],
      background: 'black',
    })
    .flatten({ background: alpha === 'white' ? 'white' : 'black' })
  const converted =
    channels === 3
      ? opaque.toColourspace('srgb')
      : grey === 'luminance'
        ? opaque.toColourspace('b-w')
        : opaque.recomb([luma, luma, luma]).linear(1, 0.5).extractChannel(0)
  const { data, info } = await converted.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
  if (info.channels !== channels) throw new Error(`it has ${info.channels} channels after conversion to ${channels}`)
  return data
}

interface Raw {
  readonly data: Uint8Array
  readonly info: { readonly width: number; readonly height: number; readonly channels: Channels }
}

async function rawOf(image: Sharp): Promise<Raw> {
  return image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
}

function fromRaw(sharp: typeof Open, { data, info: { width, height, channels } }: Raw): Sharp {
  return sharp(data, { raw: { width, height, channels } })
}

/** Pixels whose inks become colours at once: a few milliseconds of the event loop. */
const convertedAtOnce = 2 ** 18

/** Red, green and blue of inks that no colour profile describes, as Pillow has them: (255 − ink)(255 − black) / 255. */
async function inksToColours({ data: inks, info }: Raw): Promise<Raw> {
  const pixels = info.width * info.height
  const data = new Uint8Array(pixels * 3)
  for (let begin = 0; begin < pixels; begin += convertedAtOnce) {
    if (begin > 0) await setImmediate()
    for (let i = begin; i < Math.min(pixels, begin + convertedAtOnce); i++) {
      const left = 255 - inks[4 * i + 3]!
      for (let c = 0; c < 3; c++) data[3 * i + c] = left - Math.round((inks[4 * i + c]! * left) / 255)
    }
  }
  return { data, info: { ...info, channels: 3 } }
}
