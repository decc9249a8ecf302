import type { FeatureExtractor } from '../classifiers/features.js'
import { countImages, type Subset } from '../data/dataset.js'
import { momentsDistance } from '../engine/moments.js'
import type { ResidentImages } from '../engine/resident-images.js'
import type { Seen } from '../streams/stream.js'
import { RealImages } from './real-images.js'

/**
 * The Fréchet distance between real training images and the test images: what a generator as good as the data would have, and so the
 * reference for its distance.
 *
 * @param options.count training images, as many as are generated: with fewer the distance would be larger; they are spread evenly over those of all tasks
 * @returns undefined where there are fewer, and for fewer than two images of either kind
 */
export async function realDistance(
  resident: ResidentImages,
  { train, test }: Pick<Seen, 'train' | 'test'>,
  extractor: FeatureExtractor,
  { count, batchSize, signal }: { count: number; batchSize: number; signal: AbortSignal | undefined },
): Promise<number | undefined> {
  const momentsOf = (subsets: readonly Subset[]) =>
    new RealImages(resident, subsets, batchSize, () => signal?.throwIfAborted()).moments(extractor)
  const some = spreadOver(train, count)
  if (countImages(some) < Math.max(2, count) || countImages(test) < 2) return undefined
  return momentsDistance(await momentsOf(test), await momentsOf(some))
}

/** As many as `count` of the images, evenly spread over them: a data set may be sorted by class. */
export function spreadOver(subsets: readonly Subset[], count: number): Subset[] {
  const total = countImages(subsets)
  const most = Math.min(count, total)
  let before = 0
  return subsets.map(({ dataset, indices }) => {
    const from = before
    before += indices.length
    const first = Math.ceil((from * most) / total)
    const end = Math.ceil((before * most) / total)
    const at = (i: number) => indices[Math.floor(((first + i) * total) / most) - from]!
    return { dataset, indices: Int32Array.from({ length: end - first }, (_, i) => at(i)) }
  })
}
