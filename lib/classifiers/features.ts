import type { ImageBatch } from '../data/dataset.js'
import { ContinualDiffusionError } from '../errors.js'

/**
 * Turns images into features, the numbers in which metrics compare sets of images. A `Classifier` is one,
 * `TorchScriptFeatures` another, and any object of this shape can be one. Metrics that share an extractor ask it once about each
 * batch of images.
 *
 * An extractor always gives the same images the same features: `evaluate` keeps those of the real images, and moments made of them, at
 * most 512 MiB for an extractor, as long as the extractor object lives. Make a new object where features change, e.g. those of a network
 * that went on training.
 *
 * @category Evaluation
 */
export interface FeatureExtractor {
  /** For titles: what the features are of, e.g. `fashion-mnist classifier`. */
  readonly name: string
  /** D: numbers per image. */
  readonly dimension: number
  /**
   * True for the pool features of the standard Inception-v3 and nothing else: it is what makes a Fréchet distance the FID. It can't
   * be found out from the numbers, so it is said by whoever made the extractor, and believed only for 2048 features.
   */
  readonly inceptionV3?: boolean
  /** @returns N × D, row-major */
  features(images: ImageBatch): Promise<Float32Array>
}

/** How metrics name the features they are computed in, e.g. `fashion-mnist classifier, 64 features`. */
export function describeFeatures({ name, dimension }: FeatureExtractor): string {
  return `${name}, ${dimension} features`
}

const answers = new WeakMap<FeatureExtractor, AnswersByBatch<Float32Array>>()

/** The extractor's answer, checked and copied, so that it stays what it is. Computed once for a batch object; don't change it. */
export function featuresOf(extractor: FeatureExtractor, images: ImageBatch): Promise<Float32Array> {
  const known = answers.get(extractor) ?? new AnswersByBatch((batch) => ask(extractor, batch))
  answers.set(extractor, known)
  return known.of(images)
}

async function ask(extractor: FeatureExtractor, images: ImageBatch): Promise<Float32Array> {
  const features = await extractor.features(images)
  if (features.length !== images.count * extractor.dimension) {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      `${extractor.name}: ${features.length} numbers for ${images.count} images; expected ${extractor.dimension} for each`,
    )
  }
  return features.slice()
}

/** Answers about batch objects, each computed once and kept as long as the object lives. */
export class AnswersByBatch<T> {
  readonly #compute: (images: ImageBatch) => Promise<T>
  readonly #answers = new WeakMap<ImageBatch, Promise<T>>()

  constructor(compute: (images: ImageBatch) => Promise<T>) {
    this.#compute = compute
  }

  of(images: ImageBatch): Promise<T> {
    const known = this.#answers.get(images)
    if (known) return known
    const answer = this.#compute(images)
    this.#answers.set(images, answer)
    // A failure is not kept: the next attempt may succeed.
    answer.catch(() => this.#answers.delete(images))
    return answer
  }
}

/**
 * Whether distances in these features have the names that belong to Inception-v3's, FID and KID.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for an extractor that says so and has not 2048 features
 */
export function isInception({ name, dimension, inceptionV3 = false }: FeatureExtractor): boolean {
  if (inceptionV3 && dimension !== inceptionFeatures) {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      `${name}: inceptionV3 is true, but there are ${dimension} features; the standard Inception-v3's pool layer has ` +
        `${inceptionFeatures}, and only distances in those are called FID or KID`,
    )
  }
  return inceptionV3
}

/** Width of Inception-v3's last pooling layer. */
const inceptionFeatures = 2048
