import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { realDistance, spreadOver } from '../lib/evaluation/real-distance.js'
import { Kept } from '../lib/evaluation/real-images.js'
import {
  Classifier,
  classFrequencies,
  evaluate,
  type FeatureExtractor,
  frechetArea,
  frechetDistance,
  type ImageBatch,
  kernelDistance,
  Learner,
  type Metric,
  precision,
  recall,
} from '../lib/index.js'
import { bandsData, bandsStream, failure, tinyLearner, tinyUNet } from './support/tiny.js'

let classifier: Classifier
let learner: Learner

beforeAll(async () => {
  classifier = await Classifier.train(bandsData(), { epochs: 2, seed: 1, device: 'cpu' })
  learner = await Learner.create({ unet: tinyUNet, device: 'cpu', precision: 'fp32', seed: 1 })
})

afterAll(async () => {
  await learner.dispose()
  await classifier.dispose()
})

/** An extractor of the user's own, that remembers nothing, and says what it was asked. */
function asked(): FeatureExtractor & { readonly batches: ImageBatch[] } {
  const batches: ImageBatch[] = []
  return {
    name: 'asked',
    dimension: classifier.dimension,
    features: async (images) => {
      batches.push(images)
      return (await classifier.classify(images)).features
    },
    batches,
  }
}

/** The metric as somebody else would write it: real images come in batches, and nothing is kept. */
function plain(metric: Metric): Metric {
  return {
    ...metric,
    start: () => {
      const run = metric.start()
      return { add: (images, kind, labels) => run.add(images, kind, labels), finish: (signal) => run.finish(signal) }
    },
  }
}

const allMetrics = (extractor: FeatureExtractor) => [
  frechetDistance(extractor),
  kernelDistance(extractor),
  precision(extractor, { k: 1 }),
  recall(extractor, { k: 1 }),
  classFrequencies(classifier),
]

const stream = bandsStream()
const [first, second] = stream.tasks as [(typeof stream.tasks)[0], (typeof stream.tasks)[0]]
const options = { count: 12, batchSize: 5, sampler: { steps: 2 } }
it('a metric that takes more images than there will be is refused before any is drawn', async () => {
  const extractor = asked()
  for (const [metric, message] of [
    [precision(extractor, { k: 16 }), /16 real images; expected at least 17/],
    [recall(extractor, { k: 12 }), /12 generated images; expected at least 13/],
  ] as const) {
    const error = await failure(evaluate(learner, stream.seen(first), [metric], options))
    expect([error.code, error.message]).toEqual(['ERR_INVALID_ARGUMENT', expect.stringMatching(message)])
  }
  expect(extractor.batches).toEqual([])
})

/** Batches of 5 of each task's 16 test images. */
const batchesOfTask = 4

async function evaluated(extractor: FeatureExtractor, task = second, change: object = {}) {
  return evaluate(learner, stream.seen(task), allMetrics(extractor), { ...options, ...change })
}

describe('features of real images', () => {
  it('are computed once for an extractor, whatever the metrics, tasks, seeds and learners', async () => {
    const extractor = asked()
    const generated = Math.ceil(options.count / options.batchSize)
    await evaluated(extractor, first)
    expect(extractor.batches).toHaveLength(batchesOfTask + generated)
    await evaluated(extractor, second)
    expect(extractor.batches).toHaveLength(2 * (batchesOfTask + generated))
    await evaluated(extractor, second, { seed: 7 })
    expect(extractor.batches).toHaveLength(2 * batchesOfTask + 3 * generated)
    const other = await tinyLearner({ seed: 2 })
    // The data sets are the same ones, and so are the tasks' images.
    await evaluate(other, stream.seen(second), allMetrics(extractor), options)
    expect(extractor.batches).toHaveLength(2 * batchesOfTask + 4 * generated)
    await frechetArea(learner, stream.seen(second), extractor, { count: 10, batchSize: 5, steps: [1, 2, 3] })
    expect(extractor.batches).toHaveLength(2 * batchesOfTask + 4 * generated + 3 * 2)
  })

  it('are computed again for another extractor, other batches and other images', async () => {
    const extractor = asked()
    const generated = 1
    const change = { count: 5 }
    await evaluated(extractor, first, change)
    await evaluated(extractor, first, { ...change, batchSize: 8 })
    expect(extractor.batches).toHaveLength(batchesOfTask + 2 + 2 * generated)
    const renewed = { ...first.test.dataset }
    const seen = { ...stream.seen(first), test: [{ ...first.test, dataset: renewed }] }
    await evaluate(learner, seen, allMetrics(extractor), { ...options, ...change })
    expect(extractor.batches).toHaveLength(2 * batchesOfTask + 2 + 3 * generated)
    const another = asked()
    await evaluated(another, first, change)
    expect(another.batches).toHaveLength(batchesOfTask + generated)
  })

  it('give the same values to the bit, kept or not, on all tasks and on each alone', async () => {
    const extractor = asked()
    const perTask = { classifier, minimum: 1 }
    const expected = await evaluate(learner, stream.seen(second), allMetrics(asked()).map(plain), {
      ...options,
      perTask,
    })
    expect(await evaluated(extractor, second, { perTask })).toEqual(expected)
    expect(await evaluated(extractor, second, { perTask })).toEqual(expected)
    expect(Object.keys(expected.values)).toHaveLength(5)
  })

  it('that an extractor changes after it gave them are kept as they were', async () => {
    const buffers: Float32Array[] = []
    const careless: FeatureExtractor = {
      name: 'careless',
      dimension: classifier.dimension,
      features: async (images) => {
        const { features } = await classifier.classify(images)
        buffers.push(features)
        return features
      },
    }
    const expected = await evaluated(asked())
    expect(await evaluated(careless)).toMatchObject({ values: { kernelDistance: expected.values.kernelDistance } })
    for (const buffer of buffers) buffer.fill(Number.NaN)
    expect((await evaluated(careless)).values).toMatchObject({ kernelDistance: expected.values.kernelDistance })
  })

  it('are not kept of an evaluation that was aborted or failed among them', async () => {
    const controller = new AbortController()
    const extractor = asked()
    const onProgress = ({ done }: { done: number }) => done >= 10 && controller.abort('enough')
    await expect(evaluated(extractor, second, { signal: controller.signal, onProgress })).rejects.toBe('enough')
    expect(extractor.batches).toHaveLength(2)
    const failing: FeatureExtractor = { ...extractor, features: async () => Float32Array.of(1) }
    expect((await failure(evaluated(failing))).message).toMatch(/^asked: 1 numbers for 5 images/)
    expect(await evaluated(extractor)).toEqual(await evaluated(asked()))
  })

  it('are told as progress while they are computed', async () => {
    const done: number[] = []
    const onProgress = (progress: { done: number; total: number }) => done.push(progress.done)
    const extractor = asked()
    await evaluated(extractor, second, { onProgress })
    expect(done).toEqual([5, 10, 15, 16, 21, 26, 31, 32, 37, 42, 44])
    done.length = 0
    await evaluate(learner, stream.seen(second), [frechetDistance(extractor)], { ...options, onProgress })
    expect(done).toEqual([32, 37, 42, 44])
  })
})

