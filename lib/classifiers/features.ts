import type { ImageBatch } from '../data/dataset.js'
import { ContinualDiffusionError } from '../errors.js'

/**
 * Turns images into features, the numbers in which metrics compare sets of images. `Classifier` and `TorchScriptFeatures` are feature
 * extractors, and so is any object of this shape. Metrics that share an extractor compute the features of a batch once.
 *
 * An extractor must always give the same features for the same images: `evaluate` keeps the features of the real images, and their moments,
 * at most 512 MiB for an extractor, as long as the extractor object lives. Make a new object when the features change, e.g. after the
 * network was trained further.
 *
 * @category Evaluation
 */
export interface FeatureExtractor {
  /** The network's name, for titles, e.g. `fashion-mnist classifier`. */
  readonly name: string
  /** D: numbers per image. */
  readonly dimension: number
  /**
   * True only for the pool features of the standard Inception-v3. With it a Fréchet distance is labelled FID, and a kernel distance KID.
   * The numbers can't show it, so the author of the extractor declares it. It is an error unless there are 2048 features. Default false.
   */
  readonly inceptionV3?: boolean
  /** @returns N × D, row-major */
  features(images: ImageBatch): Promise<Float32Array>
}

/** How metrics name the features they are computed in, e.g. `fashion-mnist classifier, 64 features`. */
export function describeFeatures({ name, dimension }: FeatureExtractor): string {
  return `${name}, ${dimension} features`
}

const outputs = new WeakMap<FeatureExtractor, OutputsByBatch<Float32Array>>()

/** The extractor's features, checked, and copied so that nobody else can change them. Computed once for a batch object; don't change them. */
export function featuresOf(extractor: FeatureExtractor, images: ImageBatch): Promise<Float32Array> {
  const known = outputs.get(extractor) ?? new OutputsByBatch((batch) => ask(extractor, batch))
  outputs.set(extractor, known)
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

/** A network's outputs for batch objects, each computed once and kept as long as the batch object lives. */
export class OutputsByBatch<T> {
  readonly #compute: (images: ImageBatch) => Promise<T>
  readonly #outputs = new WeakMap<ImageBatch, Promise<T>>()

  constructor(compute: (images: ImageBatch) => Promise<T>) {
    this.#compute = compute
  }

  of(images: ImageBatch): Promise<T> {
    const known = this.#outputs.get(images)
    if (known) return known
    const output = this.#compute(images)
    this.#outputs.set(images, output)
    // A failure is not kept: the next attempt may succeed.
    output.catch(() => this.#outputs.delete(images))
    return output
  }
}

/**
 * Whether distances in these features are called FID and KID, as those of Inception-v3 are.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for an extractor that declares itself Inception-v3 and doesn't have 2048 features
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
