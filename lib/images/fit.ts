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

/** The picture at the size at which each of its pixels stands once; a file that is no picture as it is. */
async function withoutRepeats(png: Uint8Array): Promise<Uint8Array> {
  const { default: sharp } = await import('sharp')
  const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true })
  const { width, height, channels } = info
  const same = (a: number, b: number) => data.subarray(a, a + channels).equals(data.subarray(b, b + channels))
  const at = (x: number, y: number) => (y * width + x) * channels
  const isRepeated = (times: number) => {
    if (width % times !== 0 || height % times !== 0) return false
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        if (!same(at(x, y), at(x - (x % times), y - (y % times)))) return false
      }
    }
    return true
  }
  const times = [8, 7, 6, 5, 4, 3, 2].find(isRepeated)
  if (times === undefined) return png
  const size = { width: width / times, height: height / times }
  return sharp(png).resize(size.width, size.height, { kernel: 'nearest' }).png().toBuffer()
}
