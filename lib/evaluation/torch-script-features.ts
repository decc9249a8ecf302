import path from 'node:path'
import { z } from 'zod'
import { type FeatureExtractor, OutputsByBatch } from '../classifiers/features.js'
import type { ImageBatch } from '../data/dataset.js'
import { imageBatchSchema } from '../data/schemas.js'
import type { NativeTorchScript } from '../engine/addon.js'
import { call } from '../engine/call.js'
import { resolveDevice } from '../engine/device.js'
import { Owned } from '../engine/owned.js'
import { ContinualDiffusionError } from '../errors.js'
import { type Device, deviceSchema, pathSchema, threadsSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { channelsSchema, type ImageSize, sizeSchema } from '../validation/size.js'

/**
 * The input and the output of the network in a TorchScript file.
 *
 * @category Evaluation
 */
export interface TorchScriptOptions {
  /**
   * The network's input: `[height, width]` in pixels, or the side of a square, each 1 … 4096. Images of another size are resized to it
   * (bilinear, antialiased). `any`: the network takes images of any size, and resizes them itself where it must; they are given as they are.
   */
  size: ImageSize | 'any'
  /** The network's values for black and white: bytes 0 … 255 are scaled to this range. Default [0, 1]. */
  range?: readonly [0, 1] | readonly [-1, 1] | readonly [0, 255]
  /** Channels of the network's input, 1 … 16; a grey image is repeated in all of them. Default 3. */
  channels?: number
  /** Further arguments of the network's `forward`, by name: e.g. `{ return_features: true }`. Default none. */
  arguments?: Readonly<Record<string, number | boolean>>
  /** Where the features are in the network's output: a position in a tuple or a list, a key in a dictionary. Default: the whole output. */
  output?: number | string
  /**
   * Say true if, and only if, the file is the standard Inception-v3 (the weights of the TensorFlow release of 2015-12-05, with which
   * FIDs are published) and its output is the 2048 pool features. Default false.
   */
  inceptionV3?: boolean
  /** For titles. Default: the file's name; with `inceptionV3`, `Inception-v3` and the beginning of the file's SHA-256. */
  name?: string
  /** Default `auto`. It computes in float32. */
  device?: Device
  /** Threads of the CPU that compute it, 1 … 1024. Another number gives other digits. Default: libtorch's, see `OMP_NUM_THREADS`. */
  threads?: number | undefined
}

/** Schema of {@link TorchScriptOptions}. */
export const torchScriptSchema = z.strictObject({
  size: z.union([sizeSchema(1, 4096), z.literal('any')]),
  range: z
    .union([
      z.tuple([z.literal(0), z.literal(1)]),
      z.tuple([z.literal(-1), z.literal(1)]),
      z.tuple([z.literal(0), z.literal(255)]),
    ])
    .readonly()
    .default([0, 1]),
  channels: channelsSchema.default(3),
  arguments: z.record(z.string(), z.union([z.number(), z.boolean()])).default({}),
  output: z.union([z.int().min(0), z.string().min(1)]).optional(),
  inceptionV3: z.boolean().default(false),
  name: z.string().min(1).optional(),
  device: deviceSchema.default('auto'),
  threads: threadsSchema.optional(),
})

/**
 * Features from your own network in a TorchScript file (`torch.jit.save`).
 *
 * **A TorchScript file is a program: opening it runs its code, with this process's rights. Open only files you trust.** Its
 * `__setstate__` runs when the file is opened, and its `forward` runs on every batch, the first time on a black image. They can call any
 * operator of libtorch. So they can read any file (`torch.from_file`), write files (`torch.save`), take all memory, and run forever: no
 * signal stops them. Nothing of this runs in a sandbox.
 *
 * About the name FID: a file does not say whose weights it holds, there are several TorchScript files of the standard Inception-v3, and
 * other networks can have 2048 features too. So you declare the standard Inception-v3 by `inceptionV3`. It is an error unless there are
 * 2048 features from three channels. The file's SHA-256 stands in the title of every metric computed with it, so that others can check it.
 *
 * @category Evaluation
 */
export class TorchScriptFeatures implements FeatureExtractor, AsyncDisposable {
  readonly name: string
  /** D: numbers per image, found by running the network on one black image. */
  readonly dimension: number
  readonly inceptionV3: boolean
  /** SHA-256 of the file, in hexadecimal. */
  readonly sha256: string
  readonly #native: Owned<NativeTorchScript>
  readonly #outputs = new OutputsByBatch((images) => this.#compute(images))

  private constructor(
    native: NativeTorchScript,
    name: string,
    sha256: string,
    inceptionV3: boolean,
    /** @internal */
    readonly fingerprint: string,
  ) {
    this.#native = new Owned(native, `the network ${name}`)
    this.name = name
    this.dimension = native.dimension
    this.sha256 = sha256
    this.inceptionV3 = inceptionV3
  }

  /**
   * Opens a TorchScript file and runs its network on one black image.
   *
   * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` for a file that can't be read, is damaged or is no TorchScript file,
   *   `ERR_INVALID_ARGUMENT` when the network does not accept the input that the options describe, or its output is not one row of
   *   numbers for each image; both name the file; `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`
   */
  static async load(file: string, options: TorchScriptOptions): Promise<TorchScriptFeatures> {
    parseOptions(pathSchema, file, 'TorchScriptFeatures.load: file')
    const parsed = parseOptions(torchScriptSchema, options, 'TorchScriptFeatures.load')
    const { inceptionV3, name, size, range, channels, output, threads } = parsed
    const { device } = await resolveDevice(parsed.device, 'fp32')
    const { checkedTorchArchive } = await import('./torch-archive.js') // not for those who have no such file
    const sha256 = await checkedTorchArchive(file)
    const native = await call((addon) =>
      addon.loadTorchScript({
        file,
        device,
        threads,
        size: size === 'any' ? 0 : size,
        range,
        channels,
        arguments: parsed.arguments,
        output,
      }),
    )
    const computes = call(({ version, libtorchVersion, cpu }) => {
      const { capability, threads: all } = cpu()
      return [version, libtorchVersion, device, capability, threads ?? all]
    })
    const fingerprint = JSON.stringify([sha256, size, range, channels, parsed.arguments, output, ...computes])
    const { dimension } = native
    if (inceptionV3 && (dimension !== 2048 || channels !== 3)) {
      call(() => native.dispose())
      throw new ContinualDiffusionError(
        'ERR_INVALID_ARGUMENT',
        `${file}: inceptionV3 is true, but the network's output is ${dimension} features for images of ${channels} ` +
          "channels; expected 2048 features for 3 channels, the standard Inception-v3's pool layer: choose it by the options " +
          'arguments or output, or leave inceptionV3 out',
      )
    }
    const title = name ?? (inceptionV3 ? `Inception-v3, sha256 ${sha256.slice(0, 12)}…` : path.basename(file))
    return new TorchScriptFeatures(native, title, sha256, inceptionV3, fingerprint)
  }

  /**
   * The network's features, N × `dimension`, row-major. They are computed once for a batch object: don't change the batch's images later.
   *
   * @param images of any size; grey, or of the channels that the network takes
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for images of other channels, and when the network fails or a
   *   feature is not finite; the message names the file
   */
  async features(images: ImageBatch): Promise<Float32Array> {
    parseOptions(imageBatchSchema, images, 'features: images')
    return this.#outputs.of(images)
  }

  async #compute(images: ImageBatch): Promise<Float32Array> {
    const network = this.#native.live
    return call(() => network.features(images))
  }

  /** @internal */
  get leavesImages(): boolean {
    return true
  }

  /** Frees the memory on the device. Using the features afterwards throws `ERR_DISPOSED`; disposing again does nothing. */
  async dispose(): Promise<void> {
    this.#native.dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}
