import type { Dataset, ImageBatch, Subset } from '../data/dataset.js'
import type { NativeImages, NativePool } from './addon.js'
import { call, disposedError } from './call.js'

/** Data sets on a device, each brought there once, resized to one square size. */
export class ResidentImages {
  readonly #device: string
  readonly #size: number
  readonly #resident = new Map<Dataset, Promise<NativeImages>>()
  #disposed = false

  /** @param size side in pixels that all images are resized to */
  constructor(device: string, size: number) {
    this.#device = device
    this.#size = size
  }

  /** Images to draw from, as the engine takes them. */
  async pool(subsets: readonly Subset[]): Promise<NativePool> {
    return Promise.all(subsets.map(async ({ dataset, indices }) => ({ images: await this.#bring(dataset), indices })))
  }

  /** Some images as the engine sees them: resized. */
  async read({ dataset, indices }: Subset): Promise<ImageBatch> {
    const images = await this.#bring(dataset)
    const data = await call((addon) => addon.readImages(images, indices))
    return { data, count: indices.length, height: this.#size, width: this.#size, channels: dataset.channels }
  }

  async dispose(): Promise<void> {
    this.#disposed = true
    const resident = [...this.#resident.values()]
    this.#resident.clear()
    // One that failed to come has nothing to give back, and whoever asked for it has been told.
    for (const images of await Promise.allSettled(resident)) {
      if (images.status === 'fulfilled') call(() => images.value.dispose())
    }
  }

  #bring(dataset: Dataset): Promise<NativeImages> {
    if (this.#disposed) throw disposedError('the device copy of the images')
    const known = this.#resident.get(dataset)
    if (known) return known
    const { images, labels, height, width, channels } = dataset
    const coming = call((addon) =>
      addon.createImages({
        images,
        labels,
        count: labels.length,
        height,
        width,
        channels,
        size: this.#size,
        device: this.#device,
      }),
    )
    this.#resident.set(dataset, coming)
    // A failure is not kept: with memory freed, the next attempt may succeed.
    coming.catch(() => this.#resident.delete(dataset))
    return coming
  }
}
