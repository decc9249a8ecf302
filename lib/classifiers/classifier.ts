import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { nameParameters, pickParameters } from '../checkpoint/parameters.js'
import { type Dataset, type ImageBatch, sizeOf, type TrainTest } from '../data/dataset.js'
import { addData } from '../data/digest.js'
import { imageBatchSchema, trainTestSchema } from '../data/schemas.js'
import type { NativeClassifier } from '../engine/addon.js'
import { call } from '../engine/call.js'
import {
  accuracyOn,
  type Classified,
  checkClassifierBatch,
  checkClassifierSize,
  classifyImages,
  createClassifier,
  leastSide,
  trainClassifier,
} from '../engine/classifier.js'
import { resolveDevice } from '../engine/device.js'
import { ImageStore } from '../engine/image-store.js'
import { Owned } from '../engine/owned.js'
import { ResidentImages } from '../engine/resident-images.js'
import { ContinualDiffusionError, messageOf } from '../errors.js'
import { replaceFile } from '../files/atomic.js'
import { badFile } from '../files/bad-file.js'
import { cacheFolder, noCacheFolder, warnNotKept, warnOfCache } from '../files/cache-folder.js'
import { addToHash } from '../files/checksum.js'
import { readSafetensors, writeSafetensors } from '../files/safetensors.js'
import {
  batchSizeSchema,
  countSteps,
  type Device,
  deviceSchema,
  functionSchema,
  seedSchema,
  signalSchema,
  threadsSchema,
} from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { type ImageSize, sidesOf, sizeSchema } from '../validation/size.js'
import { type FeatureExtractor, OutputsByBatch } from './features.js'

/**
 * Options of `Classifier.train` and `Classifier.cached`.
 *
 * @category Classifiers
 */
export interface ClassifierOptions {
  /** What images are resized to: `[height, width]` in pixels, or the side of a square, each at least 8. Default: what the data's images are resized to. */
  size?: ImageSize
  /** Passes over the training images. It may be a fraction. Default 5. */
  epochs?: number
  /** Number of images in a step. Default 64. */
  batchSize?: number
  /** Learning rate of Adam. Default 2e-3. */
  lr?: number
  /** Seed of the first weights and of all random draws, 0 … 2³² − 1. Default 0. */
  seed?: number
  /** Default `auto`. The classifier computes in float32. */
  device?: Device
  /** Threads of the CPU that compute it, 1 … 1024. Another number gives other digits. Default: libtorch's, see `OMP_NUM_THREADS`. */
  threads?: number | undefined
  /** Store of the images on the device, which learners and solvers may share. Default: a store that exists only during training. */
  images?: ImageStore
  /** An abort rejects with `signal.reason`. */
  signal?: AbortSignal
  /** Called about five times a second while it trains, with the mean loss since the last call. */
  onProgress?: (progress: { step: number; steps: number; loss: number }) => void
}

const schema = z.strictObject({
  size: sizeSchema(leastSide, 4096).optional(),
  epochs: z.number().positive().default(5),
  batchSize: batchSizeSchema.default(64),
  lr: z.number().positive().default(2e-3),
  seed: seedSchema.default(0),
  device: deviceSchema.default('auto'),
  threads: threadsSchema.optional(),
  images: z.instanceof(ImageStore).optional(),
  signal: signalSchema.optional(),
  onProgress: functionSchema<NonNullable<ClassifierOptions['onProgress']>>().optional(),
})

type Parsed = z.output<typeof schema>

/** A classifier's name, classes, accuracy and input. */
interface Description {
  readonly name: string
  readonly classes: readonly string[]
  readonly accuracy: number
  readonly size: ImageSize
  readonly channels: number
}

/** Version of what a cached file holds and of how it is trained; a new one makes old files unused. */
const format = 3

/**
 * A small convolutional classifier that is trained on real images and judges generated images. Its classes give class frequencies, and the
 * layer before the last gives features for the Fréchet distance and other metrics.
 *
 * @category Classifiers
 */
export class Classifier implements FeatureExtractor, AsyncDisposable {
  /** Name in titles, with the data that it was trained on, e.g. `fashion-mnist classifier`. */
  readonly name: string
  /** D: number of features. */
  readonly dimension: number
  readonly classes: readonly string[]
  /** Fraction of the test images that it classifies correctly, 0 … 1. */
  readonly accuracy: number
  /** Of its input images. */
  readonly size: ImageSize
  /** Channels of its input images. */
  readonly channels: number
  readonly #native: Owned<NativeClassifier>
  readonly #outputs = new OutputsByBatch((images) => this.classify(images))

