import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { writeImages } from '../lib/images/image-files.js'
import { temporaryFolder } from './support/folders.js'

const images = (count: number) => {
  const data = Uint8Array.from({ length: count * 12 }, (_, i) => i)
  return { data, count, height: 2, width: 2, channels: 3 }
}

test('each image is a file of its own, and the next ones take their place', async () => {
  const folder = path.join(await temporaryFolder(), 'images')
  await writeImages(images(3), folder)
  expect((await readdir(folder)).sort()).toEqual(['0000.png', '0001.png', '0002.png'])
  const pixels = await sharp(path.join(folder, '0001.png')).raw().toBuffer()
  expect([...pixels]).toEqual([...images(3).data.subarray(12, 24)])
  await writeImages(images(1), folder)
  expect(await readdir(folder)).toEqual(['0000.png'])
})

test("a folder with files of somebody else's is refused, and stays as it is", async () => {
  const folder = await temporaryFolder()
  await writeImages(images(1), folder)
  await writeFile(path.join(folder, 'holiday.png'), 'the only copy')
  await expect(writeImages(images(2), folder)).rejects.toMatchObject({
    code: 'ERR_WRITE_FAILED',
    message: expect.stringMatching(/holds holiday\.png, which this package did not write/),
  })
  expect((await readdir(folder)).sort()).toEqual(['0000.png', 'holiday.png'])
})

test('pictures that somebody else has given such names are not replaced', async () => {
  const folder = await temporaryFolder()
  const file = path.join(folder, '0000.png')
  await sharp(Buffer.alloc(12), { raw: { width: 2, height: 2, channels: 3 } })
    .png()
    .toFile(file)
  const before = await readFile(file)
  await expect(writeImages(images(2), folder)).rejects.toMatchObject({
    code: 'ERR_WRITE_FAILED',
    message: expect.stringMatching(/0000\.png is a picture that this package did not write/),
  })
  expect(await readFile(file)).toEqual(before)
})
