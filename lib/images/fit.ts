/** How a page's pictures are written, the better ones first. */
const encodings = [
  { lossless: true },
  { quality: 90 },
  { quality: 75 },
  { quality: 50 },
  { quality: 25 },
  { quality: 10 },
] as const

/** Pictures that fit into a page. */
export interface Fitted {
  readonly pictures: ReadonlyMap<string, Uint8Array>
  /** Whether they are not the same to the pixel. */
  readonly isLossy: boolean
}

/**
 * Makes pictures small enough for a page. Those that are small enough together stay as they are. Otherwise pixels that were repeated to enlarge a
 * picture are drawn together again, and the pictures become WebP, lossless if that is enough.
 *
 * @param pngs PNG files by their names
 * @param mostBytes of all of them together
 */
export async function fitPictures(pngs: ReadonlyMap<string, Uint8Array>, mostBytes: number): Promise<Fitted> {
  const bytes = (files: Iterable<Uint8Array>) => [...files].reduce((sum, file) => sum + file.length, 0)
  if (bytes(pngs.values()) <= mostBytes) return { pictures: pngs, isLossy: false }
  const { default: sharp } = await import('sharp')
  const all = [...pngs]
  const small = new Map<string, Uint8Array>()
  for (const [name, png] of all) small.set(name, await withoutRepeats(png))
  const encode = (png: Uint8Array, i: number) =>
    sharp(png)
      .webp({ ...encodings[i], effort: 3 })
      .toBuffer()
  // What a few of them take tells of all.
  const some = all.filter((_, i) => i % Math.ceil(all.length / 16) === 0).map(([name]) => small.get(name)!)
  let level = 0
  for (; level < encodings.length - 1; level++) {
    const found: Uint8Array[] = []
    for (const png of some) found.push(await encode(png, level))
    if ((bytes(found) * all.length) / some.length <= 0.9 * mostBytes) break
  }
  const pictures = new Map<string, Uint8Array>()
  for (const [name] of all) pictures.set(name, await encode(small.get(name)!, level))
  return { pictures, isLossy: level > 0 }
}

/** The picture at the size at which each of its pixels stands once. */
async function withoutRepeats(png: Uint8Array): Promise<Uint8Array> {
  const { default: sharp } = await import('sharp')
  const { data, info } = await sharp(png).ensureAlpha().raw().toBuffer({ resolveWithObject: true })
  const { width, height } = info
  const pixels = new Uint32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength))
  const isRepeated = (times: number) => {
    if (width % times !== 0 || height % times !== 0) return false
    for (let y = 0; y < height; y++) {
      const [row, first] = [y * width, (y - (y % times)) * width]
      for (let x = 0; x < width; x++) if (pixels[row + x] !== pixels[first + x - (x % times)]) return false
    }
    return true
  }
  const times = [8, 7, 6, 5, 4, 3, 2].find(isRepeated)
  if (times === undefined) return png
  return sharp(png)
    .resize(width / times, height / times, { kernel: 'nearest' })
    .png()
    .toBuffer()
}
