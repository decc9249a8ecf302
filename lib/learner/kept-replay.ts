import { setImmediate } from 'node:timers/promises'
import type { MemoryItem } from '../checkpoint/memory-file.js'
import { copiedAtOnce } from '../data/allocate.js'

/** Items that are looked at without letting others run: some milliseconds' work. */
const atOnce = 2 ** 12

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
  for (const [i, item] of kept.entries()) {
    const { dataset, index } = item
    if (item.task < task) before.get(dataset.classes[dataset.labels[index]!]!)?.push(item)
    if (i % atOnce === atOnce - 1) await setImmediate()
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
  const pixels = new Uint8Array(chosen.length * each)
  const labels = new Int32Array(chosen.length)
  const dataset = { name: 'replay pool', classes: names, images: pixels, labels, ...shape }
  const items: MemoryItem[] = []
  const copied = Math.max(1, Math.min(atOnce, Math.floor(copiedAtOnce / each)))
  for (const [i, { from, index, label, task }] of chosen.entries()) {
    pixels.set(from.subarray(index * each, (index + 1) * each), i * each)
    labels[i] = label
    items.push({ dataset, index: i, task, priority: 0 })
    if (i % copied === copied - 1) await setImmediate()
  }
  return items
}
