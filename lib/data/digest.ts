import type { Hash } from 'node:crypto'
import { addToHash } from '../files/checksum.js'
import type { TrainTest } from './dataset.js'

/** Adds to a hash all that can be learned from a data set: shapes, class names, labels and pixels; its name is not looked at. */
export async function addData(hash: Hash, data: TrainTest): Promise<void> {
  for (const { images, labels, classes, height, width, channels } of [data.train, data.test]) {
    hash.update(`${JSON.stringify({ classes, height, width, channels, count: labels.length })}\n`)
    await addToHash(hash, images)
    await addToHash(hash, labels)
  }
}
