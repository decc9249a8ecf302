import type { Dataset, ImageBatch, Subset } from '../data/dataset.js'
import { type ImageSize, sidesOf } from '../validation/size.js'
import { call } from './call.js'
import { ImageStore } from './image-store.js'
import type { NativeImages, NativePool } from './native-values.js'

/** Images as one owner uses them: on one device, resized to one size. */
export class ResidentImages {
  /** `cpu` or `cuda:N`. */
  readonly device: string
  /** What all images are resized to. */
  readonly size: ImageSize
  readonly store: ImageStore
  readonly #isOwner: boolean

  /**
   * @param store where the images are kept. Default: a store of its own
   * @throws ContinualDiffusionError `ERR_DISPOSED` for a store that was disposed
   */
  constructor(device: string, size: ImageSize, store?: ImageStore) {
    store?.checkLive()
    this.device = device
    this.size = size
    this.store = store ?? new ImageStore()
    this.#isOwner = store === undefined
  }

  /** Images to draw from, as the engine takes them. */
  async pool(subsets: readonly Subset[]): Promise<NativePool> {
    return Promise.all(subsets.map(async ({ dataset, indices }) => ({ images: await this.#bring(dataset), indices })))
  }

  /** Does what asks for images and uses them, with none released in between. */
  using<T>(work: () => Promise<T>): Promise<T> {
    return this.store.using(work)
  }

  /** Some images as the engine sees them: resized. */
  async read({ dataset, indices }: Subset): Promise<ImageBatch> {
    const data = await this.using(async () => {
      const images = await this.#bring(dataset)
      return call((addon) => addon.readImages(images, indices))
    })
    const [height, width] = sidesOf(this.size)
    return { data, count: indices.length, height, width, channels: dataset.channels }
  }

  /** Disposes of the store where it is its own. */
  async dispose(): Promise<void> {
    if (this.#isOwner) await this.store.dispose()
  }

  #bring(dataset: Dataset): Promise<NativeImages> {
    return this.store.images(dataset, this.device, this.size)
  }
}
