import { createHash, randomUUID } from 'node:crypto'
import { type FeatureExtractor, featuresOf } from '../classifiers/features.js'
import { countImages, type Dataset, type ImageBatch, type Subset } from '../data/dataset.js'
import { RunningMoments } from '../engine/moments.js'
import type { ResidentImages } from '../engine/resident-images.js'
import type { NativeMoments } from '../engine/state.js'
import { shownSize } from '../validation/size.js'
import { cachedMoments } from './statistics-cache.js'

/** Most bytes of features and moments of real images that are kept for one extractor. */
const mostKept = 2 ** 29

/**
 * The real images that generated ones are compared with. Features and moments of real images are computed once for an extractor and
 * kept as long as the extractor lives, at most 512 MiB of them: what was not used for the longest time is dropped first and computed
 * again when it is needed. What is kept was computed in the same batches and in the same order, and so it is the same to the bit. Moments
 * that a network from a file gives are kept in the user's cache folder, too.
 */
export class RealImages {
  readonly #resident: ResidentImages
  readonly #subsets: readonly Subset[]
  readonly #batchSize: number
  readonly #onBatch: (images: number) => void

  /** @param onBatch told after each batch how many images of this pass were read; what it throws ends the pass */
  constructor(
    resident: ResidentImages,
    subsets: readonly Subset[],
    batchSize: number,
    onBatch: (images: number) => void,
  ) {
    this.#resident = resident
    this.#subsets = subsets
    this.#batchSize = batchSize
    this.#onBatch = onBatch
  }

  get count(): number {
    return countImages(this.#subsets)
  }

  /** Always the same batches; none spans two subsets. */
  async *batches(): AsyncGenerator<{ readonly images: ImageBatch; readonly labels: Int32Array }, void, undefined> {
    let before = 0
    for (const subset of this.#subsets) {
      yield* this.#batchesOf(subset, before)
      before += subset.indices.length
    }
  }

  /** The images' labels, by subset. */
  labels(): Int32Array[] {
    return this.#subsets.map(({ dataset, indices }) => indices.map((index) => dataset.labels[index] as number))
  }

  /** Features of the images, in their batches; rows × D. Don't change them. */
  async *features(extractor: FeatureExtractor): AsyncGenerator<Float32Array, void, undefined> {
    const kept = keptFor(extractor)
    let before = 0
    for (const subset of this.#subsets) {
      const key = `features ${this.#keyOf(subset)}`
      const known = kept.get<readonly Float32Array[]>(key)
      if (known) yield* known
      else {
        const bytes = subset.indices.length * extractor.dimension * Float32Array.BYTES_PER_ELEMENT
        const rows: Float32Array[] = []
        for await (const { images } of this.#batchesOf(subset, before)) {
          const features = await featuresOf(extractor, images)
          if (bytes <= mostKept) rows.push(features)
          yield features
        }
        kept.set(key, rows, bytes)
      }
      before += subset.indices.length
    }
  }

  /** Mean and centred sum of outer products of the images' features. Don't change them. */
  async moments(extractor: FeatureExtractor): Promise<NativeMoments> {
    const kept = keptFor(extractor)
    const key = `moments ${this.#subsets.map((subset) => this.#keyOf(subset)).join(' ')}`
    const known = kept.get<NativeMoments>(key)
    if (known) return known
    const { device, size } = this.#resident
    const { fingerprint } = extractor
    const compute = () => this.#moments(extractor)
    const moments =
      fingerprint === undefined
        ? await compute()
        : await cachedMoments(this.#subsets, [fingerprint, device, size, this.#batchSize], compute)
    kept.set(key, moments, moments.m2.byteLength)
    return moments
  }

  async #moments(extractor: FeatureExtractor): Promise<NativeMoments> {
    const moments = new RunningMoments(extractor.dimension)
    for await (const features of this.features(extractor)) await moments.add(features)
    return moments
  }

  async *#batchesOf({ dataset, indices }: Subset, before: number) {
    for (let at = 0; at < indices.length; at += this.#batchSize) {
      const part = indices.subarray(at, at + this.#batchSize)
      const images = await this.#resident.read({ dataset, indices: part })
      yield { images, labels: part.map((index) => dataset.labels[index] as number) }
      this.#onBatch(before + at + part.length)
    }
  }

  /** Whatever the features of a subset are a function of, besides the extractor. */
  #keyOf({ dataset, indices }: Subset): string {
    const { device, size } = this.#resident
    const which = createHash('sha256').update(indices).digest('hex')
    return [idOf(dataset), which, device, shownSize(size), this.#batchSize].join(',')
  }
}

/** Values of at most `limit` bytes together; what was not used for the longest time is dropped first. A larger value is not kept. */
export class Kept {
  readonly #limit: number
  readonly #values = new Map<string, { readonly value: unknown; readonly bytes: number }>()
  #bytes = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  get<T>(key: string): T | undefined {
    const entry = this.#values.get(key)
    if (entry === undefined) return undefined
    this.#values.delete(key)
    this.#values.set(key, entry)
    return entry.value as T
  }

  set(key: string, value: unknown, bytes: number): void {
    this.#drop(key)
    if (bytes > this.#limit) return
    this.#values.set(key, { value, bytes })
    this.#bytes += bytes
    for (const oldest of this.#values.keys()) {
      if (this.#bytes <= this.#limit) break
      this.#drop(oldest)
    }
  }

  #drop(key: string): void {
    this.#bytes -= this.#values.get(key)?.bytes ?? 0
    this.#values.delete(key)
  }
}

const keptByExtractor = new WeakMap<FeatureExtractor, Kept>()

function keptFor(extractor: FeatureExtractor): Kept {
  const kept = keptByExtractor.get(extractor) ?? new Kept(mostKept)
  keptByExtractor.set(extractor, kept)
  return kept
}

/** Names of data sets that don't hold them. */
const ids = new WeakMap<Dataset, string>()

function idOf(dataset: Dataset): string {
  const id = ids.get(dataset) ?? randomUUID()
  ids.set(dataset, id)
  return id
}
