import { types } from 'node:util'
import { copyOf, type ImageBatch } from '../data/dataset.js'
import { invalid } from '../errors.js'
import { shown } from '../validation/options.js'

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
  /**
   * @param images metrics give a copy of its own
   * @returns N × D finite numbers, row-major
   */
  features(images: ImageBatch): Promise<Float32Array>
  /**
   * Whether `features` never writes into the images: then metrics give it the batch objects that others have too.
   *
   * @internal
   */
  readonly leavesImages?: boolean
  /**
   * Whatever the features are a function of, to the bit, besides the images: where it is given, statistics of real images are kept in the
   * user's cache folder.
   *
   * @internal
   */
  readonly fingerprint?: string
}

/**
 * An extractor, e.g. a `Classifier`, that can't be declared to be Inception-v3.
 *
 * @category Evaluation
 */
export interface NotInception extends FeatureExtractor {
  readonly inceptionV3?: false
}

/** How metrics name the features they are computed in, e.g. `fashion-mnist classifier, 64 features`. */
export function describeFeatures({ name, dimension }: FeatureExtractor): string {
  return `${name}, ${dimension} features`
}

const outputs = new WeakMap<FeatureExtractor, OutputsByBatch<Float32Array>>()

/**
 * The extractor's features, checked, and copied so that nobody else can change them. Computed once for a batch object; don't change them.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`, with the extractor's name and what is wrong with its features
 */
export function featuresOf(extractor: FeatureExtractor, images: ImageBatch): Promise<Float32Array> {
  const known = outputs.get(extractor) ?? outputsOf(extractor)
  outputs.set(extractor, known)
  return known.of(images)
}

function outputsOf(extractor: FeatureExtractor): OutputsByBatch<Float32Array> {
  const { dimension } = extractor
  return new OutputsByBatch(async (images) => {
    const found: unknown = await extractor.features(extractor.leavesImages ? images : copyOf(images))
    checkFeatures(extractor, dimension, images.count, found)
    return found.slice()
  })
}

/** @param dimension the extractor's when it was first used: sums of rows of several lengths would mean nothing */
function checkFeatures(
  { name, dimension: now }: FeatureExtractor,
  dimension: number,
  count: number,
  found: unknown,
): asserts found is Float32Array {
  if (now !== dimension) {
    throw invalid(
      `${name}: its dimension is ${shown(now)}; expected ${dimension} as before: make another extractor for other features`,
    )
  }
  if (!types.isFloat32Array(found)) {
    throw invalid(
      `${name}: its features are ${shown(found)}; expected a Float32Array of ${count} × ${dimension} numbers`,
    )
  }
  if (found.length !== count * dimension) {
    throw invalid(`${name}: ${found.length} numbers for ${count} images; expected ${dimension} for each`)
  }
  const wrong = found.findIndex((feature) => !Number.isFinite(feature))
  if (wrong !== -1) {
    const [image, feature] = [Math.floor(wrong / dimension), wrong % dimension]
    throw invalid(
      `${name}: feature ${feature} of image ${image} in a batch of ${count} is ${found[wrong]}; expected finite numbers only`,
    )
  }
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
    throw invalid(
      `${name}: inceptionV3 is true, but there are ${dimension} features; the standard Inception-v3's pool layer has ` +
        `${inceptionFeatures}, and only distances in those are called FID or KID`,
    )
  }
  return inceptionV3
}

/** Width of Inception-v3's last pooling layer. */
const inceptionFeatures = 2048
