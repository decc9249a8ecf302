import { stat } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { readLearnerFolder } from '../lib/checkpoint/learner-folder.js'
import { resolveExperiment } from '../lib/experiment/config.js'
import {
  classIncremental,
  finetune,
  type ImageBatch,
  Learner,
  type LearnOptions,
  type ReplayPool,
  recommended,
  type Task,
} from '../lib/index.js'
import { keepFirst } from '../lib/learner/kept-replay.js'
import { conditional } from './support/conditional.js'
import { temporaryFolder } from './support/folders.js'
import { bandsData, collect, failure, tensorsOf, tinyLearner } from './support/tiny.js'
import { tinyExperiment } from './support/tiny-experiment.js'

const shape = { height: 2, width: 1, channels: 1 }

/** Images whose two pixels are a pool's number and the image's own. */
function generated(pool: number, names: readonly string[], byClass: readonly (readonly number[])[]) {
  const images = Uint8Array.from({ length: 200 }, (_, i) => (i % 2 ? (i - 1) / 2 : pool))
  return { images, names, byClass, ...shape }
}

const pixels = (items: Awaited<ReturnType<typeof keepFirst>>) =>
  items.map(({ dataset, index, task }) => [
    dataset.classes[dataset.labels[index]!],
    ...dataset.images.subarray(2 * index, 2 * index + 2),
    task,
  ])

describe('what a pool keeps', () => {
  it('are the first images of each class, and of a class that was kept before those', async () => {
    const first = await keepFirst(
      [],
      generated(
        1,
        ['a', 'b'],
        [
          [4, 6, 9],
          [0, 1],
        ],
      ),
      2,
      5,
    )
    expect(pixels(first)).toEqual([
      ['a', 1, 4, 2],
      ['a', 1, 6, 2],
      ['b', 1, 0, 2],
      ['b', 1, 1, 2],
    ])
    const second = await keepFirst(first, generated(2, ['b', 'c', 'a'], [[], [7, 8], [3]]), 3, 5)
    expect(pixels(second)).toEqual([
      ['b', 1, 0, 2],
      ['c', 2, 7, 3],
      ['a', 1, 4, 2],
    ])
    // Learned again, or resumed, the task gets what it had: of the classes that it brought, what is generated then.
    expect(pixels(await keepFirst(second, generated(3, ['b', 'c', 'a'], [[], [5], [3]]), 3, 5))).toEqual([
      ['b', 1, 0, 2],
      ['c', 3, 5, 3],
      ['a', 1, 4, 2],
    ])
  })
})

const { tasks } = classIncremental(bandsData(), { tasks: 4 })
const [one, two, three] = tasks as [Task, Task, Task]
const names = one.train.dataset.classes
/** Tells classes by an image's first pixel. */
const classifier = {
  classes: names,
  classify: async ({ data, count }: ImageBatch) => {
    const logits = new Float32Array(count * names.length)
    for (let i = 0; i < count; i++) logits[i * names.length + one.classes[0]!] = data[i * 64]! / 128
    for (let i = 0; i < count; i++) logits[i * names.length + two.classes[0]!] = 1
    return { logits }
  },
}
const train: LearnOptions = { steps: 4, batchSize: 8, lr: 1e-3, classifier }
const method = (pool: Partial<ReplayPool> = {}) =>
  recommended({ teacher: { steps: 2 }, pool: { images: 40, classes: 'even', keep: true, ...pool } as ReplayPool })

async function taught(): Promise<Learner> {
  const learner = await tinyLearner()
  await collect(learner.learn(one, finetune(), train))
  await collect(learner.learn(two, method(), train))
  return learner
}

describe('a learner', () => {
  it('saves what it keeps, and goes on from it to the bit, in mid-task too', async () => {
    const learner = await taught()
    const folder = `${await temporaryFolder()}/learner`
    const pool = (await learner.replayPool(three, method(), train))!
    await learner.save(folder)
    const kept = await (await readLearnerFolder(folder)).readKept()
    expect(kept.map(({ task }) => task)).toEqual(Array(40).fill(2))
    await using loaded = await Learner.load(folder, { device: 'cpu' })

    await collect(learner.learn(three, method(), train))
    await learner.save(folder)
    const after = await (await readLearnerFolder(folder)).readKept()
    const of = (items: typeof kept, task: number) =>
      items.flatMap(({ dataset, index, task: t }) =>
        t === task ? [dataset.images.subarray(index * 64, (index + 1) * 64).join()] : [],
      )
    // Half of what the class had, and as many of the new class, which the teacher drew now.
    expect(of(after, 2)).toEqual(of(kept, 2).slice(0, 20))
    const drawn = new Set(Array.from({ length: 40 }, (_, i) => pool.data.subarray(i * 64, (i + 1) * 64).join()))
    expect(of(after, 3).length).toBeGreaterThan(0)
    for (const image of of(after, 3)) expect(drawn).toContain(image)

    for await (const { step } of loaded.learn(three, method(), train)) if (step >= 1) break
    await loaded.save(`${folder}-2`)
    await using resumed = await Learner.load(`${folder}-2`, { device: 'cpu' })
    await collect(resumed.learn(three, method(), { ...train, resume: true }))
    expect(await tensorsOf(resumed)).toEqual(await tensorsOf(learner))
    await collect(learner.learn(three, method({ keep: false }), train))
    expect(await tensorsOf(resumed)).not.toEqual(await tensorsOf(learner))
  })

  it('that keeps nothing has no file for it', async () => {
    const learner = await tinyLearner()
    const folder = `${await temporaryFolder()}/learner`
    await learner.save(folder)
    await expect(stat(`${folder}/kept.safetensors`)).rejects.toThrow(/ENOENT/)
  })
})

describe('wrong', () => {
  it('classes as they are generated', () => {
    expect(() => method({ classes: 'as-generated' })).toThrow(/expected classes: 'even' where keep is true/)
  })

  it('a network that takes labels', async () => {
    const learner = await conditional()
    await collect(learner.learn(one, finetune(), train))
    expect((await failure(collect(learner.learn(two, method(), train)))).message).toMatch(
      /the network takes labels.*expected a pool without keep/,
    )
  })

  it('experiments, before they begin', () => {
    const { methods: _, ...tiny } = tinyExperiment
    const entry = { name: 'recommended', pool: { reuse: 2, classes: 'even', keep: true } } as const
    const wrong = { ...tiny, unet: { ...tiny.unet, num_class_embeds: 5 }, methods: [entry] }
    expect(() => resolveExperiment({ ...tiny, methods: [entry] })).not.toThrow()
    expect(() => resolveExperiment(wrong)).toThrow(/pool.keep is true, and the network takes labels/)
  })

  it('fewer images than classes, before any is generated', async () => {
    const learner = await taught()
    const onPool = () => expect.unreachable()
    const error = await failure(collect(learner.learn(three, method({ images: 1 }), { ...train, onPool })))
    expect(error.message).toMatch(/has 1 images and is to keep some of each of 2 classes; expected at least 2 images/)
  })

  it('several pools', async () => {
    const learner = await taught()
    const { objective, ...rest } = method()
    const several = {
      ...rest,
      name: 'several',
      objective: (k: number) => {
        const { terms } = objective(k)
        const other = method({ images: 24 }).objective(k).terms[1]!
        return { terms: [...terms, other] }
      },
    }
    expect((await failure(collect(learner.learn(three, several, train)))).message).toMatch(/expected one/)
  })
})
