import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  experienceReplay,
  fromArrays,
  fromDatasets,
  generativeDistillation,
  joint,
  Learner,
  type LearnOptions,
  nextTask,
  recommended,
  Solver,
  type Task,
  type TrainTest,
} from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { bands, failure, tensorsOf, tinyLearner, tinyUNet } from './support/tiny.js'

/** A data set that has some of the classes of bands, and knows of no others. */
function of(...labels: number[]): TrainTest {
  const part = (name: string, perClass: number) => {
    const all = bands(name, perClass)
    const own = [...all.labels.keys()].filter((i) => labels.includes(all.labels[i]!))
    return fromArrays({
      ...{ name, height: 8, width: 8, channels: 1, classes: labels.map((label) => all.classes[label]!) },
      images: Uint8Array.from(own.flatMap((i) => [...all.images.subarray(i * 64, (i + 1) * 64)])),
      labels: Int32Array.from(own, (i) => labels.indexOf(all.labels[i]!)),
    })
  }
  return { train: part('bands/train', 24), test: part('bands/test', 8) }
}
const [older, newer] = [of(0, 1), of(3, 2)]
const [first] = fromDatasets([older]).tasks as [Task]
const [, second] = fromDatasets([older, newer]).tasks as [Task, Task]
const options: LearnOptions = { steps: 6, batchSize: 8, lr: 1e-3 }
const distillation = generativeDistillation({ teacher: { steps: 2 } })

/** A learner that has learned the first task and comes from its folder, as in another process. */
async function loaded(
  change: (folder: string) => Promise<unknown> = async () => {},
  method = distillation,
): Promise<Learner> {
  const learner = await tinyLearner()
  await learner.train(first, method, options)
  const folder = await temporaryFolder()
  await learner.save(folder)
  await change(folder)
  const again = await Learner.load(folder, { device: 'cpu' })
  onTestFinished(() => again.dispose())
  return again
}

describe('the task after those that a loaded learner has learned', () => {
  it('has the next number, classes after those that were, and earlier tasks without images', async () => {
    const learner = await loaded()
    expect(learner.learned).toEqual({ names: ['first', 'second'], tasks: [{ number: 1, classes: [0, 1] }] })
    const task = nextTask(of(1, 3), learner)
    expect(task).toMatchObject({ number: 2, classes: [1, 2], name: 'bands' })
    expect(task.train.dataset.classes).toEqual(['first', 'second', 'fourth'])
    expect(new Set(task.train.dataset.labels)).toEqual(new Set([1, 2]))
    expect(task.earlier).toMatchObject([{ number: 1, classes: [0, 1], name: 'first, second' }])
    expect(task.earlier[0]!.train.indices).toHaveLength(0)
  })

  it('is learned to the bit as the same task of a stream that has all images', async () => {
    const [streamed, later] = [await loaded(), await loaded()]
    await streamed.train(second, distillation, options)
    await later.train(nextTask(newer, later), distillation, options)
    expect(later.learned).toEqual(streamed.learned)
    expect(later.tasksLearned).toBe(2)
    expect(await tensorsOf(later)).toEqual(await tensorsOf(streamed))
  })

  it('holds out images of its own for validation', async () => {
    const learner = await loaded()
    const seen: number[] = []
    const validation = { every: 3, fraction: 0.25 }
    const onValidation = ({ step }: { step: number }) => seen.push(step)
    await learner.train(nextTask(newer, learner), distillation, { ...options, validation, onValidation })
    expect(seen).toEqual([3, 6])
  })

  it('is refused by a method that learns from all images', async () => {
    const learner = await loaded()
    const error = await failure(learner.train(nextTask(newer, learner), joint(), options))
    expect(error.message).toMatch(/learns from the images of all tasks so far, and an earlier task has none/)
  })

  it('is learned with a memory that is larger than its images', async () => {
    const learner = await loaded(undefined, experienceReplay({ size: 48 }))
    await learner.train(nextTask(of(2), learner), experienceReplay({ size: 48 }), options)
    expect(
      new Set(
        learner.memory.flatMap(({ dataset, indices }) => [...indices].map((i) => dataset.classes[dataset.labels[i]!])),
      ),
    ).toEqual(new Set(['first', 'second', 'third']))
  })

  it('gives a table of classes its rows', async () => {
    const conditional = await tinyLearner({ unet: { ...tinyUNet, num_class_embeds: 1 } })
    const train = { ...options, labelDropout: 0.1, grow: true }
    await conditional.train(first, distillation, train)
    await conditional.train(nextTask(newer, conditional), distillation, train)
    expect(conditional.classesLearned).toEqual(['first', 'second', 'fourth', 'third'])
    expect(conditional.unet.num_class_embeds).toBe(5)
  })
})

