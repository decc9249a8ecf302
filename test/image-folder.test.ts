import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { type ImageFolderOptions, loadImageFolder } from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { failure } from './support/tiny.js'

type Rgb = { r: number; g: number; b: number }
const red = { r: 255, g: 0, b: 0 }
const green = { r: 0, g: 255, b: 0 }
const blue = { r: 0, g: 0, b: 255 }

/** An image of one colour. */
const plain = (colour: Rgb, width = 8, height = 8) =>
  sharp({ create: { width, height, channels: 3, background: colour } })

/** Left half of one colour, right half of the other. */
function halves(left: Rgb, right: Rgb, width: number, height: number) {
  const data = Buffer.alloc(width * height * 3)
  for (let p = 0; p < width * height; p++) {
    const { r, g, b } = p % width < width / 2 ? left : right
    data.set([r, g, b], p * 3)
  }
  return sharp(data, { raw: { width, height, channels: 3 } })
}

/** An uncompressed TIFF of 2 × 2 grey pixels; `format`: 1 unsigned, 2 signed, 3 floating-point. */
function greyTiff(bits: number, format: number, data: Buffer): Buffer {
  // By tag: width, height, bits, compression (none), photometric (black is 0), offset, samples in a pixel, rows, bytes, format.
  const tags = [256, 2, 257, 2, 258, bits, 259, 1, 262, 1, 273, 134, 277, 1, 278, 2, 279, data.length, 339, format]
  const head = Buffer.alloc(134)
  head.write('II*')
  head.writeUInt32LE(8, 4)
  head.writeUInt16LE(tags.length / 2, 8)
  for (let i = 0; i < tags.length; i += 2) {
    head.writeUInt16LE(tags[i] as number, 10 + i * 6)
    head.writeUInt16LE(4, 12 + i * 6)
    head.writeUInt32LE(1, 14 + i * 6)
    head.writeUInt32LE(tags[i + 1] as number, 18 + i * 6)
  }
  return Buffer.concat([head, data])
}

const inserted = (bytes: Buffer, at: number, more: Buffer) =>
  Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)])

async function folderOf(files: Record<string, sharp.Sharp | Buffer | string>): Promise<string> {
  const folder = await temporaryFolder()
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(folder, name)
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(
      file,
      typeof content === 'string' || Buffer.isBuffer(content) ? content : await content.png().toBuffer(),
    )
  }
  return folder
}

/** Pixels of the only image of a folder that has one. */
async function only(image: sharp.Sharp | Buffer, options: ImageFolderOptions): Promise<number[][]> {
  const { images, channels } = await loadImageFolder(await folderOf({ 'a/image': image }), options)
  return Array.from({ length: images.length / channels }, (_, p) => [
    ...images.subarray(p * channels, (p + 1) * channels),
  ])
}

const rgb = ({ r, g, b }: Rgb) => [r, g, b]

