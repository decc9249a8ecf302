/** How {@link decodeImage} makes pixels of an image. */
export interface DecodeOptions {
  readonly size: number
  readonly fit: 'crop' | 'stretch' | 'pad'
  readonly channels: 1 | 3
  readonly grey: 'luminance' | 'luma'
}

/** libjpeg's complaints that pixels are lost; its others are of bytes that no pixel is made of. */
const lostPixels = /premature|truncated|bad (Huffman|arithmetic) code|instead of RST/i

/** Rec. 601's luma, in the 65536ths that Pillow adds up and rounds. */
const luma = [19595, 38470, 7471].map((weight) => weight / 65536) as [number, number, number]

/** Whether an image is stored in colour, were it grey to look at. */
export async function isInColour(bytes: Uint8Array): Promise<boolean> {
  const { default: sharp } = await import('sharp')
  const { channels } = await sharp(bytes, { failOn: 'none' }).metadata()
  return channels >= 3
}

/**
 * @returns uint8, size × size × channels
 * @throws sharp's error for a damaged image and where the decoder complains, and an error for samples that aren't 8 or 16 bits wide and
 *   unsigned
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
  { size, fit, channels, grey }: DecodeOptions,
  failOn: 'warning' | 'error',
): Promise<Uint8Array> {
  const { default: sharp } = await import('sharp') // not for those who only train
  const { depth, bitsPerSample } = await sharp(bytes, { failOn: 'none' }).metadata()
  if (depth !== 'uchar' && depth !== 'ushort') {
    throw new Error(`its samples are ${depth} of ${bitsPerSample} bits; expected unsigned ones of 8 or 16 bits`)
  }
  const opaque = sharp(bytes, { autoOrient: true, failOn })
    .resize(size, size, {
      fit: ({ crop: 'cover', stretch: 'fill', pad: 'contain' } as const)[fit],
      background: 'black',
    })
    .flatten({ background: 'black' })
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