  private constructor(native: NativeClassifier, { name, classes, accuracy, size, channels }: Description) {
    this.#native = new Owned(native, 'the classifier')
    this.name = name
    this.dimension = native.features
    this.classes = classes
    this.accuracy = accuracy
    this.size = size
    this.channels = channels
  }

  /**
   * Trains a classifier on `data.train` and measures its accuracy on `data.test`.
   *
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`, `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`, `ERR_DIVERGED`
   * @throws signal.reason after an abort
   */
  static async train(data: TrainTest, options: ClassifierOptions = {}): Promise<Classifier> {
    const parsed = parseOptions(schema, options, 'Classifier.train')
    parseOptions(trainTestSchema, data, 'Classifier.train: data')
    const { device } = await resolveDevice(parsed.device, 'fp32')
    return Classifier.#train(data, parsed, device)
  }

  /**
   * Reads a classifier from the user's cache folder, or trains it like {@link Classifier.train} and writes it there. A cached classifier is
   * used if it was trained on the same data, with the same options, on the same kind of device, and with the same versions of this package
   * and of libtorch. One that is damaged or changed is trained again, and where the cache can't be written the classifier is not kept: both
   * with a warning `CONTINUAL_DIFFUSION_NO_CACHE`.
   *
   * @param options.folder folder of the cached files. Default: `classifiers` in the user's cache folder of this package
   * @throws ContinualDiffusionError the errors of {@link Classifier.train}
   */
  static async cached(data: TrainTest, options: ClassifierOptions & { folder?: string } = {}): Promise<Classifier> {
    const { folder = cacheFolder('classifiers'), ...parsed } = parseOptions(
      schema.extend({ folder: z.string().min(1).optional() }),
      options,
      'Classifier.cached',
    )
    parseOptions(trainTestSchema, data, 'Classifier.cached: data')
    const { device } = await resolveDevice(parsed.device, 'fp32')
    if (folder === undefined) {
      warnNotKept('the classifier', noCacheFolder)
      return Classifier.#train(data, parsed, device)
    }
    const file = path.join(folder, `${await cacheKey(data, parsed, device)}.safetensors`)
    if (existsSync(file)) {
      try {
        return await Classifier.#read(file, data, parsed, device)
      } catch (error) {
        if (!(error instanceof ContinualDiffusionError) || error.code !== 'ERR_BAD_CHECKPOINT') throw error
        warnOfCache(`${error.message}; the classifier is trained again`)
      }
    }
    const classifier = await Classifier.#train(data, parsed, device)
    await classifier.#write(file).catch((error) => warnNotKept('the classifier', messageOf(error)))
    return classifier
  }

  /**
   * Reads a classifier from a file, or where there is none gets the cached one and, if it is to be kept, writes it there.
   *
   * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` for a file that is damaged or changed; the errors of {@link Classifier.cached}
   * @internal
   */
  static async kept(file: string, data: TrainTest, options: ClassifierOptions, isWriter: boolean): Promise<Classifier> {
    const parsed = parseOptions(schema, options, 'Classifier.kept')
    if (existsSync(file)) {
      const { device } = await resolveDevice(parsed.device, 'fp32')
      return Classifier.#read(file, data, parsed, device)
    }
    const classifier = await Classifier.cached(data, options)
    if (isWriter) await classifier.#write(file)
    return classifier
  }

