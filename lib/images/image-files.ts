import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { ImageBatch } from '../data/dataset.js'
import { replaceFolder } from '../engine/whole-folder.js'
import { ContinualDiffusionError } from '../errors.js'
import { picturesOf } from './picture.js'

/** In every file that is written here: pictures of the user's may have the same names. */
const mark = 'continual-diffusion'

/** Checks that a file, where there is one, was written by {@link writeImages}. */
async function checkOurs(file: string): Promise<void> {
  const bytes = await readFile(file).catch(() => undefined)
  if (bytes === undefined || bytes.includes(mark)) return
  const message = `${file} is a picture that this package did not write, so its folder is not replaced; name another folder, or empty this one`
  throw new ContinualDiffusionError('ERR_WRITE_FAILED', message)
}

/**
 * Writes each image as a PNG file of its own, at its own size, named by its number: `0000.png`, `0001.png` …; as {@link imageGrid} shows it.
 *
 * @param folder new, empty, or with nothing in it but files that an earlier call wrote: then it is replaced
 * @throws ContinualDiffusionError `ERR_WRITE_FAILED`; `folder` is then as it was
 */
export async function writeImages(images: ImageBatch, folder: string, signal?: AbortSignal): Promise<void> {
  const { data, count, height, width, channels } = picturesOf(images)
  const { default: sharp } = await import('sharp') // not for those who only train
  const raw = { width, height, channels: channels as 1 | 2 | 3 | 4 }
  await checkOurs(path.join(folder, '0000.png'))
  const digits = Math.max(4, String(count - 1).length)
  const name = (n: number) => `${String(n).padStart(digits, '0')}.png`
  const size = height * width * channels
  const ours = { marker: name(0), isOurs: (file: string) => /^\d{4,}\.png$/.test(file) }
  await replaceFolder(folder, ours, async (temporary) => {
    for (let n = 0; n < count; n++) {
      signal?.throwIfAborted()
      await sharp(Buffer.from(data.buffer, data.byteOffset + n * size, size), { raw })
        .withExif({ IFD0: { Software: mark } })
        .png()
        .toFile(path.join(temporary, name(n)))
    }
  })
}
