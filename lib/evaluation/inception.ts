import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { z } from 'zod'
import type { FeatureExtractor } from '../classifiers/features.js'
import type { ImageBatch } from '../data/dataset.js'
import { download } from '../data/download.js'
import { ContinualDiffusionError } from '../errors.js'
import { cacheFolder, noCacheFolder, warnNotKept, warnOfCache } from '../files/cache-folder.js'
import { checksumOf } from '../files/checksum.js'
import {
  type Device,
  deviceSchema,
  functionSchema,
  pathSchema,
  signalSchema,
  threadsSchema,
} from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { inceptionFile } from './inception-file.js'
import { TorchScriptFeatures } from './torch-script-features.js'

/**
 * Where the standard Inception-v3 is found, and where it computes.
 *
 * @category Evaluation
 */
export interface InceptionOptions {
  /** The TorchScript file `inception-2015-12-05.pt`. Default: the one in the cache folder, which is downloaded when it is not there. */
  file?: string
  /** Address of the file, in place of NVIDIA's. Default: in `CONTINUAL_DIFFUSION_DATA_URL`, where that is set. */
  url?: string
  /** Folder that the download is kept in. Default: `networks` in the user's cache folder of this package. */
  cacheFolder?: string
  /** Default `auto`. It computes in float32. */
  device?: Device
  /** Threads of the CPU that compute it, 1 … 1024. Another number gives other digits. Default: libtorch's, see `OMP_NUM_THREADS`. */
  threads?: number | undefined
  /** An abort rejects with `signal.reason`. What was downloaded is kept, and the next download goes on from there. */
  signal?: AbortSignal | undefined
  /** Called as bytes arrive, with the file's name, the bytes so far and in all (0: unknown). */
  onProgress?: ((file: string, done: number, total: number) => void) | undefined
}

const schema = z.strictObject({
  file: pathSchema.optional(),
  url: z.url().optional(),
  cacheFolder: pathSchema.optional(),
  device: deviceSchema.default('auto'),
  threads: threadsSchema.optional(),
  signal: signalSchema.optional(),
  onProgress: functionSchema<NonNullable<InceptionOptions['onProgress']>>().optional(),
})

/**
 * The standard Inception-v3: the network of TensorFlow's release of 2015-12-05, in whose 2048 pool features the FID and the KID are
 * published (Heusel et al. 2017, arXiv 1706.08500). It is read from a TorchScript file that is known by its SHA-256, and downloaded once.
 * Images of any size are given to it as they are, in 0 … 255: it resizes them to 299 × 299 itself. A grey image is repeated in the three
 * channels. Google published the network under the Apache License 2.0; the file is the one that NVIDIA distributes with stylegan2-ada-pytorch.
 *
 * ```ts
 * await using inception = await InceptionV3.load()
 * const report = await evaluate(learner, stream.seen(task), [fid(inception), kid(inception), inceptionScore(inception)])
 * ```
 *
 * @category Evaluation
 */
export class InceptionV3 implements FeatureExtractor, AsyncDisposable {
  readonly name: string
  /** 2048. */
  readonly dimension: number
  readonly inceptionV3 = true
  /** SHA-256 of the file, in hexadecimal. */
  readonly sha256: string
  readonly #pool: TorchScriptFeatures
  readonly #output: TorchScriptFeatures

  private constructor(pool: TorchScriptFeatures, output: TorchScriptFeatures) {
    this.#pool = pool
    this.#output = output
    this.name = pool.name
    this.dimension = pool.dimension
    this.sha256 = pool.sha256
  }

  /**
   * Finds the file, or downloads it, and opens it. Where the cache can't be written, it is downloaded for this once, and a warning
   * `CONTINUAL_DIFFUSION_NO_CACHE` says so; so does one where the file in the cache is another one, which is then replaced.
   *
   * @throws ContinualDiffusionError `ERR_BAD_DATA` when `file` can't be read or has another SHA-256, `ERR_DOWNLOAD_FAILED`,
   *   `ERR_INVALID_ARGUMENT`, `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`; signal.reason after an abort
   */
  static async load(options: InceptionOptions = {}): Promise<InceptionV3> {
    const { device, threads, ...where } = parseOptions(schema, options, 'InceptionV3.load')
    const found = await find(where)
    try {
      const how = { size: 'any', range: [0, 255], device, threads } as const
      const pool = await TorchScriptFeatures.load(found.file, {
        ...how,
        arguments: { return_features: true },
        inceptionV3: true,
      })
      try {
        const output = await TorchScriptFeatures.load(found.file, {
          ...how,
          arguments: { no_output_bias: true },
          name: pool.name,
        })
        return new InceptionV3(pool, output)
      } catch (error) {
        await pool.dispose()
        throw error
      }
    } finally {
      await found.remove()
    }
  }

