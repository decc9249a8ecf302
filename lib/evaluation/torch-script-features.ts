import path from 'node:path'
import { z } from 'zod'
import { AnswersByBatch, type FeatureExtractor } from '../classifiers/features.js'
import type { ImageBatch } from '../data/dataset.js'
import type { NativeTorchScript } from '../engine/addon.js'
import { call } from '../engine/call.js'
import { resolveDevice } from '../engine/device.js'
import { Owned } from '../engine/owned.js'
import { ContinualDiffusionError } from '../errors.js'
import { type Device, deviceSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { checkedTorchArchive } from './torch-archive.js'

/**
 * What a TorchScript file takes and answers.
 *
 * @category Evaluation
 */
export interface TorchScriptOptions {
  /**
   * Side in pixels of the square images that the network is given; images of another size are resized (bilinear, antialiased). For
   * a file that resizes by itself, as Inception-v3 files made for the FID do, give the images' own size, and they go in as they are.
   */
  size: number
  /** What black and white are to the network: bytes 0 … 255 are scaled to this range. Default [0, 1]. */
  range?: readonly [0, 1] | readonly [-1, 1] | readonly [0, 255]
  /** Channels that the network takes; grey images are repeated to them. Default 3. */
  channels?: number
  /** Further arguments of the network's `forward`, by name: e.g. `{ return_features: true }`. Default none. */
  arguments?: Readonly<Record<string, number | boolean>>
  /** Which part of the answer the features are: a position where it is a tuple or a list, a key where it is a dictionary. */
  output?: number | string
  /**
   * Say true if, and only if, the file is the standard Inception-v3 (the weights of the TensorFlow release of 2015-12-05, with which
   * FIDs are published) and answers with its 2048 pool features. Default false.
   */
  inceptionV3?: boolean
  /** For titles. Default: the file's name; with `inceptionV3`, `Inception-v3` and the beginning of the file's SHA-256. */
  name?: string
  /** Default `auto`. It computes in float32. */
  device?: Device
}

const schema = z.strictObject({
  size: z.int().min(1).max(4096),
  range: z
    .union([
      z.tuple([z.literal(0), z.literal(1)]),
      z.tuple([z.literal(-1), z.literal(1)]),
      z.tuple([z.literal(0), z.literal(255)]),
    ])
    .readonly()
    .default([0, 1]),
  channels: z.int().min(1).max(4).default(3),
  arguments: z.record(z.string(), z.union([z.number(), z.boolean()])).default({}),
  output: z.union([z.int().min(0), z.string().min(1)]).optional(),
  inceptionV3: z.boolean().default(false),
  name: z.string().min(1).optional(),
  device: deviceSchema.default('auto'),
})

/**
 * Features by a network of the user's own, from a TorchScript file (`torch.jit.save`).
 *
 * **A TorchScript file is a program: opening it runs its code, with this process's rights. Open only files you trust.** Its
 * `__setstate__` is run when it is opened, and its `forward` on every batch, the first time for the black image. They can call any
 * operator of libtorch, and so read any file (`torch.from_file`), write files (`torch.save`), take all memory, and never come back:
 * no signal stops them. Nothing of it runs in a sandbox.
 *
 * About the name FID: a file does not say whose weights it holds, there are several TorchScript files of the standard Inception-v3,
 * and a network can be 2048 wide without being one. So `inceptionV3` is the user's word; it is believed only for 2048 features
 * from three channels, and the file's SHA-256 goes into the title of everything that is measured with it, for others to check.
 *
 * @category Evaluation
 */
export class TorchScriptFeatures implements FeatureExtractor, AsyncDisposable {
  readonly name: string
  /** D: numbers per image, found by asking the network about one black image. */
  readonly dimension: number
  readonly inceptionV3: boolean
  /** SHA-256 of the file, in hexadecimal. */
  readonly sha256: string
  readonly #native: Owned<NativeTorchScript>
  readonly #answers = new AnswersByBatch((images) => this.#compute(images))

  private constructor(native: NativeTorchScript, name: string, sha256: string, inceptionV3: boolean) {
    this.#native = new Owned(native, `the network ${name}`)
    this.name = name
    this.dimension = native.dimension
    this.sha256 = sha256
    this.inceptionV3 = inceptionV3
  }

  /**
   * Opens a TorchScript file and asks it about one black image.
   *
   * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` for a file that can't be read, is damaged or is no TorchScript file,
   *   `ERR_INVALID_ARGUMENT` when the network does not take what the options say, or answers with anything but one row of numbers
   *   for each image; both name the file; `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`
   */
  static async load(file: string, options: TorchScriptOptions): Promise<TorchScriptFeatures> {
    const parsed = parseOptions(schema, options, 'TorchScriptFeatures.load')
    const { inceptionV3, name, size, range, channels, output } = parsed
    const { device } = await resolveDevice(parsed.device, 'fp32')
    const sha256 = await checkedTorchArchive(file)
    const native = await call((addon) =>
      addon.loadTorchScript({ file, device, size, range, channels, arguments: parsed.arguments, output }),
    )
    const { dimension } = native
    if (inceptionV3 && (dimension !== 2048 || channels !== 3)) {
      call(() => native.dispose())
      throw new ContinualDiffusionError(
        'ERR_INVALID_ARGUMENT',
        `${file}: inceptionV3 is true, but the network answers with ${dimension} features for images of ${channels} ` +
          "channels; the standard Inception-v3's pool layer has 2048, for 3 channels: choose it by the options arguments or " +
          'output, or leave inceptionV3 out',
      )
    }
    const title = name ?? (inceptionV3 ? `Inception-v3, sha256 ${sha256.slice(0, 12)}…` : path.basename(file))
    return new TorchScriptFeatures(native, title, sha256, inceptionV3)
  }

  /**
   * The network's answer, N × `dimension`. It is computed once for a batch object: don't change its images in between.
   *
   * @param images of any size; grey, or of the channels that the network takes
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for images of other channels, and when the network fails or its answer
   *   is not finite; it names the file
   */
  features(images: ImageBatch): Promise<Float32Array> {
    return this.#answers.of(images)
  }

  async #compute(images: ImageBatch): Promise<Float32Array> {
    const network = this.#native.live
    return call(() => network.features(images))
  }

  /** Gives back the memory on the device. Using it afterwards throws `ERR_DISPOSED`; disposing again does nothing. */
  async dispose(): Promise<void> {
    this.#native.dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}
