import { setImmediate } from 'node:timers/promises'
import type { MemoryItem } from '../checkpoint/memory-file.js'
import { copiedAtOnce } from '../engine/image-store.js'

/** Generated images, told apart by class. */
export interface SortedImages {
  /** Pixels, N × height × width × channels. */
  readonly images: Uint8Array
  readonly height: number
  readonly width: number
  readonly channels: number
  /** Names of the classes of the earlier tasks. */
  readonly names: readonly string[]
  /** The positions of each class's images. */
  readonly byClass: readonly (readonly number[])[]
}

/**
 * The images that a pool with `keep` has, at most `total`, as many of each class: of a class that was kept before, those; of another, the
 * first that the teacher generated now. What was kept in this task or a later one is not looked at, so that a task that is resumed, or learned
 * again, gets what it had.
 *
 * @param kept what is kept so far
 * @param total at least the number of classes
 * @returns what is kept from now on; all items are of one new data set, in which the images lie class by class
 */
export async function keepFirst(
  kept: readonly MemoryItem[],
  { images, names, byClass, ...shape }: SortedImages,
  task: number,
  total: number,
): Promise<MemoryItem[]> {
  const share = Math.floor(total / names.length)
  const before = new Map<string, MemoryItem[]>(names.map((name) => [name, []]))
  for (const item of kept) {
    if (item.task < task) before.get(item.dataset.classes[item.dataset.labels[item.index]!]!)?.push(item)
  }
  const chosen: { from: Uint8Array; index: number; label: number; task: number }[] = []
  for (const [label, name] of names.entries()) {
    await setImmediate() // there may be many of each class
    const own = before.get(name)!.slice(0, share)
    for (const { dataset, index, task } of own) chosen.push({ from: dataset.images, index, label, task })
    if (own.length > 0) continue
    for (const index of byClass[label]!.slice(0, share)) chosen.push({ from: images, index, label, task })
  }
  const each = shape.height * shape.width * shape.channels
  const atOnce = Math.max(1, Math.floor(copiedAtOnce / each))
  const pixels = new Uint8Array(chosen.length * each)
  for (const [i, { from, index }] of chosen.entries()) {
    pixels.set(from.subarray(index * each, (index + 1) * each), i * each)
    if (i % atOnce === atOnce - 1) await setImmediate()
  }
  await setImmediate()
  const labels = Int32Array.from(chosen, ({ label }) => label)
  const dataset = { name: 'replay pool', classes: names, images: pixels, labels, ...shape }
  return chosen.map((item, index) => ({ dataset, index, task: item.task, priority: 0 }))
}