describe('with a solver', () => {
  const teaching = { epochs: 25, batchSize: 16, lr: 3e-3 }

  it('the saved solver gets further classes, and remembers', async () => {
    const learner = await loaded()
    const solver = await Solver.create(fromDatasets([older]), { device: 'cpu', seed: 3 })
    onTestFinished(() => solver.dispose())
    await solver.learn(first, null, teaching)
    const folder = path.join(await temporaryFolder(), 'solver')
    await solver.save(folder)
    const again = await Solver.load(folder, { device: 'cpu' })
    onTestFinished(() => again.dispose())

    const task = nextTask(newer, learner)
    const method = recommended({ teacher: { steps: 2 } })
    const learning = { ...options, steps: 40, classifier: again }
    // In place of what this network draws after six steps: what the first task's images look like.
    const real = older.train
    const replay = { data: real.images, count: real.labels.length, height: 8, width: 8, channels: 1 }
    const row = await again.learn(task, learner, { ...teaching, replay })
    expect(again.classes).toEqual(['first', 'second', 'fourth', 'third'])
    expect(row[0]).toBeNull()
    expect(row[1]).toBeGreaterThan(0.9)
    expect(await again.accuracy(first.test)).toBeGreaterThan(0.9)

    const counts: unknown[] = []
    await learner.train(task, method, {
      ...learning,
      onPool: ({ classes }) => classes && counts.push(Object.keys(classes)),
    })
    expect(counts).toEqual([['first', 'second']])
    await again.save(folder)
    await using third = await Solver.load(folder, { device: 'cpu' })
    expect(third).toMatchObject({ classes: again.classes, accuracies: [[1], row], tasksLearned: 2 })
  })

  it('learns the labels that a class-conditional generator was asked for, beside a class that this does not know', async () => {
    const generator = await tinyLearner({ unet: { ...tinyUNet, num_class_embeds: 1 } })
    await generator.train(first, distillation, { ...options, labelDropout: 0.1, grow: true })
    const solver = await Solver.create(fromDatasets([older]), { device: 'cpu', seed: 3 })
    onTestFinished(() => solver.dispose())
    await solver.learn(first, null, { epochs: 1 })
    const task = nextTask(of(2), generator)
    const row = await solver.learn(task, generator, { epochs: 1, target: 'labels', sampler: { steps: 1 } })
    expect([row.length, solver.classes]).toEqual([2, ['first', 'second', 'third']])
  })

  it('an abort while the replayed images are looked at leaves the solver as it was', async () => {
    const learner = await loaded()
    const solver = await Solver.create(fromDatasets([older]), { device: 'cpu', seed: 3 })
    onTestFinished(() => solver.dispose())
    await solver.learn(first, null, { epochs: 1 })
    const abort = new AbortController()
    const replay = { data: new Uint8Array(64 * 4096), count: 4096, height: 8, width: 8, channels: 1 }
    const learning = solver.learn(nextTask(newer, learner), learner, { replay, signal: abort.signal })
    setImmediate(() => abort.abort('enough'))
    await expect(learning).rejects.toBe('enough')
    expect(solver.classes).toEqual(['first', 'second'])
    await solver.save(path.join(await temporaryFolder(), 'solver'))
  })

  it('an old classifier finds a class that it did not know the least likely', async () => {
    const learner = await loaded()
    const solver = await Solver.create(fromDatasets([of(0)]), { device: 'cpu', seed: 3 })
    onTestFinished(() => solver.dispose())
    await solver.learn(fromDatasets([of(0)]).tasks[0]!, null, teaching)
    const { train } = of(0)
    const replay = { data: train.images, count: train.labels.length, height: 8, width: 8, channels: 1 }
    const task = { ...fromDatasets([of(0), of(1)]).tasks[1]!, earlier: [] }
    await solver.learn(task, learner, { ...teaching, replay })
    expect(await solver.accuracy(fromDatasets([of(0), of(1)]).tasks[0]!.test)).toBe(1)
    expect(await solver.accuracy(task.test)).toBe(1)
  })
})

