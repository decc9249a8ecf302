import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  compose,
  ewc,
  experienceReplay,
  finetune,
  generativeDistillation,
  joint,
  Learner,
  type LearnOptions,
  type Method,
  type StepLosses,
  synapticIntelligence,
} from '../lib/index.js'
import { devices, type TestDevice } from './support/devices.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { bandsStream, collect, failure, tinyLearner } from './support/tiny.js'

const stream = bandsStream()
const [first, second] = stream.tasks as [(typeof stream.tasks)[0], (typeof stream.tasks)[0]]
const options = { steps: 12, batchSize: 8, lr: 1e-3, horizontalFlip: true }

async function load(folder: string, device: TestDevice = 'cpu'): Promise<Learner> {
  const learner = await Learner.load(folder, { device })
  onTestFinished(() => learner.dispose())
  return learner
}

/** A learner's folder, byte for byte. */
async function bytesOf(learner: Learner): Promise<Map<string, string>> {
  const folder = path.join(await temporaryFolder(), 'saved')
  await learner.save(folder)
  const names = await readdir(folder)
  return new Map(
    await Promise.all(names.map(async (n) => [n, await readFile(path.join(folder, n), 'base64')] as const)),
  )
}

/** Leaves a learner after `step` of the task, by a break. */
async function leaveAt(learner: Learner, step: number, method: Method, more: LearnOptions = options): Promise<void> {
  for await (const progress of learner.learn(second, method, more)) if (progress.step >= step) break
}

describe('a task left in the middle, saved, loaded and resumed', () => {
  describe.each(devices)('on %s', (device) => {
    it.each<[string, Method, number]>([
      ['finetune with an EMA', finetune(), 0.9],
      ['generative distillation', generativeDistillation(), 0],
      ['synaptic intelligence, whose path goes on', synapticIntelligence(), 0],
      ['EWC and a memory', compose(ewc({ samples: 5 }), experienceReplay({ size: 10 })), 0],
      ['joint training', joint(), 0],
    ])('is the task as if never left: %s', async (_, method, ema) => {
      const told = { whole: [] as StepLosses[], parts: [] as StepLosses[] }
      const whole = await tinyLearner({ ema, seed: 7, device })
      const broken = await tinyLearner({ ema, seed: 7, device })
      for (const learner of [whole, broken]) await collect(learner.learn(first, method, options))
      await collect(whole.learn(second, method, { ...options, onStep: (losses) => told.whole.push(losses) }))

      const parts = { ...options, onStep: (losses: StepLosses) => told.parts.push(losses) }
      await leaveAt(broken, 1, method, parts)
      const { step } = broken.taskInProgress!
      expect(step).toBeLessThan(12)
      const folder = path.join(await temporaryFolder(), 'middle')
      await broken.save(folder)
      const resumed = await load(folder, device)
      expect(resumed.taskInProgress).toEqual({ task: 2, step, steps: 12 })
      expect(resumed.tasksLearned).toBe(1)
      const progress = await collect(resumed.learn(second, method, { ...parts, resume: true }))
      expect(progress.at(-1)).toMatchObject({ step: 12, steps: 12 })
      expect(resumed.taskInProgress).toBeUndefined()
      expect(told.whole.map(({ step }) => step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1))
      if (device === 'cpu') {
        expect(told.parts).toEqual(told.whole)
        expect(await bytesOf(resumed)).toEqual(await bytesOf(whole))
      } else {
        // CUDA's kernels add in no fixed order; steps of another task's draws or from other moments would be far off.
        const losses = (all: StepLosses[]) => all.map(({ loss }) => loss)
        expectClose(losses(told.parts), losses(told.whole), 1e-2)
      }
    })
  })

  it('is so after an abort in the middle of a call, whose steps were told', async () => {
    const many = { ...options, steps: 100 }
    const [whole, broken] = [await tinyLearner(), await tinyLearner()]
    await collect(whole.learn(first, finetune(), many))
    const told: number[] = []
    let learner = broken
    for (let cut = 1; learner.tasksLearned === 0; cut++) {
      const controller = new AbortController()
      const onStep = ({ step }: StepLosses) => told.push(step)
      const learning = learner.learn(first, finetune(), { ...many, resume: true, onStep, signal: controller.signal })
      try {
        for (let i = 0; !(await learning.next()).done; i++)
          if (i === 2 * cut) setTimeout(() => controller.abort('cut'), 5)
      } catch (error) {
        expect(error).toBe('cut')
        expect(told.length).toBe(learner.taskInProgress?.step)
        const folder = path.join(await temporaryFolder(), 'middle')
        await learner.save(folder)
        learner = await load(folder)
      }
    }
    expect(told).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))
    expect(await bytesOf(learner)).toEqual(await bytesOf(whole))
  })

  it('is so after an abort at its very end, where only what is kept was left to be done', async () => {
    const method = ewc({ samples: 300 })
    const [whole, broken] = [await tinyLearner(), await tinyLearner()]
    await collect(whole.learn(first, method, options))
    const controller = new AbortController()
    const onStep = ({ step }: StepLosses) => step === 12 && setTimeout(() => controller.abort('cut'), 20)
    const learning = collect(broken.learn(first, method, { ...options, onStep, signal: controller.signal }))
    await expect(learning).rejects.toBe('cut')
    expect(broken.taskInProgress).toEqual({ task: 1, step: 12, steps: 12 })
    const folder = path.join(await temporaryFolder(), 'middle')
    await broken.save(folder)
    const resumed = await load(folder)
    expect(await collect(resumed.learn(first, method, { ...options, resume: true }))).toEqual([])
    expect(resumed.tasksLearned).toBe(1)
    expect(await bytesOf(resumed)).toEqual(await bytesOf(whole))
  })

  it('is begun anew without resume, with a fresh optimiser', async () => {
    const learner = await tinyLearner()
    await collect(learner.learn(first, finetune(), options))
    await leaveAt(learner, 1, finetune())
    const progress = await collect(learner.learn(second, finetune(), { ...options, steps: 2 }))
    expect(progress.map(({ step }) => step)).toEqual([1, 2])
  })
})