it.each([
  ['ours', (metric: Metric) => metric],
  ["the user's", plain],
])('what a metric or an extractor of the user writes into its images, other metrics, %s, do not see', async (_, as) => {
  const scribble = ({ data }: ImageBatch, labels?: Int32Array) => {
    data.fill(7)
    labels?.fill(0)
  }
  const scribbler: Metric = {
    name: 'scribbler',
    title: 'Scribbler',
    start: () => ({
      add: async (images, _, labels) => scribble(images, labels),
      finish: async () => ({ value: 0, real: 1, generated: 1 }),
    }),
  }
  const writing: FeatureExtractor = {
    name: 'writing',
    dimension: 1,
    features: async (images) => {
      scribble(images)
      return Float32Array.from({ length: images.count }, (_, i) => i)
    },
  }
  const perTask = { classifier, minimum: 1 }
  const measured = async (before: Metric[]) => {
    const metrics = [...before, ...allMetrics(asked()).map(as)]
    const { values, tasks } = await evaluate(learner, stream.seen(second), metrics, { ...options, perTask })
    const named = (of: object) => Object.entries(of).filter(([name]) => !before.some((metric) => metric.name === name))
    return [named(values), tasks?.map((task) => named(task.values))]
  }
  expect(await measured([scribbler, frechetDistance(writing, { name: 'mine' })])).toEqual(await measured([]))
})

it('what is kept is bounded: what was not used for the longest time goes first', () => {
  const kept = new Kept(10)
  kept.set('a', 1, 4)
  kept.set('b', 2, 4)
  expect(kept.get('a')).toBe(1)
  kept.set('c', 3, 4)
  expect([kept.get('a'), kept.get('b'), kept.get('c')]).toEqual([1, undefined, 3])
  kept.set('c', 4, 6)
  expect([kept.get('a'), kept.get('c')]).toEqual([1, 4])
  kept.set('d', 5, 11)
  expect(['a', 'b', 'c', 'd'].map((key) => kept.get(key))).toEqual([1, undefined, 4, undefined])
  kept.set('e', 6, 10)
  expect(kept.get('e')).toBe(6)
})

describe('the distance of real training images to test images', () => {
  const { train, test } = bandsData()
  const options = { count: 20, batchSize: 8, signal: undefined }
  const all = (dataset: typeof train) => ({ dataset, indices: Int32Array.from(dataset.labels.keys()) })

  it('is 0 for the same images, and what the metric has for others', async () => {
    const same = { train: [all(test)], test: [all(test)] }
    const count = test.labels.length
    expect(await realDistance(learner.images, same, classifier, { ...options, count })).toBeCloseTo(0, 4)
    expect(await realDistance(learner.images, same, classifier, { ...options, count: count + 1 })).toBeUndefined()
    const found = await realDistance(learner.images, { train: [all(train)], test: [all(test)] }, classifier, options)
    const run = frechetDistance(classifier).start()
    for (const [kind, dataset, indices] of [
      ['real', test, all(test).indices],
      ['generated', train, spreadOver([all(train)], 20)[0]!.indices],
    ] as const) {
      const data = new Uint8Array([...indices].flatMap((i) => [...dataset.images.subarray(i * 64, (i + 1) * 64)]))
      await run.add({ data, count: indices.length, height: 8, width: 8, channels: 1 }, kind)
    }
    expect(found! / (await run.finish()).value).toBeCloseTo(1, 3)
  })

  it('takes images of all tasks, evenly', () => {
    const { dataset } = all(train)
    const tasks = [10, 30].map((length) => ({ dataset, indices: Int32Array.from({ length }, (_, i) => i) }))
    expect(spreadOver(tasks, 8).map(({ indices }) => [...indices])).toEqual([
      [0, 5],
      [0, 5, 10, 15, 20, 25],
    ])
    expect(spreadOver(tasks, 100).map(({ indices }) => indices.length)).toEqual([10, 30])
  })
})
