import { copyFile, mkdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { expect, it } from 'vitest'
import { type DecodeOptions, decodeImage } from '../lib/data/decode-image.js'
import { loadImageFolder } from '../lib/data/index.js'
import { temporaryFolder } from './support/folders.js'

// Images that Pillow wrote and the pixels that it reads; see fixtures/pillow/make.py.
const at = (name: string) => fileURLToPath(new URL(`./fixtures/pillow/${name}`, import.meta.url))

interface Expected {
  readonly height: number
  readonly width: number
  readonly rgb: string
  readonly luma: string
  readonly black?: string
  readonly white?: string
}
const { images } = JSON.parse(await readFile(at('pixels.json'), 'utf8')) as { images: Record<string, Expected> }
const pixels = (text: string) => new Uint8Array(Buffer.from(text, 'base64'))

/** The largest difference of two images' bytes. */
function apart(found: Uint8Array, expected: Uint8Array): number {
  expect(found.length).toBe(expected.length)
  return found.reduce((most, byte, i) => Math.max(most, Math.abs(byte - expected[i]!)), 0)
}

it.each(Object.entries(images))(
  '%s has the pixels that Pillow reads, turned as its EXIF data says',
  async (name, of) => {
    const { height, width, rgb, luma, black, white } = of
    const bytes = await readFile(at(name))
    const plain: DecodeOptions = { size: [height, width], fit: 'crop', channels: 3, grey: 'luma', alpha: 'ignore' }
    expect(apart(await decodeImage(bytes, plain), pixels(rgb))).toBe(0)
    expect(apart(await decodeImage(bytes, { ...plain, channels: 1 }), pixels(luma))).toBe(0)
    for (const [alpha, expected] of Object.entries({ black, white })) {
      if (expected === undefined) continue
      const laid = await decodeImage(bytes, { ...plain, alpha: alpha as 'black' | 'white' })
      expect(apart(laid, pixels(expected))).toBeLessThanOrEqual(1)
    }
  },
)

it('a TIFF file whose colours libvips takes for others is refused, by what they are', async () => {
  const options: DecodeOptions = { size: [8, 12], fit: 'crop', channels: 3, grey: 'luma', alpha: 'ignore' }
  const yCbCr = /^its colours are YCbCr, not compressed as JPEG; expected /
  await expect(decodeImage(await readFile(at('ycbcr.tif')), options)).rejects.toThrow(yCbCr)
  const colour = sharp(at('colour.png'))
  const jpeg = await decodeImage(await colour.tiff({ compression: 'jpeg', quality: 100 }).toBuffer(), options)
  expect(apart(jpeg, pixels(images['colour.png']!.rgb))).toBeLessThan(100)
  for (const bigtiff of [false, true]) {
    const bytes = await colour.tiff({ compression: 'lzw', bigtiff }).toBuffer()
    expect(apart(await decodeImage(bytes, options), pixels(images['colour.png']!.rgb))).toBe(0)
    // The tag of the photometric interpretation, whose type is SHORT.
    const entry = bytes.indexOf(Uint8Array.of(0x06, 0x01, 3, 0))
    for (const [kind, expected] of [
      [6, yCbCr],
      [9, /^its colours are ICCLab;/],
      [77, /^its colours are of the photometric interpretation 77;/],
    ] as const) {
      bytes.writeUInt16LE(kind, entry + (bigtiff ? 12 : 8))
      await expect(decodeImage(bytes, options)).rejects.toThrow(expected)
    }
  }
})

it('a folder of oblong images is loaded at a size of height and width', async () => {
  const folder = await temporaryFolder()
  await mkdir(path.join(folder, 'class'))
  for (const name of ['colour.png', 'orientation-3.jpg']) await copyFile(at(name), path.join(folder, 'class', name))
  const set = await loadImageFolder(folder, { size: [8, 12], grey: 'luma' })
  expect(set).toMatchObject({ height: 8, width: 12, channels: 3 })
  expect(Buffer.from(set.images.subarray(0, 288)).toString('base64')).toBe(images['colour.png']!.rgb)
  await expect(loadImageFolder(folder, { size: [8, 0] })).rejects.toThrow(/size\[1\] is 0|size is \[ 8, 0 \]/)
})
