import { execFile } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import sharp from 'sharp'
import { describe, expect, it, onTestFinished } from 'vitest'
import { resolveExperiment } from '../lib/experiment/config.js'
import { runExperiment } from '../lib/experiment/run.js'
import { Classifier, conditionalAccuracy, evaluate } from '../lib/index.js'
import { first, stream, taught } from './support/conditional.js'
import { ownCache, temporaryFolder } from './support/folders.js'
import { bandsData, failure, tinyLearner, tinyUNet } from './support/tiny.js'
import { tinyExperiment } from './support/tiny-experiment.js'

ownCache()

describe('conditional accuracy', () => {
  it('counts how often the classifier agrees with the class that was asked for', async () => {
    const classifier = await Classifier.train(bandsData(), { device: 'cpu', epochs: 20, seed: 1 })
    onTestFinished(() => classifier.dispose())
    const learner = await taught()
    const seen = stream.seen(first)
    const { values } = await evaluate(learner, seen, [conditionalAccuracy(classifier)], {
      count: 30,
      batchSize: 7,
      seed: 3,
    })
    const { value, detail, real, generated } = values.conditionalAccuracy
    // The same images again, by hand.
    const asked: number[] = []
    let right = 0
    for (let at = 0, part = 0; at < 30; at += 7, part++) {
      const labels = Int32Array.from({ length: Math.min(7, 30 - at) }, (_, i) => first.classes[(at + i) % 2]!)
      const use = { purpose: 'evaluation', part } as const
      const images = await learner.sampleFor(use, { count: labels.length, seed: 3, labels })
      const found = await classifier.classify(images)
      asked.push(...labels)
      right += labels.filter((label, i) => found.labels[i] === label).length
    }
    expect({ value, real, generated }).toEqual({ value: right / 30, real: 16, generated: 30 })
    expect(detail!.asked).toEqual([0, 1, 2, 3].map((label) => asked.filter((other) => other === label).length))
    const error = await failure(evaluate(await tinyLearner(), seen, [conditionalAccuracy(classifier)], { count: 4 }))
    expect(error.message).toMatch(/asked for no classes; expected a class-conditional learner/)
  })

  it('is part of an experiment, whose grids have a row for each class', async () => {
    const out = path.join(await temporaryFolder(), 'run')
    const { results } = await runExperiment({
      ...tinyExperiment,
      unet: { ...tinyUNet, num_class_embeds: 11 },
      train: { steps: 3, batchSize: 4, labelDropout: 0.1 },
      methods: ['generative-distillation'],
      stream: { kind: 'class-incremental', tasks: 5 },
      evaluation: { count: 30, metrics: ['conditionalAccuracy'], perTask: false, after: 'last' },
      out,
    })
    const last = results.runs[0]!.tasks.at(-1)!
    expect(last.metrics.conditionalAccuracy).toMatchObject({ generated: 30 })
    expect(last.metrics.conditionalAccuracy!.detail!.asked).toEqual(new Array(10).fill(3))
    const { width, height } = await sharp(path.join(out, last.samples)).metadata()
    expect(height! / width!).toBeCloseTo(5, 0) // ten rows of two

    const grid = path.join(out, 'grid.png')
    const cli = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
    const folder = path.join(out, last.learner!)
    await promisify(execFile)(process.execPath, [
      cli,
      'sample',
      folder,
      '--class',
      'Bag',
      'Coat',
      '-n',
      '8',
      '--guidance',
      '2',
      '-o',
      grid,
    ])
    const found = await sharp(grid).metadata()
    expect(found.width! / found.height!).toBeCloseTo(2, 0) // two rows of four
    expect(() => resolveExperiment({ ...tinyExperiment, evaluation: { metrics: ['conditionalAccuracy'] } })).toThrow(
      /the U-Net takes no labels/,
    )
  }, 120_000)
})