describe('loadImageFolder', () => {
  it('names classes by their folders in alphabetical order, reads any format, and passes over dot files', async () => {
    const folder = await folderOf({
      'zebra/1.png': plain(red),
      'Ant/2.png': plain(green),
      'Ant/10.webp': await plain(blue).webp({ lossless: true }).toBuffer(),
      'bee/x.gif': await plain(red).gif().toBuffer(),
      'bee/y.tiff': await plain(green).tiff({ compression: 'lzw' }).toBuffer(),
      'bee/z.svg':
        '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8" fill="#00f"/></svg>',
      'bee/.DS_Store': 'no image',
      '.git/config': 'no class',
    })
    const progress: number[] = []
    const data = await loadImageFolder(folder, {
      size: 4,
      onProgress: ({ done, total }) => progress.push(done / total),
    })
    expect(data).toMatchObject({ name: folder, height: 4, width: 4, channels: 3 })
    // As Python sorts: capitals first, and 10 before 2.
    expect(data.classes).toEqual(['Ant', 'bee', 'zebra'])
    expect([...data.labels]).toEqual([0, 0, 1, 1, 1, 2])
    const firstPixels = [...data.labels.keys()].map((i) => [...data.images.subarray(i * 48, i * 48 + 3)])
    expect(firstPixels).toEqual([blue, green, red, green, blue, red].map(rgb))
    expect(progress).toHaveLength(6)
    expect(progress.at(-1)).toBe(1)
  })

  it('takes names that are not UTF-8, in the order in which Python sorts them', async () => {
    const folder = await temporaryFolder()
    const latin = Buffer.from('café', 'latin1')
    const names = ['\u{10000}', '\uff41', 'café', latin, 'caf', Buffer.from([0x80]), 'z'].map((name) =>
      Buffer.from(name),
    )
    const image = await plain(red).png().toBuffer()
    for (const name of names) {
      const at = Buffer.concat([Buffer.from(`${folder}/`), name])
      await mkdir(at)
      await writeFile(Buffer.concat([at, Buffer.from('/\xff', 'latin1')]), image)
    }
    // The order of sorted(os.listdir(folder)) in Python 3.11.
    const expected = ['caf', 'café', 'caf\\xe9', 'z', '\\x80', '\uff41', '\u{10000}']
    expect((await loadImageFolder(folder, { size: 8 })).classes).toEqual(expected)
    await writeFile(Buffer.concat([Buffer.from(`${folder}/z/`), Buffer.from([0xfe])]), 'no image')
    expect((await failure(loadImageFolder(folder, { size: 8 }))).message).toContain('z/\\xfe (')
  })

  it('reads a file that was overwritten anew', async () => {
    const svg = (colour: string) =>
      `<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8" fill="${colour}"/></svg>`
    const folder = await folderOf({ 'a/x.svg': svg('#f00') })
    const first = async () => [...(await loadImageFolder(folder, { size: 8 })).images.subarray(0, 3)]
    expect(await first()).toEqual(rgb(red))
    await writeFile(path.join(folder, 'a', 'x.svg'), svg('#00f'))
    expect(await first()).toEqual(rgb(blue))
  })

  it('crops, stretches or pads what is not square', async () => {
    const wide = () => {
      // A red bar on the left and a blue one on the right of a green square.
      const bars = ['red', 'lime', 'blue'].map(
        (colour, i) => `<rect x="${i * 8}" width="8" height="8" fill="${colour}"/>`,
      )
      return sharp(Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="24" height="8">${bars.join('')}</svg>`))
    }
    const cropped = await only(wide(), { size: 8 })
    expect(cropped.every((pixel) => pixel.join() === rgb(green).join())).toBe(true)
    const near = (pixel: number[] | undefined, colour: Rgb) =>
      rgb(colour).every((value, c) => Math.abs((pixel?.[c] as number) - value) < 16)
    const stretched = await only(wide(), { size: 8, fit: 'stretch' })
    expect([near(stretched[0], red), near(stretched[7], blue)]).toEqual([true, true])
    const padded = await only(wide(), { size: 6, fit: 'pad' })
    expect(padded.slice(0, 6)).toEqual(Array(6).fill([0, 0, 0]))
    expect([near(padded[12], red), near(padded[17], blue)]).toEqual([true, true])
    expect(padded.slice(30)).toEqual(Array(6).fill([0, 0, 0]))
  })

  it('turns images as their EXIF data says', async () => {
    // 6: to be turned by 90 degrees clockwise, so that the left half comes to the top.
    const turned = await halves(red, blue, 8, 8).withMetadata({ orientation: 6 }).png().toBuffer()
    const pixels = await only(turned, { size: 8 })
    expect(pixels.slice(0, 8)).toEqual(Array(8).fill(rgb(red)))
    expect(pixels.slice(56)).toEqual(Array(8).fill(rgb(blue)))
  })

  it('converts between grey and colour, and 16 bits to 8', async () => {
    const grey = await plain({ r: 100, g: 100, b: 100 }).toColourspace('b-w').png().toBuffer()
    expect((await sharp(grey).metadata()).channels).toBe(1)
    expect((await only(grey, { size: 2 }))[0]).toEqual([100, 100, 100])
    expect((await only(grey, { size: 2, channels: 1 }))[0]).toEqual([100])
    expect((await only(plain({ r: 255, g: 255, b: 255 }), { size: 2, channels: 1 }))[0]).toEqual([255])
    const deep = await plain({ r: 200, g: 100, b: 50 }).toColourspace('rgb16').png().toBuffer()
    expect((await sharp(deep).metadata()).depth).toBe('ushort')
    const [pixel] = await only(deep, { size: 2 })
    for (const [c, value] of [200, 100, 50].entries()) expect(Math.abs((pixel?.[c] as number) - value)).toBeLessThan(2)
    const deepGrey = await plain({ r: 100, g: 100, b: 100 }).toColourspace('grey16').png().toBuffer()
    expect((await sharp(deepGrey).metadata()).depth).toBe('ushort')
    const [[shade] = []] = await only(deepGrey, { size: 2, channels: 1 })
    expect(Math.abs((shade as number) - 100)).toBeLessThan(2)
  })

  it('refuses samples that are not 8 or 16 bits wide and unsigned', async () => {
    const samples = {
      'float of 32': [32, 3, Buffer.from(Float32Array.of(0, 0.25, 0.5, 1).buffer)],
      'uint of 32': [32, 1, Buffer.from(Uint32Array.of(0, 255, 65536, 2 ** 32 - 1).buffer)],
      'int of 32': [32, 2, Buffer.from(Int32Array.of(0, 255, -1, 2 ** 31 - 1).buffer)],
      'short of 16': [16, 2, Buffer.from(Int16Array.of(0, 255, -1, 32767).buffer)],
      'char of 8': [8, 2, Buffer.from(Int8Array.of(0, 127, -1, -128).buffer)],
      'float of 16': [16, 3, Buffer.alloc(8)],
    } as const
    for (const [name, [bits, format, data]] of Object.entries(samples)) {
      const error = await failure(only(greyTiff(bits, format, data), { size: 2 }))
      expect([error.code, error.message]).toEqual(['ERR_BAD_DATA', expect.stringContaining(`samples are ${name} bits`)])
    }
    const wide = greyTiff(16, 1, Buffer.from(Uint16Array.of(0, 65535, 100 * 257, 200 * 257).buffer))
    expect((await only(wide, { size: 2, channels: 1 })).flat()).toEqual([0, 255, 100, 200])
  })

  it('makes colour grey by luminance or, as Pillow does, by luma', async () => {
    // Image.new('RGB', (8, 8), colour).convert('L') in Pillow 13.0.
    const pillow: [Rgb, number][] = [
      [red, 76],
      [green, 150],
      [blue, 29],
      [{ r: 255, g: 255, b: 255 }, 255],
      [{ r: 10, g: 200, b: 77 }, 129],
      [{ r: 1, g: 2, b: 3 }, 2],
    ]
    for (const [colour, grey] of pillow) {
      expect((await only(plain(colour), { size: 8, channels: 1, grey: 'luma' }))[0]).toEqual([grey])
    }
    // 0.2126 of full red in linear light is 127 in sRGB.
    expect((await only(plain(red), { size: 8, channels: 1 }))[0]).toEqual([127])
  })

  it('reads a JPEG whose pixels are all there in spite of its decoder, and warns', async () => {
    const jpeg = await plain(red).jpeg().toBuffer()
    const odd = {
      'a/adobe.jpg': inserted(jpeg, 2, Buffer.from('ffee000e41646f626500640000000009', 'hex')),
      'a/fill.jpg': inserted(jpeg, jpeg.indexOf(Buffer.from([0xff, 0xdb])), Buffer.alloc(3)),
    }
    const folder = await folderOf({ ...odd, 'a/good.jpg': jpeg })
    const warned = new Promise<NodeJS.ErrnoException>((resolve) => process.once('warning', resolve))
    const { images } = await loadImageFolder(folder, { size: 8 })
    expect(images.subarray(8 * 8 * 3 * 2)).toEqual(images.subarray(8 * 8 * 3, 8 * 8 * 3 * 2))
    const { code, message } = await warned
    expect(code).toBe('CONTINUAL_DIFFUSION_DOUBTFUL_IMAGE')
    expect(message).toMatch(/2 of its images .*adobe.jpg \(.*color transform.*fill.jpg \(.*3 extraneous bytes/)
    expect(message).not.toContain('good.jpg')
  })

  it('lays transparent images on black', async () => {
    const half = sharp({ create: { width: 4, height: 4, channels: 4, background: { ...red, alpha: 0 } } })
    expect((await only(half, { size: 4 }))[0]).toEqual([0, 0, 0])
  })

  it('reads colours by the profile that a file has', async () => {
    const shown = { r: 200, g: 30, b: 60 }
    const file = await plain(shown).withIccProfile('p3').png().toBuffer()
    const stored = await sharp(file, { ignoreIcc: true }).raw().toBuffer()
    expect(Math.abs(stored[0]! - 200)).toBeGreaterThan(10)
    for (const alpha of ['black', 'ignore'] as const) {
      const [pixel] = await only(file, { size: 2, alpha })
      for (const [c, value] of rgb(shown).entries()) expect(Math.abs(pixel![c]! - value)).toBeLessThan(3)
    }
  })

  it('takes the first frame of an animation', async () => {
    const frames = Buffer.concat([await plain(red).raw().toBuffer(), await plain(blue).raw().toBuffer()])
    const animation = sharp(frames, { raw: { width: 8, height: 16, channels: 3, pageHeight: 8 } })
    const gif = await animation.gif().toBuffer()
    expect((await sharp(gif, { animated: true }).metadata()).pages).toBe(2)
    expect((await only(gif, { size: 8 })).every((pixel) => pixel.join() === rgb(red).join())).toBe(true)
  })

  it('names every bad image', async () => {
    const noisy = sharp(Buffer.from(Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * 7919) % 251)), {
      raw: { width: 64, height: 64, channels: 3 },
    })
    const jpeg = await noisy.jpeg().toBuffer()
    const folder = await folderOf({
      'a/good.png': plain(red),
      'a/cut.jpg': jpeg.subarray(0, jpeg.length / 2),
      'a/holed.jpg': Buffer.from(jpeg).fill(0, jpeg.length >> 1, (jpeg.length >> 1) + 400),
      'b/text.png': 'not an image',
      'b/empty.jpg': '',
    })
    const error = await failure(loadImageFolder(folder, { size: 64 }))
    expect(error.code).toBe('ERR_BAD_DATA')
    expect(error.message).toMatch(
      /4 of its files can't be read as images: \S*cut.jpg .*\S*holed.jpg .*\S*empty.jpg .*\S*text.png /,
    )
    expect(error.message).not.toContain('good.png')
    for (let i = 0; i < 5; i++) await writeFile(path.join(folder, 'b', `more-${i}`), 'x')
    expect((await failure(loadImageFolder(folder, { size: 64 }))).message).toMatch(/9 of its files .* and 4 more; /)
  })

  it('does not follow links, unless told to', async () => {
    const outside = await folderOf({ 'secret/a.png': plain(green), 'secret/b.png': plain(blue) })
    const folder = await folderOf({ 'a/own.png': plain(red) })
    const refused = async (link: string) => {
      const error = await failure(loadImageFolder(folder, { size: 2 }))
      expect(error.code).toBe('ERR_BAD_DATA')
      expect(error.message).toContain(`${path.join(folder, link)}: it is a symbolic link`)
    }
    await symlink(path.join(outside, 'secret', 'a.png'), path.join(folder, 'a', 'z.png'))
    await refused('a/z.png')
    const followed = await loadImageFolder(folder, { size: 1, followLinks: true })
    expect([...followed.images]).toEqual([red, green].flatMap(rgb))
    await rm(path.join(folder, 'a', 'z.png'))
    await symlink(path.join(outside, 'secret'), path.join(folder, 'b'))
    await refused('b')
    expect((await loadImageFolder(folder, { size: 1, followLinks: true })).labels).toHaveLength(3)
    await symlink(path.join(folder, 'nowhere'), path.join(folder, 'c'))
    const broken = await failure(loadImageFolder(folder, { size: 1, followLinks: true }))
    expect(broken.code).toBe('ERR_DATA_NOT_FOUND')
    expect(broken.message).toContain(path.join(folder, 'c'))
  })

  it.each<[string, Record<string, string>, RegExp]>([
    ['an empty folder', {}, /there are no folders in it/],
    ['images outside class folders', { 'image.png': 'x' }, /image.png: it is no folder/],
    ['folders in class folders', { 'a/b/c.png': 'x' }, /a.b: it is no file/],
    ['an empty class', { 'a/.keep': '' }, /a: there are no images in it/],
  ])('refuses %s', async (_, files, message) => {
    const error = await failure(loadImageFolder(await folderOf(files), { size: 8 }))
    expect([error.code, error.message]).toEqual(['ERR_BAD_DATA', expect.stringMatching(message)])
  })

  it('names a missing folder, refuses wrong options, and can be aborted', async () => {
    const missing = await failure(loadImageFolder('/no/such/folder', { size: 8 }))
    expect([missing.code, missing.message]).toEqual(['ERR_DATA_NOT_FOUND', expect.stringContaining('/no/such/folder')])
    expect((await failure(loadImageFolder('.', {} as never))).message).toMatch(/size is missing/)
    expect((await failure(loadImageFolder('.', { size: 8, fit: 'cover' as never }))).message).toMatch(/fit is 'cover'/)
    expect((await failure(loadImageFolder('.', { size: 8, crop: true } as never))).message).toMatch(/unknown option/)
    const folder = await folderOf(Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`a/${i}.png`, plain(red)])))
    const controller = new AbortController()
    let last = 0
    const onProgress = ({ done }: { done: number }) => {
      last = done
      controller.abort('enough')
    }
    await expect(loadImageFolder(folder, { size: 8, signal: controller.signal, onProgress })).rejects.toBe('enough')
    expect(last).toBeLessThan(40)
  })
})
