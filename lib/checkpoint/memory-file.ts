import { z } from 'zod'
import type { Dataset } from '../data/dataset.js'
import { badFile } from '../files/bad-file.js'
import { type Dtype, readSafetensors, type StoredTensor, writeSafetensors } from '../files/safetensors.js'
import { imageSizeSchema } from '../validation/size.js'

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
 * A memory's items by data set, in the order of the items. Data sets that only differ in which images they hold are one: so
 * it doesn't show in the file whether some of the images were saved and loaded before.
 */
function byDataset(items: readonly MemoryItem[]): Map<string, MemoryItem[]> {
  return groupBy(items, ({ dataset: { name, classes, size, height, width, channels } }) =>
    JSON.stringify([name, classes, size, height, width, channels]),
  )
}

/** The data sets that a memory's images are from, in the order of its items. */
export function memoryRecord(items: readonly MemoryItem[]): MemoryRecord {
  return [...byDataset(items).values()].map(([item]) => {
    const { name, classes, size } = (item as MemoryItem).dataset
    return { name, classes: [...classes], ...(size === undefined ? {} : { size }) }
  })
}

/**
 * Writes the images themselves, as they are stored in their data sets: `<data set>.images` and `<data set>.labels`, each in the
 * memory's order; and for each item of the memory its data set and task (`items`) and its `priorities`.
 */
export async function writeMemory(file: string, items: readonly MemoryItem[]): Promise<void> {
  const groups = [...byDataset(items).values()]
  const places = new Map(groups.flatMap((group, g) => group.map((item) => [item, g] as const)))
  const tensors = new Map<string, StoredTensor>()
  for (const [g, group] of groups.entries()) {
    const { height, width, channels } = (group[0] as MemoryItem).dataset
    const bytes = height * width * channels
    const data = new Uint8Array(group.length * bytes)
    for (const [i, { dataset, index }] of group.entries()) {
      data.set(dataset.images.subarray(index * bytes, (index + 1) * bytes), i * bytes)
    }
    tensors.set(`${g}.images`, { dtype: 'U8', shape: [group.length, height, width, channels], data })
    const own = Int32Array.from(group, ({ dataset, index }) => dataset.labels[index]!)
    tensors.set(`${g}.labels`, { dtype: 'I32', shape: [group.length], data: own })
  }
  const rows = Int32Array.from(items.flatMap((item) => [places.get(item) as number, item.task]))
  tensors.set('items', { dtype: 'I32', shape: [items.length, 2], data: rows })
  const priorities = Float64Array.from(items, ({ priority }) => priority)
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
  const items = Array.from(priorities, (priority, i): MemoryItem => {
    const [g, task] = [rows[2 * i]!, rows[2 * i + 1]!]
    const dataset = datasets[g]
    if (dataset === undefined) throw badFile(file, `item ${i} is of data set ${g}, which learner.json does not have`)
    return { dataset, index: next[g]!++, task, priority }
  })
  for (const [g, { labels }] of datasets.entries()) {
    if (next[g] !== labels.length) {
      throw badFile(file, `data set ${g} has ${labels.length} images, and ${next[g]} items of the memory name it`)
    }
  }
  return items
}

/** Items by a key, in the order of the first of each. */
export function groupBy<T, K>(items: readonly T[], key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const item of items) {
    const group = groups.get(key(item))
    if (group) group.push(item)
    else groups.set(key(item), [item])
  }
  return groups
}
