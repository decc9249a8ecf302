import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { MemoryItem } from '../lib/checkpoint/memory-file.js'
import type { Dataset } from '../lib/data/dataset.js'
import { readSafetensors, type StoredTensor, writeSafetensors } from '../lib/files/safetensors.js'
import {
  compose,
  ewc,
  experienceReplay,
  finetune,
  Learner,
  type LearnOptions,
  type MemoryOptions,
} from '../lib/index.js'
import { remember, subsetsOf } from '../lib/learner/memory.js'
import type { Task } from '../lib/streams/stream.js'
import { temporaryFolder } from './support/folders.js'
import { bands, bandsData, bandsStream, collect, failure, tinyLearner } from './support/tiny.js'

/** Positions in `bands`, whose classes follow one another by fours. */
const dataset = bands('bands', 30)
const positions = (of: Dataset, classes: readonly number[]) =>
  Array.from(of.labels.keys()).filter((i) => classes.includes(of.labels[i] as number))
const ofClasses = (classes: readonly number[], count?: number) =>
  Int32Array.from(positions(dataset, classes).slice(0, count))
const tasks = [
  { number: 1, train: { dataset, indices: ofClasses([0, 1]) } },
  { number: 2, train: { dataset, indices: ofClasses([2]) } },
  { number: 3, train: { dataset, indices: ofClasses([3], 4) } },
]

async function learnAll(options: MemoryOptions, seed = 1): Promise<MemoryItem[][]> {
  const states: MemoryItem[][] = []
  for (const task of tasks) states.push(await remember(states.at(-1) ?? [], task, options, seed))
  return states
}

function countBy(items: readonly MemoryItem[], key: (item: MemoryItem) => number): Record<number, number> {
  const counts: Record<number, number> = {}
  for (const item of items) counts[key(item)] = (counts[key(item)] ?? 0) + 1
  return counts
}

const label = ({ dataset: { labels }, index }: MemoryItem) => labels[index] as number

