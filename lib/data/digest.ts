import type { Hash } from 'node:crypto'
import { addToHash } from '../files/checksum.js'
import type { Dataset, TrainTest } from './dataset.js'

/** Adds to a hash all that can be learned from a data set: shapes, class names, labels and pixels; its name is not looked at. */
export async function addData(hash: Hash, data: TrainTest): Promise<void> {
  for (const part of [data.train, data.test]) await addDataset(hash, part)
}

/** As {@link addData}, for one of its parts. */
export async function addDataset(
  hash: Hash,
  { images, labels, classes, height, width, channels }: Dataset,
): Promise<void> {
  hash.update(`${JSON.stringify({ classes, height, width, channels, count: labels.length })}\n`)
  await addToHash(hash, images)
  await addToHash(hash, labels)
}
