import { groupBy, type MemoryItem } from '../checkpoint/memory-file.js'
import type { Dataset, Subset } from '../data/dataset.js'
import type { MemoryOptions } from '../methods/objective.js'
import type { Task } from '../streams/stream.js'
import { mersenneTwister } from '../streams/torch-random.js'

/**
 * What a memory holds when a task has ended: of each group (all images, those of a class or those of a task) the images with
 * the lowest priorities, so that each image of the group that was ever seen is as likely to be there as any other
 * (Vitter 1985's reservoir, by random keys). The groups share the size as equally as the images there are allow. What was kept
 * of an earlier learning of the same task is replaced.
 *
 * @param items what it held before
 * @param seed with the task's number it decides the priorities
 * @returns `size` images, or all where there are fewer, in the order in which they were seen
 */
export function remember(
  items: readonly MemoryItem[],
  { number: task, train }: Pick<Task, 'number' | 'train'>,
  { size, policy }: MemoryOptions,
  seed: number,
): MemoryItem[] {
  const random = mersenneTwister((seed ^ Math.imul(task, 0x9e3779b9)) >>> 0)
  const seen = Array.from(train.indices, (index) => ({
    dataset: train.dataset,
    index,
    task,
    priority: random() / 2 ** 32,
  }))
  const candidates = [...items.filter((item) => item.task !== task), ...seen]
  const groups = [...groupBy(candidates, (item) => groupOf(item, policy)).values()]
  // From the smallest group on, so that what it leaves of its share is there for the others.
  groups.sort((a, b) => a.length - b.length)
  const kept = new Set<MemoryItem>()
  for (const [i, group] of groups.entries()) {
    const share = Math.floor((size - kept.size) / (groups.length - i))
    const lowest = group.sort((a, b) => a.priority - b.priority).slice(0, share)
    for (const item of lowest) kept.add(item)
  }
  return candidates.filter((item) => kept.has(item))
}

/** A memory's images in its order, as training draws from them. */
export function subsetsOf(items: readonly MemoryItem[]): Subset[] {
  // Cut where the data set changes and nowhere else put in another order: which image a drawn position means must not
  // depend on whether the memory was saved and loaded in between, which makes data sets of its own.
  const runs: { dataset: Dataset; indices: number[] }[] = []
  for (const { dataset, index } of items) {
    const last = runs.at(-1)
    if (last?.dataset === dataset) last.indices.push(index)
    else runs.push({ dataset, indices: [index] })
  }
  return runs.map(({ dataset, indices }) => ({ dataset, indices: Int32Array.from(indices) }))
}

function groupOf({ dataset, index, task }: MemoryItem, policy: MemoryOptions['policy']): string | number {
  if (policy === 'reservoir') return 0
  // By name: a saved memory's data sets are others than the stream's.
  return policy === 'task-balanced' ? task : (dataset.classes[dataset.labels[index]!] as string)
}