describe('resume', () => {
  it.each<[string, RegExp, (learner: Learner) => AsyncGenerator<unknown>]>([
    [
      'other steps and another rate',
      /steps is 13; expected 12; lr is 0.002; expected 0.001/,
      (l) => l.learn(second, finetune(), { ...options, steps: 13, lr: 2e-3, resume: true }),
    ],
    [
      'another method',
      /method is 'generative-distillation'; expected 'finetune'/,
      (l) => l.learn(second, generativeDistillation(), { ...options, resume: true }),
    ],
    [
      'other images',
      /images is '[0-9a-f]+'\.\.\. .*; expected '/,
      (l) =>
        l.learn({ ...second, train: { ...second.train, indices: second.train.indices.subarray(1) } }, finetune(), {
          ...options,
          resume: true,
        }),
    ],
    [
      'other pixels',
      /images is '[0-9a-f]+'\.\.\. .*; expected '/,
      (l) => {
        const { dataset, indices } = second.train
        const images = dataset.images.map((value) => 255 - value)
        const train = { dataset: { ...dataset, images }, indices }
        return l.learn({ ...second, train }, finetune(), { ...options, resume: true })
      },
    ],
    [
      'another task',
      /the task in progress is task 2, at step \d+ of 12; expected that task/,
      (l) => l.learn(first, finetune(), { ...options, resume: true }),
    ],
  ])('is refused with %s, and the task stays in progress', async (_, message, learn) => {
    const learner = await tinyLearner()
    await collect(learner.learn(first, finetune(), options))
    await leaveAt(learner, 1, finetune())
    const before = learner.taskInProgress
    const error = await failure(collect(learn(learner)))
    expect(error.code).toBe('ERR_INVALID_ARGUMENT')
    expect(error.message).toMatch(message)
    expect(learner.taskInProgress).toEqual(before)
  })

  it('begins a task that was not begun, and refuses one that was learned to its end', async () => {
    const learner = await tinyLearner()
    expect(await collect(learner.learn(first, finetune(), { ...options, resume: true }))).not.toEqual([])
    const error = await failure(collect(learner.learn(first, finetune(), { ...options, resume: true })))
    expect(error.message).toMatch(/nothing to resume: task 1 is complete/)
  })
})

it('what is done to the arrays and the method of a task that has begun makes no difference', async () => {
  const method = () => ({
    ...experienceReplay({ size: 10 }),
    keeps: { memory: { size: 10, policy: 'reservoir' as const } },
  })
  const folders = await Promise.all(
    [false, true].map(async (changing) => {
      const learner = await tinyLearner()
      await collect(learner.learn(first, method(), options))
      const { dataset, indices } = second.train
      const given = { ...second, train: { dataset, indices: indices.slice() } }
      const changed = method()
      for await (const { step } of learner.learn(given, changed, options)) {
        if (!changing || step === 12) continue
        given.train.indices.fill(0)
        changed.keeps.memory.size = 1
        changed.objective = () => ({ terms: [] })
      }
      return bytesOf(learner)
    }),
  )
  expect(folders[1]).toEqual(folders[0])
})

it('a task that diverged is not in progress, and what was saved before it is', async () => {
  const learner = await tinyLearner()
  const folder = path.join(await temporaryFolder(), 'good')
  await collect(learner.learn(first, finetune(), options))
  await leaveAt(learner, 1, finetune())
  await learner.save(folder)
  const error = await failure(collect(learner.learn(second, finetune(), { ...options, steps: 50, lr: 1e30 })))
  expect(error.code).toBe('ERR_DIVERGED')
  expect(error.message).toMatch(/not finite at step \d+ of the learner, term 'task → data'/)
  expect(learner.taskInProgress).toBeUndefined()
  const good = await load(folder)
  const progress = await collect(good.learn(second, finetune(), { ...options, resume: true }))
  expect(progress.every(({ loss }) => Number.isFinite(loss))).toBe(true)
})
