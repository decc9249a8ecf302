import { types } from 'node:util'
import { copiedAtOnce } from '../data/allocate.js'
import type { Dataset } from '../data/dataset.js'
import { ContinualDiffusionError } from '../errors.js'
import { held } from '../validation/fields.js'
import type { ImageSize } from '../validation/size.js'
import { call, disposedError } from './call.js'
import type { NativeImages } from './native-values.js'

/**
 * Holds the images of data sets on the devices that use them. A store copies a data set to a device once, for all learners, solvers and
 * classifiers that share the store:
 *
 * ```ts
 * await using images = new ImageStore()
 * await using learner = await Learner.create({ unet: presets.fashionMnist, images })
 * await using solver = await Solver.create(stream, { images })
 * const classifier = await Classifier.cached(data, { images })
 * ```
 *
 * `evaluate` and `frechetArea` use the learner's store. A learner, solver or classifier that is made without a store makes one, and disposes
 * of it. It does not dispose of a store that it was given.
 *
 * A store recognises a data set by its identity, not by its contents: don't change the images. The memory on the device is freed by `release`
 * or `dispose`, or when the program holds no reference to the data set any more and the garbage collector has run.
 *
 * @category Data
 */
export class ImageStore implements AsyncDisposable {
  /** By device and size, for each data set that is still in use. */
  readonly #resident = new WeakMap<Dataset, Map<string, Promise<NativeImages>>>()
  /** What `dispose` gives back; without holding it. */
  readonly #live = new Set<WeakRef<NativeImages>>()
  readonly #coming = new Set<Promise<NativeImages>>()
  readonly #uses = new Set<Promise<unknown>>()
  #disposed = false

  /**
   * A data set's images on a device, resized to `size`; they are brought there where they aren't yet.
   *
   * @throws ContinualDiffusionError `ERR_BAD_DATA`, `ERR_OUT_OF_MEMORY`, `ERR_DISPOSED`
   * @internal
   */
  images(dataset: Dataset, device: string, size: ImageSize): Promise<NativeImages> {
    this.checkLive()
    const places = this.#resident.get(dataset) ?? new Map<string, Promise<NativeImages>>()
    this.#resident.set(dataset, places)
    const place = `${device} ${size}`
    const known = places.get(place)
    if (known) return known
    const coming = bring(dataset, device, size)
    places.set(place, coming)
    this.#coming.add(coming)
    coming
      .then((images) => this.#remember(images))
      // A failure is not kept: with memory freed, the next attempt may succeed.
      .catch(() => places.delete(place))
      .finally(() => this.#coming.delete(coming))
    return coming
  }

  /**
   * @throws ContinualDiffusionError `ERR_DISPOSED` after `dispose()`
   * @internal
   */
  checkLive(): void {
    if (this.#disposed) throw disposedError('the image store')
  }

  /**
   * Does what asks for images and uses them, with none released in between.
   *
   * @internal
   */
  async using<T>(work: () => Promise<T>): Promise<T> {
    const use = work()
    this.#uses.add(use)
    try {
      return await use
    } finally {
      this.#uses.delete(use)
    }
  }

  /** Frees the memory of a data set's images on all devices. The images are copied again when they are needed again. */
  async release(dataset: Dataset): Promise<void> {
    const places = this.#resident.get(dataset)
    this.#resident.delete(dataset)
    // Those who asked for them before must find them.
    await Promise.allSettled(this.#uses)
    await giveBack(places?.values() ?? [])
  }

  /** Frees all memory on all devices. Using the store afterwards throws `ERR_DISPOSED`; disposing again does nothing. */
  async dispose(): Promise<void> {
    this.#disposed = true
    await giveBack(this.#coming)
    for (const images of this.#live) call(() => images.deref()?.dispose())
    this.#live.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }

  #remember(images: NativeImages): void {
    for (const ref of this.#live) if (ref.deref() === undefined) this.#live.delete(ref)
    this.#live.add(new WeakRef(images))
  }
}

async function giveBack(coming: Iterable<Promise<NativeImages>>): Promise<void> {
  // One that failed to come has nothing to give back, and whoever asked for it has been told.
  for (const images of await Promise.allSettled(coming)) {
    if (images.status === 'fulfilled') call(() => images.value.dispose())
  }
}

/** Images with a number each, as they are brought to a device. */
export type Bringable = Pick<Dataset, 'name' | 'labels' | 'height' | 'width' | 'channels'> & {
  readonly images: Uint8Array | Float32Array
}

/**
 * Copies images to a device part by part, so that JavaScript's thread never copies for long.
 *
 * @param size what they are resized to; 0: as given
 */
export async function bring(dataset: Bringable, device: string, size: ImageSize): Promise<NativeImages> {
  const { name, images, labels, height, width, channels } = dataset
  const count = labels.length
  const each = height * width * channels
  const atOnce = Math.max(1, Math.floor(copiedAtOnce / each))
  const part = (from: number) => {
    // Each time: the array's memory may have been given away or shrunk in between.
    if (images.length !== count * each) {
      throw new ContinualDiffusionError(
        'ERR_BAD_DATA',
        `${name}: the images hold ${held(images, types.isUint8Array(images) ? 'bytes' : 'numbers')}; expected ${count} × ${height} × ${width} × ${channels}, as there are ` +
          `${count} labels`,
      )
    }
    return { images: images.subarray(from * each, Math.min(count, from + atOnce) * each), height, width, channels }
  }
  const native = await call((addon) => addon.createImages({ ...part(0), labels, count, size, device }))
  try {
    for (let from = atOnce; from < count; from += atOnce) await call(() => native.write({ ...part(from), from }))
    return native
  } catch (error) {
    call(() => native.dispose())
    throw error
  }
}