describe('where the classes are not known', () => {
  const forget = async (folder: string) => {
    const file = path.join(folder, 'learner.json')
    const { learned: _, ...rest } = JSON.parse(await readFile(file, 'utf8'))
    await writeFile(file, JSON.stringify(rest))
  }

  it('of a learner that an older version saved, the number is right, and what needs them is refused', async () => {
    const learner = await loaded(forget)
    const task = nextTask(newer, learner)
    expect(task).toMatchObject({ number: 2, earlier: [{ number: 1, classes: [], name: 'task 1' }] })
    const classifier = { classes: ['first', 'second'], classify: async () => ({ logits: new Float32Array() }) }
    const error = await failure(learner.train(task, recommended(), { ...options, classifier }))
    expect(error.message).toMatch(/the classes of task 1 aren't known/)
    expect((await failure(learner.train(task, joint(), options))).message).toMatch(/an earlier task has none/)
    await learner.train(task, distillation, options)
    // Those of the task after it are known in part.
    const third = await failure(learner.train(nextTask(of(0), learner), recommended(), { ...options, classifier }))
    expect(third.message).toMatch(/the classes of task 1 aren't known/)
  })

  it.each([
    [{ names: ['a'], tasks: [{ number: 1, classes: [1] }] }, /indices into names/],
    [{ names: ['a'], tasks: [], more: 1 }, /'more'/],
    [{ names: ['a', 'a'], tasks: [] }, /each name once/],
    [{ names: [], tasks: [2, 1].map((number) => ({ number, classes: [] })) }, /in the order of their numbers/],
  ])('a wrong record is an error: %j', (learned, message) => {
    expect(() => nextTask(newer, { tasksLearned: 1, learned: learned as never })).toThrow(message)
  })
})

it('a class that a data set lists, and has no images of, is no class of its task', async () => {
  const listed = (...labels: number[]) => {
    const { train, test } = of(...labels)
    const all = bands('bands', 1).classes
    const as = (part: typeof train) =>
      fromArrays({ ...part, classes: all, labels: part.labels.map((label) => labels[label]!) })
    return { train: as(train), test: as(test) }
  }
  const [one, two] = fromDatasets([listed(0, 1), listed(2, 3)]).tasks as [Task, Task]
  const learner = await tinyLearner()
  await learner.train(one, distillation, options)
  expect(learner.learned.tasks).toEqual([{ number: 1, classes: [0, 1] }])
  const found: unknown[] = []
  const classifier = {
    classes: one.train.dataset.classes,
    classify: async ({ count }: { count: number }) => ({ logits: new Float32Array(count * 4).fill(1) }),
  }
  const onPool = ({ classes }: { classes?: object }) => classes && found.push(Object.keys(classes))
  await learner.train(two, recommended({ teacher: { steps: 2 } }), { ...options, classifier, onPool })
  expect(found).toEqual([['first', 'second']])
})

it('training and test images of other classes are no data', () => {
  const wrong = { train: of(0, 1).train, test: of(1, 0).test }
  expect(() => fromDatasets([wrong])).toThrow(/the same classes, in the same order: join them by trainTest/)
})

it('an image of no class is an error, and not one of the first', () => {
  const { train, test } = of(2)
  const wrong = { train: { ...train, labels: train.labels.map(() => 5) }, test }
  expect(() => nextTask(wrong, { tasksLearned: 0, learned: { names: [], tasks: [] } })).toThrow(
    /image 0 has the label 5; expected/,
  )
})

it('another task with the number of the last is learned with a warning', async () => {
  const learner = await loaded()
  const warnings: string[] = []
  const note = (warning: Error) => warnings.push(warning.message)
  process.on('warning', note)
  onTestFinished(() => void process.off('warning', note))
  await learner.train(fromDatasets([newer]).tasks[0]!, distillation, options)
  await new Promise(setImmediate)
  expect(warnings).toEqual([
    expect.stringMatching(/task 1, of the classes first, second, and now learns it again, of fourth, third/),
  ])
})
