import { readFile } from 'node:fs/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  experienceReplay,
  finetune,
  generativeDistillation,
  joint,
  Learner,
  type LearnOptions,
  type Progress,
  type Validation,
  type ValidationOptions,
} from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { bandsStream, collect, failure, tensorsOf, tinyLearner } from './support/tiny.js'

const stream = bandsStream()
const [first, second] = stream.tasks as [(typeof stream.tasks)[0], (typeof stream.tasks)[0]]
const options: LearnOptions = { steps: 10, batchSize: 4, lr: 1e-3 }

/** Trains and gives all validations. */
async function validated(learner: Learner, task: typeof first, validation: ValidationOptions, more = {}) {
  const all: Validation[] = []
  const onValidation = (one: Validation) => all.push(one)
  const settings = { ...options, validation, onValidation, ...more }
  const progress = await collect(learner.learn(task, finetune(), settings))
  return { all, progress }
}

/** A metric that goes through given numbers. */
function series(values: readonly number[]): () => number {
  let next = 0
  return () => values[next++]!
}

describe('validation', () => {
  it('is the denoising loss on held-out images every so many steps and after the last, and changes nothing', async () => {
    const images = first.test
    const [learner, left] = [await tinyLearner({ ema: 0.9 }), await tinyLearner({ ema: 0.9 })]
    const found = new Map<number, number>()
    const callback = async ({ step, validation }: Progress) => {
      const [own] = await learner.denoisingLoss(images, { bands: 1, samples: 2 })
      found.set(step, own!.loss)
      expect(validation?.step).toBe(step)
    }
    const { all } = await validated(learner, first, { every: 4, images, samples: 2 }, { callback, callbackEvery: 4 })
    expect(all.map(({ step }) => step)).toEqual([4, 8, 10])
    expect(new Map(all.map(({ step, value }) => [step, value]))).toEqual(found)
    let best = all[0]!
    for (const one of all) {
      if (one.value < best.value) best = one
      expect(one.best).toEqual({ step: best.step, value: best.value })
    }
    await left.train(first, finetune(), options)
    expect(await tensorsOf(learner)).toEqual(await tensorsOf(left))
  })

  it('holds out a part of each task, drawn by the seed, which is not trained on', async () => {
    const learner = await tinyLearner()
    const { indices } = first.train
    const heldOut = Math.round(0.3 * indices.length)
    // One epoch sees each image that is trained on once, and its memory keeps them.
    const method = experienceReplay({ size: indices.length - heldOut })
    await learner.train(first, method, { epochs: 1, batchSize: 8, validation: { every: 100, fraction: 0.3 } })
    expect(learner.stepsDone).toBe(Math.ceil((indices.length - heldOut) / 8))
    const kept = learner.memory.flatMap(({ indices }) => [...indices])
    expect(new Set(kept).size).toBe(indices.length - heldOut)
    const again = await tinyLearner()
    await again.train(first, method, { ...options, steps: 1, validation: { every: 100, fraction: 0.3 } })
    expect(again.memory).toEqual(learner.memory)
    const other = await tinyLearner({ seed: 2 })
    await other.train(first, method, { ...options, steps: 1, validation: { every: 100, fraction: 0.3 } })
    const others = other.memory.flatMap(({ indices }) => [...indices])
    expect(new Set(others)).not.toEqual(new Set(kept))
    // All tasks' images but those held out, where all are trained on.
    const whole = await tinyLearner()
    const rest = indices.length + second.train.indices.length - 2 * heldOut
    await whole.train(second, joint(), { epochs: 1, batchSize: 32, validation: { every: 100, fraction: 0.3 } })
    expect(whole.stepsDone).toBe(Math.ceil(rest / 32))
  })

  it('stops early after so many validations without a better value, and the task is then complete', async () => {
    const learner = await tinyLearner()
    const metric = series([5, 4, 3.9, 4.5, 3.85, 1])
    const callback = ({ step }: Progress) => void steps.push(step)
    const steps: number[] = []
    const validation = { every: 1, metric, patience: 3, minDelta: 0.2 }
    const { all, progress } = await validated(learner, first, validation, { callback, callbackEvery: 100 })
    expect(all.map(({ value, best }) => [value, best.step])).toEqual([
      [5, 1],
      [4, 2],
      [3.9, 2],
      [4.5, 2],
      [3.85, 2],
    ])
    expect(progress.at(-1)).toMatchObject({ step: 5, steps: 10 })
    expect(steps).toEqual([5])
    expect(learner.tasksLearned).toBe(1)
    await learner.train(second, generativeDistillation(), { ...options, steps: 2 })
  })

  it('ends with the best weights, their average and a teacher made of it, also when left, saved and resumed', async () => {
    const values = [3, 1, 2, 4]
    const at = async (steps: number) => {
      const learner = await tinyLearner({ ema: 0.5 })
      await learner.train(first, finetune(), { ...options, steps })
      return tensorsOf(learner)
    }
    const validation = { every: 3, keepBest: true }
    const whole = await tinyLearner({ ema: 0.5 })
    await validated(whole, first, { ...validation, metric: series(values) })
    const [kept, atBest, last] = [await tensorsOf(whole), await at(6), await at(10)]
    for (const [name, value] of kept) {
      const isWeight = /^diffusion|\/student|\/teacher/.test(name)
      expect(value, name).toEqual((isWeight ? atBest : last).get(name))
    }
    expect(kept.size).toBe(last.size)

    const left = await tinyLearner({ ema: 0.5 })
    const metric = series(values)
    const settings = { ...options, validation: { ...validation, metric } }
    for await (const { step } of left.learn(first, finetune(), settings)) if (step >= 6) break
    const folder = await temporaryFolder()
    await left.save(folder)
    const loaded = await Learner.load(folder, { device: 'cpu' })
    onTestFinished(() => loaded.dispose())
    await loaded.train(first, finetune(), { ...settings, resume: true })
    expect(await tensorsOf(loaded)).toEqual(kept)
    const record = JSON.parse(await readFile(`${folder}/learner.json`, 'utf8'))
    expect(record.taskInProgress.validation).toEqual({ step: 6, value: 1, best: { step: 6, value: 1 }, waited: 0 })
  })

  it('is refused where it makes no sense', async () => {
    const learner = await tinyLearner()
    const message = async (validation: unknown) =>
      (await failure(validated(learner, first, validation as ValidationOptions))).message
    expect(await message({ every: 3 })).toContain('exactly one of fraction, images and metric')
    expect(await message({ every: 3, fraction: 0.5, metric: () => 1 })).toContain('exactly one of')
    expect(await message({ every: 3, fraction: 0.999 })).toContain('leaves none to train on')
    expect(await message({ every: 3, images: [] })).toContain('there are no images')
    expect(await message({ every: 0, fraction: 0.5 })).toContain('every')
    expect(await message({ every: 3, metric: () => Number.NaN })).toContain('metric gave NaN; expected a finite number')
    const inProgress = learner.taskInProgress
    expect(inProgress).toEqual({ task: 1, step: 3, steps: 10 })
  })
})