  static async #train(data: TrainTest, options: Parsed, device: string): Promise<Classifier> {
    const { train, test } = data
    const { epochs, batchSize, lr, signal, onProgress } = options
    const size = sizeFor(data, options)
    const steps = countSteps(epochs, train.labels.length, batchSize, 'Classifier')
    checkClassifierBatch(size, batchSize, device, 'Classifier')
    checkClassifierSize(size, `Classifier: the images of ${train.name}`, ', or a size')
    const images = new ResidentImages(device, size, options.images)
    const native = await create(data, device, options)
    try {
      const pool = await images.pool([{ dataset: train, indices: everything(train) }])
      await trainClassifier(native, {
        steps,
        batches: async () => ({
          pool,
          batchSize,
          lr,
          horizontalFlip: false,
          // By up to a pixel in sixteen, so that the classifier learns no places by heart.
          shift: Math.floor(Math.min(...sidesOf(size)) / 16),
          dropout: 0.25,
        }),
        what: `the classifier on ${train.name}`,
        signal,
        onProgress,
      })
      const description = { name: nameOf(data), classes: train.classes, size, channels: train.channels }
      const tests = { dataset: test, indices: everything(test) }
      const accuracy = await accuracyOn(native, description, images, tests, batchSize, signal)
      return new Classifier(native, { ...description, accuracy })
    } catch (error) {
      call(() => native.dispose())
      throw error
    } finally {
      await images.dispose()
    }
  }

  static async #read(file: string, data: TrainTest, options: Parsed, device: string): Promise<Classifier> {
    const { tensors, metadata } = await readSafetensors(file)
    const size = sizeFor(data, options)
    const native = await create(data, device, options)
    try {
      const weights = pickParameters(file, tensors, native.parameters)
      const accuracy = Number(metadata.accuracy)
      const found = await digestOf(weights, metadata.accuracy)
      if (found !== metadata.sha256 || !(accuracy >= 0 && accuracy <= 1)) {
        throw badFile(file, `changed since it was written: the SHA-256 is ${found}; expected ${metadata.sha256}`)
      }
      await call(() => native.write(weights))
      const { classes, channels } = data.train
      return new Classifier(native, { name: nameOf(data), classes, accuracy, size, channels })
    } catch (error) {
      call(() => native.dispose())
      throw error
    }
  }

  async #write(file: string): Promise<void> {
    const native = this.#native.live
    const weights = await call(() => native.read())
    const accuracy = String(this.accuracy)
    const tensors = new Map(nameParameters(weights, native.parameters))
    const metadata = { accuracy, sha256: await digestOf(weights, accuracy) }
    await replaceFile(file, (temporary) => writeSafetensors(temporary, tensors, metadata))
  }

  /**
   * Classifies images.
   *
   * @param images of the classifier's `size` and `channels`
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for images of another shape
   */
  async classify(images: ImageBatch): Promise<Classified> {
    return classifyImages(this.#native.live, this, images)
  }

  /**
   * As {@link Classifier.classify}, but computes once for a batch object that several metrics ask about.
   *
   * @internal
   */
  classifyOnce(images: ImageBatch): Promise<Classified> {
    return this.#outputs.of(images)
  }

  /**
   * Activations of the layer before the last, N × `dimension`, row-major. They are computed once for a batch object: don't change its images
   * later.
   *
   * @param images of the classifier's `size` and `channels`
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for images of another shape
   */
  async features(images: ImageBatch): Promise<Float32Array> {
    parseOptions(imageBatchSchema, images, 'features: images')
    return (await this.classifyOnce(images)).features
  }

  /** @internal */
  get leavesImages(): boolean {
    return true
  }

  /**
   * SHA-256 of the weights.
   *
   * @internal
   */
  async digest(): Promise<string> {
    const { live } = this.#native
    return digestOf(await call(() => live.read()))
  }

  /** Frees the memory on the device. Using the classifier afterwards throws `ERR_DISPOSED`; disposing again does nothing. */
  async dispose(): Promise<void> {
    this.#native.dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}

function create({ train }: TrainTest, device: string, { seed, threads }: Parsed): Promise<NativeClassifier> {
  return createClassifier({ channels: train.channels, classes: train.classes, device, threads, seed })
}

function sizeFor({ train }: TrainTest, options: Parsed): ImageSize {
  return options.size ?? sizeOf(train)
}

function nameOf({ train }: TrainTest): string {
  return `${train.name.replace(/\/[^/]*$/, '')} classifier`
}

function everything(dataset: Dataset): Int32Array {
  return Int32Array.from(dataset.labels, (_, i) => i)
}

/** Whatever the weights are a function of. */
async function cacheKey(data: TrainTest, options: Parsed, device: string): Promise<string> {
  const { epochs, batchSize, lr, seed } = options
  const hash = createHash('sha256')
  const add = (value: unknown) => hash.update(`${JSON.stringify(value)}\n`)
  add({ format, epochs, batchSize, lr, seed, size: sizeFor(data, options), device: device.replace(/:.*/, '') })
  add(call(({ version, libtorchVersion }) => [version, libtorchVersion]))
  add([data.train.name, data.test.name])
  await addData(hash, data)
  return hash.digest('hex')
}

/** SHA-256 of weights, and of what was measured with them. */
async function digestOf(weights: readonly Float32Array[], measured = ''): Promise<string> {
  const hash = createHash('sha256').update(measured)
  for (const tensor of weights) await addToHash(hash, tensor)
  return hash.digest('hex')
}
