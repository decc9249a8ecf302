import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, rm, stat, utimes } from 'node:fs/promises'
import path from 'node:path'
import type { Dataset, Subset } from '../data/dataset.js'
import { addDataset } from '../data/digest.js'
import type { NativeMoments } from '../engine/state.js'
import { ContinualDiffusionError, messageOf } from '../errors.js'
import { replaceFile } from '../files/atomic.js'
import { badFile } from '../files/bad-file.js'
import { cacheFolder, noCacheFolder, warnNotKept, warnOfCache } from '../files/cache-folder.js'
import { addToHash } from '../files/checksum.js'
import { readSafetensors, writeSafetensors } from '../files/safetensors.js'

/** Version of what a file holds; a new one makes old files unused. */
const format = 1

/** Most bytes of all files together: what was not used for the longest time is removed first. */
const mostBytes = 2 ** 31

/**
 * Moments of real images' features, from the user's cache folder where they were computed before, else computed and written there. A file that is
 * damaged is computed again, and where the cache can't be written the moments are not kept: both with a warning
 * `CONTINUAL_DIFFUSION_NO_CACHE`.
 *
 * @param how whatever the moments are a function of, besides the images
 */
export async function cachedMoments(
  subsets: readonly Subset[],
  how: readonly unknown[],
  compute: () => Promise<NativeMoments>,
): Promise<NativeMoments> {
  const folder = cacheFolder('statistics')
  if (folder === undefined) {
    warnNotKept('what was measured of the real images', noCacheFolder)
    return compute()
  }
  const images = await Promise.all(subsets.map(digestOfSubset))
  const key = createHash('sha256')
    .update(JSON.stringify([format, how, images]))
    .digest('hex')
  const file = path.join(folder, `${key}.safetensors`)
  if (existsSync(file)) {
    try {
      return await read(file, key)
    } catch (error) {
      if (!(error instanceof ContinualDiffusionError) || error.code !== 'ERR_BAD_CHECKPOINT') throw error
      warnOfCache(`${error.message}; the statistics are computed again`)
    }
  }
  const moments = await compute()
  await write(file, key, moments).catch((error) =>
    warnNotKept('what was measured of the real images', messageOf(error)),
  )
  await removeOldest(folder).catch(() => {}) // Another process may be at it.
  return moments
}

async function read(file: string, key: string): Promise<NativeMoments> {
  const { tensors, metadata } = await readSafetensors(file)
  const [mean, m2] = [tensors.get('mean'), tensors.get('m2')]
  const count = Number(metadata.count)
  const isWhole = mean?.dtype === 'F64' && m2?.dtype === 'F64' && m2.data.length === mean.data.length ** 2
  if (!isWhole) throw badFile(file, 'holds no mean and m2 of as many features')
  const moments = { mean: mean.data, m2: m2.data, count }
  const found = await digestOf(key, moments)
  if (found !== metadata.sha256) {
    throw badFile(file, `changed since it was written: the SHA-256 is ${found}; expected ${metadata.sha256}`)
  }
  const now = new Date()
  await utimes(file, now, now).catch(() => {}) // A cache of somebody else's says less of when it was used.
  return moments
}

async function write(file: string, key: string, moments: NativeMoments): Promise<void> {
  const { mean, m2, count } = moments
  const d = mean.length
  const tensors = new Map([
    ['mean', { dtype: 'F64', shape: [d], data: mean } as const],
    ['m2', { dtype: 'F64', shape: [d, d], data: m2 } as const],
  ])
  const metadata = { count: String(count), sha256: await digestOf(key, moments) }
  await replaceFile(file, (temporary) => writeSafetensors(temporary, tensors, metadata))
}

async function digestOf(key: string, { mean, m2, count }: NativeMoments): Promise<string> {
  const hash = createHash('sha256').update(`${key} ${count}`)
  await addToHash(hash, mean)
  await addToHash(hash, m2)
  return hash.digest('hex')
}

async function removeOldest(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.safetensors'))
  const files = await Promise.all(
    names.map(async (name) => ({ file: path.join(folder, name), ...(await timesOf(path.join(folder, name))) })),
  )
  let bytes = 0
  for (const { file, size } of files.sort((a, b) => b.used - a.used)) {
    bytes += size
    if (bytes > mostBytes) await rm(file, { force: true })
  }
}

async function timesOf(file: string): Promise<{ used: number; size: number }> {
  const { mtimeMs, size } = await stat(file)
  return { used: mtimeMs, size }
}

async function digestOfSubset({ dataset, indices }: Subset): Promise<string> {
  const hash = createHash('sha256').update(await digestOfDataset(dataset))
  await addToHash(hash, indices)
  return hash.digest('hex')
}

const digests = new WeakMap<Dataset, Promise<string>>()

/** Computed once: a data set's images are not changed. */
function digestOfDataset(dataset: Dataset): Promise<string> {
  const digest = digests.get(dataset) ?? hashed(dataset)
  digests.set(dataset, digest)
  return digest
}

async function hashed(dataset: Dataset): Promise<string> {
  const hash = createHash('sha256')
  await addDataset(hash, dataset)
  return hash.digest('hex')
}
