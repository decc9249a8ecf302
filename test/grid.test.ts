import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import type { ImageBatch } from '../lib/data/dataset.js'
import { imageGrid } from '../lib/images/grid.js'
import { writeImages } from '../lib/images/image-files.js'

/** Images whose every byte says where it is. */
function batch(count: number, height: number, width: number, channels: number): ImageBatch {
  const data = Uint8Array.from({ length: count * height * width * channels }, (_, i) => (i * 37 + 11) % 256)
  if (channels % 2 === 0) for (let i = channels - 1; i < data.length; i += channels) data[i] = 255
  return { data, count, height, width, channels }
}

async function decode(png: Uint8Array) {
  const { data, info } = await sharp(png)
    .ensureAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true })
  return {
    info,
    pixel: (x: number, y: number) => [...data.subarray((y * info.width + x) * 4, (y * info.width + x + 1) * 4)],
  }
}

test.each([1, 2, 3, 4])('every pixel of every image is where it belongs, with %i channels', async (channels) => {
  const images = batch(5, 3, 4, channels)
  const [columns, scale, gap] = [3, 2, 1]
  const { info, pixel } = await decode(await imageGrid(images, { columns, scale, gap }))
  expect([info.width, info.height]).toEqual([(3 * 4 + 2) * scale, (2 * 3 + 1) * scale])
  for (let n = 0; n < 5; n++) {
    for (let y = 0; y < 3; y++) {
      for (let x = 0; x < 4; x++) {
        const at = ((n * 3 + y) * 4 + x) * channels
        const c = [...images.data.subarray(at, at + channels)]
        const expected = channels < 3 ? [c[0], c[0], c[0], 255] : [c[0], c[1], c[2], 255]
        const left = ((n % 3) * (4 + gap) + x) * scale
        const top = (Math.floor(n / 3) * (3 + gap) + y) * scale
        for (const [dx, dy] of [
          [0, 0],
          [1, 0],
          [0, 1],
          [1, 1],
        ] as const) {
          expect(pixel(left + dx, top + dy)).toEqual(expected)
        }
      }
    }
  }
  // The gap beside the first image, the one below it, and the cell that no image fills.
  for (const [x, y] of [
    [8, 0],
    [0, 6],
    [27, 13],
  ] as const)
    expect(pixel(x, y)[3]).toBe(0)
})

test('small images are enlarged so that they can be seen', async () => {
  const { info } = await decode(await imageGrid(batch(4, 16, 16, 1)))
  expect([info.width, info.height]).toEqual([33 * 4, 33 * 4])
})

test('a batch whose bytes do not match its shape is refused', async () => {
  const images = { ...batch(4, 16, 16, 1), count: 5 }
  await expect(imageGrid(images)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
  await expect(imageGrid(batch(0, 16, 16, 1))).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
})

test('images are written one by one, and the folder is replaced by a smaller batch', async () => {
  const parent = await mkdtemp(path.join(tmpdir(), 'continual-diffusion-'))
  try {
    const folder = path.join(parent, 'images')
    await writeImages(batch(3, 2, 2, 1), folder)
    const images = batch(2, 2, 2, 1)
    await writeImages(images, folder)
    expect(await readdir(parent)).toEqual(['images'])
    expect((await readdir(folder)).sort()).toEqual(['0000.png', '0001.png'])
    const { data } = await sharp(path.join(folder, '0001.png'))
      .extractChannel(0)
      .raw()
      .toBuffer({ resolveWithObject: true })
    expect([...data]).toEqual([...images.data.subarray(4)])
  } finally {
    await rm(parent, { recursive: true })
  }
})
