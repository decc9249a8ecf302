import path from 'node:path'
import type { ImageBatch } from '../data/dataset.js'
import { replaceFolder } from '../engine/whole-folder.js'
import { picturesOf } from './picture.js'

/**
 * Writes each image as a PNG file of its own, at its own size, named by its number: `0000.png`, `0001.png` …; as {@link imageGrid} shows it.
 *
 * @param folder new, empty, or with nothing in it but files of such names: then it is replaced
 * @throws ContinualDiffusionError `ERR_WRITE_FAILED`; `folder` is then as it was
 */
export async function writeImages(images: ImageBatch, folder: string): Promise<void> {
  const { data, count, height, width, channels } = picturesOf(images)
  const { default: sharp } = await import('sharp') // not for those who only train
  const raw = { width, height, channels: channels as 1 | 2 | 3 | 4 }
  const digits = Math.max(4, String(count - 1).length)
  const name = (n: number) => `${String(n).padStart(digits, '0')}.png`
  const size = height * width * channels
  const ours = { marker: name(0), isOurs: (file: string) => /^\d{4,}\.png$/.test(file) }
  await replaceFolder(folder, ours, async (temporary) => {
    for (let n = 0; n < count; n++) {
      await sharp(Buffer.from(data.buffer, data.byteOffset + n * size, size), { raw })
        .png()
        .toFile(path.join(temporary, name(n)))
    }
  })
}