describe('a memory', () => {
  it.each(['reservoir', 'class-balanced', 'task-balanced'] as const)(
    '%s holds as many as its size, each image once, and only such as were seen',
    async (policy) => {
      for (const size of [1, 7, 12, 60]) {
        for (const [i, items] of (await learnAll({ size, policy })).entries()) {
          expect(items).toHaveLength(size)
          expect(new Set(items.map(({ index }) => index)).size).toBe(size)
          const seen = new Set(tasks.slice(0, i + 1).flatMap(({ train }) => [...train.indices]))
          expect(items.every(({ index }) => seen.has(index))).toBe(true)
        }
      }
    },
  )

  it('keeps of what it held, and takes no image back', async () => {
    for (const policy of ['reservoir', 'class-balanced', 'task-balanced'] as const) {
      const [one, two] = (await learnAll({ size: 12, policy })) as [MemoryItem[], MemoryItem[]]
      for (const item of two) expect(item.task === 2 || one.includes(item)).toBe(true)
    }
  })

  it('class-balanced, has as many of each class as of any other, and all of a small one', async () => {
    const [one, two, three] = (await learnAll({ size: 24, policy: 'class-balanced' })).map((items) =>
      countBy(items, label),
    )
    expect(one).toEqual({ 0: 12, 1: 12 })
    expect(two).toEqual({ 0: 8, 1: 8, 2: 8 })
    // Four images are all that there are of the last class; the others share the rest.
    expect(three?.[3]).toBe(4)
    expect([0, 1, 2].map((c) => three?.[c]).sort()).toEqual([6, 7, 7])
  })

  it('task-balanced, has as many of each task as of any other', async () => {
    const task = (item: MemoryItem) => item.task
    const [one, two, three] = (await learnAll({ size: 24, policy: 'task-balanced' })).map((items) =>
      countBy(items, task),
    )
    expect([one, two, three]).toEqual([{ 1: 24 }, { 1: 12, 2: 12 }, { 1: 10, 2: 10, 3: 4 }])
  })

  it('as a reservoir, holds each image that was seen with equal probability', async () => {
    const runs = 600
    const size = 20
    const seen = tasks.flatMap(({ train }) => [...train.indices])
    const counts = new Map(seen.map((index) => [index, 0]))
    for (let seed = 0; seed < runs; seed++) {
      for (const { index } of (await learnAll({ size, policy: 'reservoir' }, seed))[2] ?? []) {
        counts.set(index, (counts.get(index) as number) + 1)
      }
    }
    // χ² with 93 degrees of freedom, a little less because the counts of a run are dependent: above 140 in one of 1000 cases.
    const expected = (runs * size) / seen.length
    const chiSquared = [...counts.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
    expect(seen).toHaveLength(94)
    expect(chiSquared).toBeLessThan(140)
  })

  it('is a function of its seed', async () => {
    const options = { size: 10, policy: 'reservoir' } as const
    expect(await learnAll(options, 5)).toEqual(await learnAll(options, 5))
    expect(await learnAll(options, 6)).not.toEqual(await learnAll(options, 5))
  })

  it('replaces what it kept of a task that is learned again', async () => {
    const [one] = (await learnAll({ size: 10, policy: 'reservoir' })) as [MemoryItem[]]
    const again = await remember(one, tasks[0]!, { size: 10, policy: 'reservoir' }, 1)
    expect(again).toEqual(one)
  })

  it('is cut where the data set changes, in its own order', () => {
    const other = bands('other', 1)
    const at = (of: typeof dataset, index: number) => ({ dataset: of, index, task: 1, priority: 0 })
    const subsets = subsetsOf([at(dataset, 5), at(dataset, 1), at(other, 0), at(dataset, 2)])
    expect(subsets.map((subset) => [subset.dataset.name, [...subset.indices]])).toEqual([
      ['bands', [5, 1]],
      ['other', [0]],
      ['bands', [2]],
    ])
  })
})

const stream = bandsStream()
const [first, second] = stream.tasks as [(typeof stream.tasks)[0], (typeof stream.tasks)[0]]
const quick: LearnOptions = { steps: 5, batchSize: 8, lr: 1e-3 }

describe('experience replay', () => {
  const method = experienceReplay({ size: 6, policy: 'class-balanced' })

  it('fills the learner’s memory when a task ends, and trains on it in the next', async () => {
    const learner = await tinyLearner()
    expect(learner.memory).toEqual([])
    await collect(learner.learn(first, method, quick))
    const classes = () =>
      learner.memory.flatMap(({ dataset: { labels }, indices }) => [...indices].map((i) => labels[i])).sort()
    const [a, b] = first.classes
    expect(classes()).toEqual([a, a, a, b, b, b].sort())
    const progress = await collect(learner.learn(second, method, quick))
    expect(progress.at(-1)?.terms).toHaveLength(2)
    expect(classes()).toHaveLength(6)
    expect(new Set(classes()).size).toBe(4)
  })

  it('trains on the learner’s own memory, where it is given no other', async () => {
    const replay = {
      ...method,
      objective: () => ({ terms: [{ source: { kind: 'memory' }, target: 'data', weight: 1 } as const] }),
    }
    const sampleAfter = async (memory: LearnOptions['memory']) => {
      const learner = await tinyLearner()
      await collect(learner.learn(first, method, quick))
      await collect(learner.learn(second, replay, { ...quick, ...(memory ? { memory } : {}) }))
      return (await learner.sample({ count: 2, sampler: { steps: 2 } })).data
    }
    const own = await sampleAfter(undefined)
    const learner = await tinyLearner()
    await collect(learner.learn(first, method, quick))
    expect(await sampleAfter(learner.memory)).toEqual(own)
    expect(await sampleAfter([second.train])).not.toEqual(own)
  })

  it('refuses a memory larger than the data before it trains', async () => {
    const learner = await tinyLearner()
    const images = first.train.indices.length
    const large = experienceReplay({ size: images + 1 })
    const error = await failure(collect(learner.learn(first, large, quick)))
    expect(error.code).toBe('ERR_INVALID_ARGUMENT')
    expect(error.message).toMatch(
      `keeps.memory.size is ${images + 1}; expected at most ${images}, the number of images of the tasks so far`,
    )
    expect(learner.stepsDone).toBe(0)
  })

  it('refuses a second task without a memory of the first', async () => {
    const learner = await tinyLearner()
    await collect(learner.learn(first, finetune(), quick))
    const error = await failure(collect(learner.learn(second, method, quick)))
    expect(error.message).toMatch(
      /draws from the memory, which is empty; learn an earlier task by a method that keeps one/,
    )
  })

  it.each(['reservoir', 'class-balanced'] as const)('saved and loaded, goes on to the bit: %s', async (policy) => {
    const folder = await temporaryFolder()
    const both = compose(experienceReplay({ size: 7, policy }), ewc({ samples: 3, strength: 10 }))
    // Read again, as a new process would: other objects with the same images.
    const fresh = [...bandsStreamOfThree()]
    const learner = await tinyLearner({ seed: 4 })
    const [one, two, three] = [...bandsStreamOfThree()] as [typeof first, typeof first, typeof first]
    await collect(learner.learn(one, both, quick))
    await learner.save(path.join(folder, 'one'))
    let loaded = await Learner.load(path.join(folder, 'one'), { device: 'cpu' })
    for (const [i, task] of [two, three].entries()) {
      await collect(learner.learn(task, both, quick))
      await collect(loaded.learn(fresh[i + 1] as typeof first, both, quick))
      await loaded.save(path.join(folder, `loaded-${i}`))
      await learner.save(path.join(folder, `whole-${i}`))
      for (const file of ['diffusion_pytorch_model', 'training', 'penalties', 'memory']) {
        const read = (name: string) => readFile(path.join(folder, `${name}-${i}`, `${file}.safetensors`))
        expect((await read('loaded')).equals(await read('whole')), file).toBe(true)
      }
      await loaded.dispose()
      loaded = await Learner.load(path.join(folder, `loaded-${i}`), { device: 'cpu' })
    }
    await loaded.dispose()
  })

  it.each<[string, (tensors: Map<string, StoredTensor>) => void, RegExp]>([
    ['no labels', (t) => t.delete('0.labels'), /tensor '0.labels' is missing; expected I32 of shape \[6\]/],
    [
      'a label that is none',
      (t) => t.set('0.labels', { dtype: 'I32', shape: [6], data: new Int32Array(6).fill(4) }),
      /a label 4; expected 0 … 3/,
    ],
    [
      'an item of no data set',
      (t) => t.set('items', { dtype: 'I32', shape: [6, 2], data: new Int32Array(12).fill(1) }),
      /item 0 is of data set 1/,
    ],
    [
      'too few items',
      (t) => {
        t.set('items', { dtype: 'I32', shape: [5, 2], data: new Int32Array(10) })
        t.set('priorities', { dtype: 'F64', shape: [5], data: new Float64Array(5) })
      },
      /data set 0 has 6 images, and 5 items/,
    ],
  ])('a saved memory with %s is refused', async (_, spoil, message) => {
    const folder = path.join(await temporaryFolder(), 'run')
    const learner = await tinyLearner()
    await collect(learner.learn(first, method, quick))
    await learner.save(folder)
    const file = path.join(folder, 'memory.safetensors')
    const tensors = new Map((await readSafetensors(file)).tensors)
    spoil(tensors)
    await writeSafetensors(file, tensors)
    const error = await failure(Learner.load(folder, { device: 'cpu' }))
    expect(error.code).toBe('ERR_BAD_CHECKPOINT')
    expect(error.message).toMatch(message)
  })
})

/** Three tasks with data of their own. */
function* bandsStreamOfThree(): Generator<Task> {
  const { train, test } = bandsData()
  const all: Task[] = []
  for (const [i, classes] of [[0, 1], [2], [3]].entries()) {
    const pick = (of: Dataset) => ({
      dataset: of,
      indices: Int32Array.from(positions(of, classes)),
    })
    const task = { number: i + 1, name: `${i + 1}`, classes, train: pick(train), test: pick(test), earlier: [...all] }
    all.push(task)
    yield task
  }
}
