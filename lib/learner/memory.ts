import { setImmediate } from 'node:timers/promises'
import type { MemoryItem } from '../checkpoint/memory-file.js'
import type { Dataset, Subset } from '../data/dataset.js'
import { mersenneTwister } from '../data/torch-random.js'
import type { MemoryOptions } from '../methods/objective.js'
import type { Task } from '../streams/stream.js'

/** How many images are looked at in one turn of the event loop: some milliseconds' work. */
const seenAtOnce = 16384

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
export async function remember(
  items: readonly MemoryItem[],
  { number: task, train }: Pick<Task, 'number' | 'train'>,
  { size, policy }: MemoryOptions,
  seed: number,
): Promise<MemoryItem[]> {
  const random = mersenneTwister((seed ^ Math.imul(task, 0x9e3779b9)) >>> 0)
  const { dataset, indices } = train
  const old = items.filter((item) => item.task !== task)
  // By position: first what was kept, then what is new. To make an item of each image of a large task would take long.
  const count = old.length + indices.length
  const priorities = new Float64Array(count)
  const byKey = new Map<string | number, number[]>()
  for (let i = 0; i < count; i++) {
    const item = old[i]
    priorities[i] = item ? item.priority : random() / 2 ** 32
    const key = item
      ? groupOf(item.dataset, item.index, item.task, policy)
      : groupOf(dataset, indices[i - old.length]!, task, policy)
    const group = byKey.get(key)
    if (group) group.push(i)
    else byKey.set(key, [i])
    if (i % seenAtOnce === seenAtOnce - 1) await setImmediate()
  }
  const groups = [...byKey.values()]
  // From the smallest group on, so that what it leaves of its share is there for the others.
  groups.sort((a, b) => a.length - b.length)
  const kept: number[] = []
  for (const [i, group] of groups.entries()) {
    const share = Math.floor((size - kept.length) / (groups.length - i))
    for (const position of lowest(group, priorities, share)) kept.push(position)
    await setImmediate()
  }
  kept.sort((a, b) => a - b)
  return kept.map((i) => old[i] ?? { dataset, index: indices[i - old.length]!, task, priority: priorities[i]! })
}

/** Those `count` of the positions that have the lowest priorities; of equal ones the first. */
function lowest(positions: readonly number[], priorities: Float64Array, count: number): readonly number[] {
  if (count >= positions.length) return positions
  const sorted = new Float64Array(positions.length)
  for (let i = 0; i < sorted.length; i++) sorted[i] = priorities[positions[i]!]!
  const limit = sorted.sort()[count]!
  const below = positions.filter((i) => priorities[i]! < limit)
  const equal = positions.filter((i) => priorities[i] === limit)
  return [...below, ...equal.slice(0, count - below.length)]
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

function groupOf(
  { classes, labels }: Dataset,
  index: number,
  task: number,
  policy: MemoryOptions['policy'],
): string | number {
  if (policy === 'reservoir') return 0
  // By name: a saved memory's data sets are others than the stream's.
  return policy === 'task-balanced' ? task : (classes[labels[index]!] as string)
}
