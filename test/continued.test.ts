import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  experienceReplay,
  finetune,
  generativeDistillation,
  Learner,
  type LoadOptions,
  type StepLosses,
} from '../lib/index.js'
import { single } from '../lib/streams/index.js'
import { temporaryFolder } from './support/folders.js'
import { goldenPath } from './support/golden.js'
import { bands, failure, tensorsOf, tinyLearner } from './support/tiny.js'

const data = { train: bands('new/train', 6), test: bands('new/test', 2) }
const task = single(data).tasks[0]!
const method = generativeDistillation({ lambda: 1, teacher: { steps: 2 } })

/** A model folder as diffusers writes one. */
async function model(): Promise<string> {
  const folder = path.join(await temporaryFolder(), 'model')
  const learner = await tinyLearner({ seed: 5 })
  await learner.train(task, finetune(), { steps: 3, batchSize: 8 })
  await learner.save(folder)
  for (const name of ['learner.json', 'training.safetensors']) await rm(path.join(folder, name))
  return folder
}

async function load(folder: string, options: LoadOptions = {}): Promise<Learner> {
  const learner = await Learner.load(folder, { device: 'cpu', precision: 'fp32', ...options })
  onTestFinished(() => learner.dispose())
  return learner
}

async function train(learner: Learner, options: { steps?: number; resume?: boolean } = {}): Promise<StepLosses[]> {
  const all: StepLosses[] = []
  await learner.train(task, method, { steps: 4, batchSize: 8, ...options, onStep: (losses) => void all.push(losses) })
  return all
}

describe('a model from elsewhere that counts as having learned a task', () => {
  it('is the teacher of the first task here', async () => {
    const folder = await model()
    const [first, ...others] = await train(await load(folder, { learnedBefore: 1 }))
    // Before its first step the student is the teacher.
    expect(first!.terms).toEqual([expect.any(Number), 0])
    expect(first!.loss).toBeCloseTo(first!.terms[0]! / 2, 6)
    for (const { terms } of others) expect(terms[1]).toBeGreaterThan(0)
    const plain = await load(folder)
    expect(plain.learnedBefore).toBe(0)
    expect((await train(plain))[0]!.terms).toHaveLength(1)
  })

  it('weighs a task less, the more it has learned before', async () => {
    const learner = await load(await model(), { learnedBefore: 3 })
    for (const { loss, terms } of await train(learner)) expect(loss).toBeCloseTo(terms[0]! / 4 + (3 * terms[1]!) / 4, 6)
    expect(learner).toMatchObject({ tasksLearned: 1, learnedBefore: 3 })
  })

  it('goes on from a save in mid-task, to the bit', async () => {
    const folder = await model()
    const whole = await load(folder, { learnedBefore: 1 })
    await train(whole)
    const broken = await load(folder, { learnedBefore: 1 })
    for await (const { step } of broken.learn(task, method, { steps: 4, batchSize: 8 })) if (step >= 1) break
    const saved = path.join(await temporaryFolder(), 'saved')
    await broken.save(saved)
    expect(JSON.parse(await readFile(path.join(saved, 'learner.json'), 'utf8'))).toMatchObject({ learnedBefore: 1 })
    const resumed = await load(saved)
    expect(resumed).toMatchObject({ learnedBefore: 1, tasksLearned: 0, taskInProgress: { task: 1 } })
    await train(resumed, { resume: true })
    expect(await tensorsOf(resumed)).toEqual(await tensorsOf(whole))
    const error = await failure(load(saved, { learnedBefore: 1 }))
    expect(error).toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringMatching(/learnedBefore is given, but .* is a saved learner's/),
    })
  })

  it('draws by the seed, and its average begins with the weights', async () => {
    const folder = await model()
    const learner = await load(folder, { learnedBefore: 1, seed: 7, ema: 0.9, sampler: { steps: 3 } })
    expect(learner).toMatchObject({ seed: 7, sampler: { kind: 'ddim', steps: 3 } })
    const state = await tensorsOf(learner)
    const average = [...state].filter(([name]) => name.startsWith('diffusion_pytorch_model'))
    for (const kind of ['student', 'teacher']) {
      const own = average.map(([name]) => state.get(name.replace(/.*\//, `training.safetensors/${kind}.`)))
      expect(own).toEqual(average.map(([, values]) => values))
    }
    const [[one], [other]] = [await train(learner), await train(await load(folder, { learnedBefore: 1, seed: 8 }))]
    expect(one!.terms[0]).not.toBe(other!.terms[0])
    const wrong = load(folder, { sampler: { steps: 1001 } })
    expect((await failure(wrong)).message).toMatch(
      /^Learner.load: sampler: steps is 1001; expected at most the schedule's 1000/,
    )
  })

  it('has no real images of what it learned, and no names of classes', async () => {
    const learner = await load(await model(), { learnedBefore: 1 })
    const replay = learner.train(task, experienceReplay({ size: 4 }), { steps: 1, batchSize: 4 })
    expect((await failure(replay)).message).toMatch(/a term draws from the memory, which is empty/)
    const conditional = load(goldenPath('unets/class-labels'), { learnedBefore: 1, schedule: {} })
    expect((await failure(conditional)).message).toMatch(/learnedBefore is 1, but the network takes labels/)
  })
})
