import { setImmediate } from 'node:timers/promises'
import { z } from 'zod'
import { copiedAtOnce } from '../data/allocate.js'
import type { Dataset } from '../data/dataset.js'
import { badFile } from '../files/bad-file.js'
import { type Dtype, readSafetensors, type StoredTensor, writeSafetensors } from '../files/safetensors.js'
import { imageSizeSchema } from '../validation/size.js'

/** What an item costs besides its pixels, in bytes that are copied in the same time; and items that are made without letting others run. */
const itemBytes = 2 ** 10
const itemsAtOnce = 2 ** 12

/** An image that is kept. */
export interface MemoryItem {
  readonly dataset: Dataset
  /** Its position in the data set. */
  readonly index: number
  /** Number of the task that brought it. */
  readonly task: number
  /** Drawn once for each image that is seen, uniform in [0, 1): of a group, those with the lowest are kept. */
  readonly priority: number
}

/** What learner.json says of the data sets that the memory's images are from. */
export const memorySchema = z
  .array(
    z.strictObject({
      name: z.string(),
      classes: z.array(z.string()).min(1),
      size: imageSizeSchema.optional(),
    }),
  )
  .default([])

export type MemoryRecord = z.output<typeof memorySchema>

/**
 * The data sets that a memory's images are from, in the order of its items, and each item's position among them. Data sets that only differ in which
 * images they hold are one: so it doesn't show in the file whether some of the images were saved and loaded before.
 */
function datasetsOf(items: readonly MemoryItem[]): { datasets: Dataset[]; places: Int32Array } {
  const datasets: Dataset[] = []
  const known = new Map<Dataset, number>()
  const byKey = new Map<string, number>()
  const places = new Int32Array(items.length)
  // An index, no iterator: there may be 100,000 items, and nothing else runs meanwhile.
  for (let i = 0; i < items.length; i++) {
    const { dataset } = items[i]!
    let place = known.get(dataset)
    if (place === undefined) {
      const { name, classes, size, height, width, channels } = dataset
      const key = JSON.stringify([name, classes, size, height, width, channels])
      place = byKey.get(key) ?? datasets.push(dataset) - 1
      byKey.set(key, place)
      known.set(dataset, place)
    }
    places[i] = place
  }
  return { datasets, places }
}

/** The data sets that a memory's images are from, in the order of its items. */
export function memoryRecord(items: readonly MemoryItem[]): MemoryRecord {
  return datasetsOf(items).datasets.map(({ name, classes, size }) => ({
    name,
    classes: [...classes],
    ...(size === undefined ? {} : { size }),
  }))
}

/**
 * Writes the images themselves, as they are stored in their data sets: `<data set>.images` and `<data set>.labels`, each in the
 * memory's order; and for each item of the memory its data set and task (`items`) and its `priorities`.
 */
export async function writeMemory(file: string, items: readonly MemoryItem[]): Promise<void> {
  const { datasets, places } = datasetsOf(items)
  const counts = datasets.map(() => 0)
  for (const place of places) counts[place]!++
  const stored = datasets.map(({ height, width, channels }, g) => ({
    shape: [counts[g]!, height, width, channels],
    images: new Uint8Array(counts[g]! * height * width * channels),
    labels: new Int32Array(counts[g]!),
    filled: 0,
  }))
  const rows = new Int32Array(2 * items.length)
  const priorities = new Float64Array(items.length)
  let copied = 0
  for (const [i, { dataset, index, task, priority }] of items.entries()) {
    const { height, width, channels } = dataset
    const bytes = height * width * channels
    const to = stored[places[i]!]!
    to.images.set(dataset.images.subarray(index * bytes, (index + 1) * bytes), to.filled * bytes)
    to.labels[to.filled++] = dataset.labels[index]!
    rows[2 * i] = places[i]!
    rows[2 * i + 1] = task
    priorities[i] = priority
    copied += bytes + itemBytes
    if (copied < copiedAtOnce) continue
    copied = 0
    await setImmediate()
  }
  const tensors = new Map<string, StoredTensor>()
  for (const [g, { shape, images, labels }] of stored.entries()) {
    tensors.set(`${g}.images`, { dtype: 'U8', shape, data: images })
    tensors.set(`${g}.labels`, { dtype: 'I32', shape: [labels.length], data: labels })
  }
  tensors.set('items', { dtype: 'I32', shape: [items.length, 2], data: rows })
  tensors.set('priorities', { dtype: 'F64', shape: [items.length], data: priorities })
  await writeSafetensors(file, tensors)
}

/** @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` */
export async function readMemory(file: string, record: MemoryRecord): Promise<MemoryItem[]> {
  if (record.length === 0) return []
  const { tensors } = await readSafetensors(file)
  const get = <D extends Dtype>(name: string, dtype: D, shape: readonly (number | undefined)[]) => {
    const tensor = tensors.get(name)
    const fits =
      tensor?.dtype === dtype &&
      tensor.shape.length === shape.length &&
      shape.every((size, i) => size === undefined || size === tensor.shape[i])
    if (!fits) {
      const found = tensor === undefined ? 'missing' : `${tensor.dtype} of shape [${tensor.shape}]`
      throw badFile(file, `tensor '${name}' is ${found}; expected ${dtype} of shape [${shape.map((n) => n ?? '…')}]`)
    }
    return tensor as Extract<StoredTensor, { dtype: D }>
  }
  const datasets = record.map(({ name, classes, size }, g): Dataset => {
    const { data: images, shape } = get(`${g}.images`, 'U8', [undefined, undefined, undefined, undefined])
    const [count, height, width, channels] = shape as [number, number, number, number]
    const { data: labels } = get(`${g}.labels`, 'I32', [count])
    const outside = labels.find((label) => label < 0 || label >= classes.length)
    if (outside !== undefined) {
      throw badFile(file, `tensor '${g}.labels' has a label ${outside}; expected 0 … ${classes.length - 1}`)
    }
    return { name, classes, images, labels, height, width, channels, ...(size === undefined ? {} : { size }) }
  })
  const { data: rows, shape } = get('items', 'I32', [undefined, 2])
  const { data: priorities } = get('priorities', 'F64', [shape[0]])
  const next = datasets.map(() => 0)
  const items: MemoryItem[] = []
  for (const [i, priority] of priorities.entries()) {
    const [g, task] = [rows[2 * i]!, rows[2 * i + 1]!]
    const dataset = datasets[g]
    if (dataset === undefined) throw badFile(file, `item ${i} is of data set ${g}, which learner.json does not have`)
    items.push({ dataset, index: next[g]!++, task, priority })
    if (i % itemsAtOnce === itemsAtOnce - 1) await setImmediate()
  }
  for (const [g, { labels }] of datasets.entries()) {
    if (next[g] !== labels.length) {
      throw badFile(file, `data set ${g} has ${labels.length} images, and ${next[g]} items of the memory name it`)
    }
  }
  return items
}
