import { readFile } from 'node:fs/promises'
import { beforeAll, describe, expect, it } from 'vitest'
import { resolveExperiment } from '../lib/experiment/config.js'
import { forgettingTable, runExperiment, tablesByClass } from '../lib/experiment/index.js'
import {
  Classifier,
  conditionalAccuracy,
  evaluate,
  type FeatureExtractor,
  finetune,
  frechetDistancePerClass,
  type ImageBatch,
  Learner,
  type Stream,
  single,
  taskMatrix,
  trainTest,
} from '../lib/index.js'
import { ownCache, temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { bandsData, bandsStream, collect, failure, tinyLearner, tinyUNet } from './support/tiny.js'
import { tinyExperiment } from './support/tiny-experiment.js'

ownCache()

describe('the Fréchet distance per class', () => {
  /** The only feature of an image is its only byte. */
  const bytes: FeatureExtractor = { name: 'bytes', dimension: 1, features: async ({ data }) => Float32Array.from(data) }

  function images(values: readonly number[]): ImageBatch {
    return { data: Uint8Array.from(values), count: values.length, height: 1, width: 1, channels: 1 }
  }

  async function measured(
    real: readonly [number, number][],
    generated: readonly [number, number][],
    extractor = bytes,
  ) {
    const run = frechetDistancePerClass(extractor).start()
    for (const [kind, pairs] of Object.entries({ real, generated })) {
      // In two batches, in which classes are mixed.
      for (const part of [pairs.slice(0, 3), pairs.slice(3)]) {
        const labels = Int32Array.from(part, ([label]) => label)
        await run.add(images(part.map(([, value]) => value)), kind as 'real', labels)
      }
    }
    return run.finish()
  }

  /** Between two normal distributions of one dimension: (μ − ν)² + (σ − τ)². */
  function distance(a: readonly number[], b: readonly number[]): number {
    const [one, other] = [a, b].map((values) => {
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length
      const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
      return { mean, deviation: Math.sqrt(squares / (values.length - 1)) }
    }) as [{ mean: number; deviation: number }, { mean: number; deviation: number }]
    return (one.mean - other.mean) ** 2 + (one.deviation - other.deviation) ** 2
  }

  const real = [[0, 10], [2, 100], [0, 14], [2, 120], [0, 30], [2, 90], [3, 7], [3, 9]] as [number, number][] // biome-ignore format: pairs
  const generated = [[2, 80], [0, 12], [0, 60], [2, 81], [2, 200]] as [number, number][] // biome-ignore format: pairs
  const ofClass = (pairs: readonly [number, number][], label: number) =>
    pairs.filter(([l]) => l === label).map(([, value]) => value)
  const each = [0, 2].map((label) => distance(ofClass(real, label), ofClass(generated, label)))

  it('is the mean over the classes asked for, with the distance and the counts of each', async () => {
    const found = await measured(real, generated)
    expectClose([found.value], [(each[0]! + each[1]!) / 2], 1e-6)
    expect(found).toMatchObject({ real: 8, generated: 5, detail: { real: [3, 0, 3, 2], asked: [2, 0, 3, 0] } })
    const { classes } = found.detail as { classes: readonly number[] }
    expectClose([classes[0]!, classes[2]!], each, 1e-6)
    expect([classes[1], classes[3]]).toEqual([Number.NaN, Number.NaN])
    expect(found.note).toBe('the mean is over 2 of 3 classes: the others have no real images, or were not asked for')
  })

  it('says where a class has no more images than there are features', async () => {
    const two: FeatureExtractor = {
      ...bytes,
      dimension: 2,
      features: async ({ data }) => Float32Array.from([...data].flatMap((value) => [value, value ** 2 / 255])),
    }
    const { note } = await measured(real.slice(0, 6), generated, two)
    expect(note).toBe('rank-deficient covariance: as few as 3 real and 2 generated images of a class for 2 features')
  })

  it('is called FID only with Inception-v3', () => {
    expect(frechetDistancePerClass(bytes)).toMatchObject({
      name: 'frechetDistancePerClass',
      title: 'Fréchet distance per class (bytes, 1 features)',
    })
    const inception = { ...bytes, dimension: 2048, inceptionV3: true }
    expect(frechetDistancePerClass(inception)).toMatchObject({ name: 'fidPerClass', title: /^FID per class/ })
  })

  it('refuses a class with one image, images without labels, and classes that have nothing to compare', async () => {
    await expect(measured(real, generated.slice(0, 2))).rejects.toThrow(/class 0 has 3 real and 1 generated images/)
    await expect(measured(real.slice(0, 1), generated)).rejects.toThrow(/class 0 has 1 real/)
    await expect(measured(real, [[7, 1], [7, 2]])).rejects.toThrow(/no class that was asked for has real images/) // biome-ignore format: pairs
    const run = frechetDistancePerClass(bytes).start()
    await expect(run.add(images([1]), 'real')).rejects.toThrow(/no labels for 1 real images/)
    await expect(run.add(images([1]), 'generated')).rejects.toThrow(
      /asked for no classes; expected a class-conditional/,
    )
  })
})

describe('of each task alone', () => {
  const stream = bandsStream()
  const [first, second] = stream.tasks as [Stream['tasks'][number], Stream['tasks'][number]]
  let classifier: Classifier
  let learner: Learner

  beforeAll(async () => {
    classifier = await Classifier.train(bandsData(), { device: 'cpu', epochs: 20, seed: 1 })
    learner = await Learner.create({
      unet: { ...tinyUNet, num_class_embeds: 4 },
      device: 'cpu',
      precision: 'fp32',
      seed: 1,
    })
    for (const task of [first, second]) await collect(learner.learn(task, finetune(), { steps: 4, batchSize: 8 }))
    return async () => {
      await classifier.dispose()
      await learner.dispose()
    }
  })

  const metrics = () => [conditionalAccuracy(classifier), frechetDistancePerClass(classifier)]

  it('an image counts for the task of the class that it was asked for as, whatever the classifier sees', async () => {
    const options = { count: 42, batchSize: 16, seed: 5, perTask: { classifier, minimum: 4 } }
    const { values, tasks } = await evaluate(learner, stream.seen(second), metrics(), options)
    // 42 in turn: 11 of the first two classes, 10 of the others.
    expect(tasks!.map(({ real, generated }) => [real, generated])).toEqual(
      [first, second].map(({ classes }) => [16, classes.reduce((sum, label) => sum + (label < 2 ? 11 : 10), 0)]),
    )
    const mean = (detail: readonly number[], labels: readonly number[], weights: readonly number[]) =>
      labels.reduce((sum, label) => sum + detail[label]! * weights[label]!, 0) /
      labels.reduce((sum, label) => sum + weights[label]!, 0)
    for (const [i, { classes }] of [first, second].entries()) {
      const alone = tasks![i]!.values
      const [accuracy, distance] = [values.conditionalAccuracy!.detail!, values.frechetDistancePerClass!.detail!]
      expectClose([alone.conditionalAccuracy!.value!], [mean(accuracy.classes!, classes, accuracy.asked!)], 1e-6)
      expectClose([alone.frechetDistancePerClass!.value!], [mean(distance.classes!, classes, [1, 1, 1, 1])], 1e-3)
    }
    const evaluations = [
      { ...(await evaluate(learner, stream.seen(first), metrics(), options)) },
      { real: 0, generated: 0, values, tasks: tasks! },
    ]
    expect(taskMatrix(evaluations, 'frechetDistancePerClass').flat().every(Number.isFinite)).toBe(true)
  })

  it('too few images are refused before any is generated', async () => {
    const seen = stream.seen(second)
    const sampled = failure(evaluate(await tinyLearner(), seen, metrics().slice(1), { count: 8 }))
    expect((await sampled).message).toMatch(/asked for no classes; expected a class-conditional learner/)
    const few = await failure(evaluate(learner, seen, metrics(), { count: 7 }))
    expect(few.message).toMatch(/the class fourth has 8 real and 1 generated images; expected at least 2/)
    const { train, test } = bandsData()
    const classes = [...train.classes].reverse()
    const turnedRound = single(trainTest({ ...train, classes }, { ...test, classes }))
    const turned = await failure(evaluate(learner, turnedRound.seen(turnedRound.tasks[0]!), metrics().slice(1)))
    expect(turned.message).toMatch(/^evaluate: the learner: class 0 is 'first'; expected 'fourth', as in bands/)
  })
})

it('experiments have both after each task, by class and as forgetting, with the counts', async () => {
  const out = `${await temporaryFolder()}/run`
  const config = {
    ...tinyExperiment,
    unet: { ...tinyUNet, num_class_embeds: 10 },
    methods: ['generative-distillation' as const],
    stream: { kind: 'class-incremental' as const, tasks: 2 },
    evaluation: {
      count: 40,
      metrics: ['conditionalAccuracy' as const, 'frechetDistancePerClass' as const],
      perTaskMinimum: 4,
    },
  }
  const { results, page } = await runExperiment({ ...config, out })
  const tasks = results.runs[0]!.tasks
  expect(tasks.map(({ alone }) => alone!.map(({ real, generated }) => [real, generated]))).toEqual([
    [[500, 40]],
    [
      [500, 20],
      [500, 20],
    ],
  ])
  const last = tasks[1]!
  for (const values of [last.metrics, ...last.alone!.map((alone) => alone.values)]) {
    expect(Object.values(values).every(({ value }) => Number.isFinite(value))).toBe(true)
  }
  expect(forgettingTable(results)).toMatch(/500 \/ 20 real \/ generated images of a task/)
  const byClass = tablesByClass(results, 'markdown').split('\n\n')
  expect(byClass.filter((part) => part.startsWith('|')).map((part) => part.split('\n').length)).toEqual([12, 12])
  expect(byClass.at(-1)).toMatch(/\| Ankle boot \| .* \| 100 \/ 4 \|$/)
  const html = await readFile(page, 'utf8')
  expect(html).toMatch(/Class by class after task 2.*Ankle boot<\/th>/s)
  expect(html).toMatch(/Images of a task after the last one, real \/ generated: 500 \/ 20\./)

  const refused = (change: object) => () => resolveExperiment({ ...config, ...change })
  expect(refused({ unet: tinyUNet })).toThrow(/expected no conditionalAccuracy: the U-Net takes no labels/)
  const few = failure(runExperiment({ ...config, evaluation: { ...config.evaluation, count: 19 }, out: `${out}-few` }))
  expect((await few).message).toMatch(/frechetDistancePerClass: after task 2 .* has 100 real and 1 generated images/)
}, 120_000)
