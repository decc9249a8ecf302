import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import {
  averageRatioDeviation,
  Classifier,
  classFrequencies,
  evaluate,
  fashionMnist,
  frechetArea,
  frechetDistance,
  fromDatasets,
  type ImageBatch,
  type Metric,
  precision,
  trainTest,
} from '../lib/index.js'
import { expectClose } from './support/golden.js'
import { bandsBatch, bandsData, bandsStream, failure, tinyLearner } from './support/tiny.js'

const data = bandsData()
let classifier: Classifier

beforeAll(async () => {
  classifier = await Classifier.train(data, { epochs: 40, batchSize: 32, seed: 1, device: 'cpu' })
})

afterAll(() => classifier.dispose())

describe('evaluate', () => {
  const stream = bandsStream()
  const task = stream.tasks[1] as (typeof stream.tasks)[0]

  it('gives every metric all test images seen so far, with labels, and the images that were asked for', async () => {
    const learner = await tinyLearner()
    const seen = { real: [] as ImageBatch[], generated: [] as ImageBatch[], labels: [] as number[] }
    const recorder: Metric = {
      name: 'recorder',
      title: 'recorder',
      start: () => ({
        async add(images, kind, labels) {
          seen[kind].push(images)
          seen.labels.push(...(labels ?? []))
        },
        finish: async () => ({ value: 7, real: 1, generated: 2 }),
      }),
    }
    const done: number[] = []
    const result = await evaluate(learner, stream.seen(task), [recorder], {
      count: 10,
      batchSize: 4,
      onProgress: ({ done: now, total }) => done.push(now / total),
    })
    const real = task.test.indices.length + (task.earlier[0]?.test.indices.length ?? 0)
    expect(result).toEqual({ real, generated: 10, values: { recorder: { value: 7, real: 1, generated: 2 } } })
    expect(done.at(-1)).toBe(1)
    const total = (batches: ImageBatch[]) => batches.reduce((sum, { count }) => sum + count, 0)
    expect(total(seen.real)).toBe(real)
    expect(seen.generated.map(({ count }) => count)).toEqual([4, 4, 2])
    // As many of each of the four classes, and the images are those of the data set.
    expect([0, 1, 2, 3].map((label) => seen.labels.filter((found) => found === label).length)).toEqual([8, 8, 8, 8])
    const first = stream.tasks[0]?.test.indices[0] as number
    expect(seen.real[0]?.data.slice(0, 64)).toEqual(data.test.images.slice(first * 64, (first + 1) * 64))
    // No two batches are generated from the same noise.
    expect(seen.generated[0]?.data).not.toEqual(seen.generated[1]?.data)
  })

  it('is a function of the seed', async () => {
    const learner = await tinyLearner()
    const run = (seed: number) =>
      evaluate(learner, stream.seen(task), [frechetDistance(classifier), classFrequencies(classifier)], {
        count: 20,
        seed,
      })
    const [a, b, c] = [await run(1), await run(1), await run(2)]
    expect(b).toEqual(a)
    expect(c.values.frechetDistance?.value).not.toBe(a.values.frechetDistance?.value)
    expect(a.values.classFrequencies).toMatchObject({ real: 32, generated: 20 })
  })

  it('the area of the Fréchet distance over numbers of sampler steps is that of its trapezoids', async () => {
    const learner = await tinyLearner()
    const seen = stream.seen(task)
    const options = { count: 70, batchSize: 32, seed: 3 }
    const done: number[] = []
    const onProgress = (progress: { done: number; total: number }) => done.push(progress.done / progress.total)
    const area = await frechetArea(learner, seen, classifier, { ...options, steps: [1, 2, 5], onProgress })
    const distances: number[] = []
    for (const steps of [1, 2, 5]) {
      const { values } = await evaluate(learner, seen, [frechetDistance(classifier)], {
        ...options,
        sampler: { steps },
      })
      distances.push(values.frechetDistance?.value as number)
    }
    const [one, two, five] = distances as [number, number, number]
    expect(area).toMatchObject({ real: 32, generated: 70, detail: { steps: [1, 2, 5], distances } })
    expect(area.value).toBeCloseTo((one + two) / 2 + (3 * (two + five)) / 2, 10)
    expect(done).toEqual([...done].sort((a, b) => a - b))
    expect(done.at(-1)).toBe(1)
    expect(area).not.toHaveProperty('interval')
    for (const wrong of [{ sampler: { kind: 'ddpm' } }, { bootstrap: 100 }]) {
      expect((await failure(frechetArea(learner, seen, classifier, wrong))).code).toBe('ERR_INVALID_ARGUMENT')
    }
    for (const steps of [[2], [5, 2], [2, 2], [0, 1]]) {
      expect((await failure(frechetArea(learner, seen, classifier, { steps }))).code).toBe('ERR_INVALID_ARGUMENT')
    }
  })

  it('can be aborted, and refuses two metrics of one name', async () => {
    const learner = await tinyLearner()
    const controller = new AbortController()
    const onProgress = () => controller.abort('enough')
    const metrics = [classFrequencies(classifier)]
    const { signal } = controller
    await expect(evaluate(learner, stream.seen(task), metrics, { onProgress, signal })).rejects.toBe('enough')
    const twice = await failure(evaluate(learner, stream.seen(task), [...metrics, ...metrics], { count: 1 }))
    expect(twice.message).toMatch(/two metrics are named 'classFrequencies'/)
  })

  it('refuses a classifier to which the labels mean other classes', async () => {
    const learner = await tinyLearner()
    const { train, test } = data
    const classes = [...train.classes].reverse()
    const turned = trainTest({ ...train, classes }, { ...test, classes })
    const other = await Classifier.train(turned, { device: 'cpu', epochs: 0.1 })
    const message = new RegExp(`class 0 is '${classes[0]}'; expected '${classes.at(-1)}', as in ${test.name}`)
    for (const [metrics, perTask] of [
      [[classFrequencies(other)], undefined],
      [[frechetDistance(other)], { classifier: other }],
    ] as const) {
      const evaluating = evaluate(learner, stream.seen(task), metrics, { count: 4, ...(perTask && { perTask }) })
      expect((await failure(evaluating)).message).toMatch(message)
    }
  })

  describe('of each task alone', () => {
    /** A learner that generates what it is told to, in place of the network. */
    async function generating(batches: readonly ImageBatch[]) {
      const learner = await tinyLearner()
      const left = [...batches]
      learner.sampleFor = async (_, { count }) => {
        const batch = left.shift()
        if (batch?.count !== count) throw new Error(`asked for ${count}, have ${batch?.count}`)
        return batch
      }
      return learner
    }

    const metrics = () => [frechetDistance(classifier), precision(classifier), averageRatioDeviation(classifier)]
    const minimum = 4

    /** Test images of some classes, by number in their class. */
    function ofClasses(classes: readonly number[], numbers: readonly number[]): ImageBatch {
      const bytes = numbers.flatMap((n) =>
        classes.flatMap((c) => [...bandsBatch(4 * n + c, 4 * n + c + 1).images.data]),
      )
      return { data: Uint8Array.from(bytes), count: bytes.length / 64, height: 8, width: 8, channels: 1 }
    }

    it('compares the task with the generated images that the classifier assigns to it', async () => {
      const both = ofClasses([0, 1, 2, 3], [0, 1, 2, 3])
      const more = ofClasses([0, 1], [4, 5, 6])
      const { labels } = await classifier.classify(both)
      expect(labels).toEqual(bandsBatch(0, 16).labels)
      const options = { count: 22, batchSize: 16, perTask: { classifier, minimum } }
      const found = await evaluate(await generating([both, more]), stream.seen(task), metrics(), options)
      expect(found.tasks?.map(({ task: number, real, generated }) => [number, real, generated])).toEqual([
        [1, 16, 14],
        [2, 16, 8],
      ])
      // The same as two evaluations by hand.
      for (const [i, generated] of [
        [ofClasses([0, 1], [0, 1, 2, 3]), more],
        [ofClasses([2, 3], [0, 1, 2, 3])],
      ].entries()) {
        for (const metric of metrics()) {
          const run = metric.start()
          const { indices } = (stream.tasks[i] as (typeof stream.tasks)[0]).test
          for (const index of indices) {
            const { images, labels } = bandsBatch(index, index + 1)
            await run.add(images, 'real', labels)
          }
          for (const batch of generated) await run.add(batch, 'generated')
          const { value, ...rest } = await run.finish()
          const alone = found.tasks?.[i]?.values[metric.name]
          // Convolutions round differently for one image than for several, and the distance is small.
          expectClose([alone?.value as number], [value], 1e-3)
          expect(alone).toMatchObject(rest)
        }
      }
      // What is found over all classes does not depend on it.
      const without = await evaluate(await generating([both, more]), stream.seen(task), metrics(), {
        count: 22,
        batchSize: 16,
      })
      expect(found).toEqual({ ...without, tasks: found.tasks })
    })

    it('has null and a reason where too few images fall on a task, and forgets images of classes not seen', async () => {
      const images = ofClasses([0, 1, 2], [0, 1, 2])
      const options = { count: 9, perTask: { classifier, minimum } }
      const { tasks } = await evaluate(await generating([images]), stream.seen(task), metrics(), options)
      expect(tasks?.map(({ generated }) => generated)).toEqual([6, 3])
      expect(tasks?.[0]?.values.ard?.value).toEqual(0)
      const note = expect.stringMatching(/too few images of this task: 16 real and 3 generated.* at least 4 of each/)
      const missing = { value: null, real: 16, generated: 3, note }
      expect(tasks?.[1]?.values).toEqual({ frechetDistance: missing, precision: missing, ard: missing })
      // After task 1, the classes of task 2 belong to nobody.
      const first = await evaluate(
        await generating([images]),
        stream.seen(task.earlier[0] as typeof task),
        metrics(),
        options,
      )
      expect(first.tasks?.map(({ generated }) => generated)).toEqual([6])
      // By default 50 of each are needed.
      const usual = await evaluate(await generating([images]), stream.seen(task), metrics(), {
        count: 9,
        perTask: { classifier },
      })
      expect(usual.tasks?.[0]?.values.ard?.note).toMatch(/at least 50/)
    })

    it('has null where tasks share classes, which says nothing about the task of an image', async () => {
      const domains = fromDatasets([data, data])
      const learner = await generating([ofClasses([0, 1, 2, 3], [0, 1, 2, 3])])
      const seen = domains.seen(domains.tasks[1] as typeof task)
      const { tasks } = await evaluate(learner, seen, metrics(), { count: 16, perTask: { classifier, minimum } })
      expect(tasks?.map(({ real, generated }) => [real, generated])).toEqual([
        [32, 0],
        [32, 0],
      ])
      expect(tasks?.[0]?.values.ard).toMatchObject({ value: null, note: expect.stringMatching(/also in task 2/) })
      expect(tasks?.[1]?.values.ard).toMatchObject({ value: null, note: expect.stringMatching(/also in task 1/) })
    })

    it('refuses a classifier of other classes', async () => {
      const other = await Classifier.train(await fashionMnist({ subset: true, size: 8 }), {
        epochs: 0.01,
        device: 'cpu',
      })
      onTestFinished(() => other.dispose())
      const learner = await tinyLearner()
      const perTask = { classifier: other }
      const failed = await failure(evaluate(learner, stream.seen(task), metrics(), { count: 4, perTask }))
      expect(failed.message).toMatch(/has 10 classes; expected the 4 of bands\/test/)
      const wrong = await failure(evaluate(learner, stream.seen(task), [], { count: 4, perTask: {} as never }))
      expect(wrong.message).toMatch(/perTask.classifier is missing; expected a Classifier/)
    })
  })
})