  /**
   * The 2048 pool features, N × 2048, row-major. They are computed once for a batch object: don't change the batch's images later.
   *
   * @param images of any size, grey or with three channels
   */
  features(images: ImageBatch): Promise<Float32Array> {
    return this.#pool.features(images)
  }

  /**
   * The probabilities of the classes, N × classes, row-major, each row with the sum 1: those of the inception score, without the bias of the
   * last layer, as in the code of Salimans et al.
   *
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when what the network gives are no probabilities
   */
  async probabilities(images: ImageBatch): Promise<Float32Array> {
    const found = await this.#output.features(images)
    const classes = this.#output.dimension
    for (let row = 0; row < found.length; row += classes) {
      const one = found.subarray(row, row + classes)
      const sum = one.reduce((all, value) => all + value, 0)
      if (Math.abs(sum - 1) < 1e-3 && one.every((value) => value >= 0)) continue
      throw new ContinualDiffusionError(
        'ERR_INVALID_ARGUMENT',
        `${this.name}: with no_output_bias it gives ${classes} numbers with the sum ${sum}; expected the probabilities of classes, with the sum 1`,
      )
    }
    return found
  }

  /** Number of classes of {@link InceptionV3.probabilities}. */
  get classes(): number {
    return this.#output.dimension
  }

  /** @internal */
  get leavesImages(): boolean {
    return true
  }

  /** @internal */
  get fingerprint(): string {
    return this.#pool.fingerprint
  }

  /** Frees the memory on the device. Using it afterwards throws `ERR_DISPOSED`; disposing again does nothing. */
  async dispose(): Promise<void> {
    await this.#pool.dispose()
    await this.#output.dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}

/** Where networks are kept; undefined where the user has no cache folder. */
export function networksFolder(): string | undefined {
  return cacheFolder('networks')
}

type Where = Pick<InceptionOptions, 'file' | 'url' | 'cacheFolder' | 'signal' | 'onProgress'>

/** The file, and what is to be done once it is open. */
async function find({ file, ...where }: Where): Promise<{ file: string; remove: () => Promise<void> }> {
  const { name, sha256 } = inceptionFile
  const remove = async () => {}
  if (file !== undefined) {
    const found = await digestOf(file)
    if (found === sha256) return { file, remove }
    throw new ContinualDiffusionError(
      'ERR_BAD_DATA',
      `${file}: the SHA-256 is ${found}; expected ${sha256}, that of ${name}: only distances in its features are FIDs. Get it from ` +
        `${inceptionFile.url}, or leave the file out to have it downloaded`,
    )
  }
  try {
    return { file: await getInception(where.cacheFolder ?? networksFolder(), where), remove }
  } catch (error) {
    if (!(error instanceof ContinualDiffusionError) || error.code !== 'ERR_WRITE_FAILED') throw error
    const temporary = await mkdtemp(path.join(tmpdir(), 'continual-diffusion-'))
    const removeTemporary = () => rm(temporary, { recursive: true, force: true })
    try {
      const got = await getInception(temporary, where)
      warnNotKept(name, error.message)
      return { file: got, remove: removeTemporary }
    } catch (failure) {
      await removeTemporary()
      throw failure
    }
  }
}

/**
 * Downloads the file to the folder, unless it is there.
 *
 * @param folder default: that of the user's cache
 * @returns the file's path
 * @throws ContinualDiffusionError `ERR_DOWNLOAD_FAILED`, `ERR_WRITE_FAILED`
 */
export async function getInception(
  folder: string | undefined,
  { url, signal, onProgress }: Omit<Where, 'file' | 'cacheFolder'>,
): Promise<string> {
  if (folder === undefined) throw new ContinualDiffusionError('ERR_WRITE_FAILED', noCacheFolder)
  const { name, sha256, mostBytes } = inceptionFile
  const target = path.join(folder, name)
  if (existsSync(target)) {
    const found = await digestOf(target)
    if (found === sha256) return target
    warnOfCache(
      `${target} is damaged or another file: its SHA-256 is ${found}, expected ${sha256}; it is downloaded again`,
    )
  }
  const base = process.env.CONTINUAL_DIFFUSION_DATA_URL
  const urls = [url ?? (base ? `${base.replace(/\/+$/, '')}/${name}` : inceptionFile.url)]
  const progress = (done: number, total: number) => onProgress?.(name, done, total)
  await download({
    urls,
    path: target,
    sha256,
    bytes: mostBytes,
    packed: false,
    ...(signal && { signal }),
    onProgress: progress,
  })
  return target
}

async function digestOf(file: string): Promise<string> {
  try {
    return (await checksumOf(file)).sha256
  } catch (cause) {
    throw new ContinualDiffusionError('ERR_BAD_DATA', `${file} can't be read: ${(cause as Error).message}`, { cause })
  }
}
