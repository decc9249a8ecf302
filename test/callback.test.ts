import { describe, expect, it } from 'vitest'
import {
  generativeDistillation,
  generativeReplay,
  type Learner,
  type LearnOptions,
  type Progress,
} from '../lib/index.js'
import { devices } from './support/devices.js'
import { temporaryFolder } from './support/folders.js'
import { bandsStream, collect, failure, tensorsOf, tinyLearner } from './support/tiny.js'

const stream = bandsStream()
const [first, second] = stream.tasks as [(typeof stream.tasks)[0], (typeof stream.tasks)[0]]
const options: LearnOptions = { steps: 10, batchSize: 8, lr: 1e-3 }
// What draws most in a step, from a pool that is filled anew.
const method = generativeDistillation({ teacher: { kind: 'ddpm', steps: 2 }, pool: { images: 9, refresh: 4 } })

/** What one does with the weights while they are trained. */
async function look(learner: Learner): Promise<void> {
  await learner.sample({ count: 3, sampler: { steps: 2, eta: 1 } })
  await learner.denoisingLoss(stream.tasks[0]!.test, { bands: 2 })
  await learner.predict(new Float32Array(64), Int32Array.of(7))
  await learner.save(await temporaryFolder())
}

describe('a callback while a task is learned', () => {
  it.each(devices)(
    'comes every so many steps and after the last, and looking changes nothing, on %s',
    async (device) => {
      const [looked, left] = [await tinyLearner({ ema: 0.9, device }), await tinyLearner({ ema: 0.9, device })]
      const told: [task: number, step: number][] = []
      const callback = async ({ task, step, loss }: Progress) => {
        expect(loss).toBeGreaterThan(0)
        expect(looked.taskInProgress?.step).toBe(step === 10 ? undefined : step)
        told.push([task, step])
        await look(looked)
      }
      for (const task of [first, second]) {
        await looked.train(task, method, { ...options, callback, callbackEvery: 4 })
        await left.train(task, method, options)
      }
      expect(told).toEqual([1, 2].flatMap((task) => [4, 8, 10].map((step) => [task, step])))
      expect(await tensorsOf(looked)).toEqual(await tensorsOf(left))
    },
  )

  it('does so too in the body of the loop over learn', async () => {
    const [looked, left] = [await tinyLearner(), await tinyLearner()]
    await left.train(first, generativeReplay(), options)
    for await (const _ of looked.learn(first, generativeReplay(), options)) await look(looked)
    expect(await tensorsOf(looked)).toEqual(await tensorsOf(left))
  })

  it('that fails leaves the learner after the step, and the task goes on to the same end', async () => {
    const [broken, whole] = [await tinyLearner(), await tinyLearner()]
    await whole.train(first, method, options)
    const reason = new Error('no more')
    const steps: number[] = []
    const callback = async ({ step }: Progress) => {
      steps.push(step)
      if (step === 3) throw reason
    }
    const called = { ...options, callback, callbackEvery: 3 }
    await expect(broken.train(first, method, called)).rejects.toBe(reason)
    expect(broken.taskInProgress).toEqual({ task: 1, step: 3, steps: 10 })
    await broken.train(first, method, { ...called, resume: true })
    expect(steps).toEqual([3, 6, 9, 10])
    expect(await tensorsOf(broken)).toEqual(await tensorsOf(whole))
  })

  it('may end the task', async () => {
    const learner = await tinyLearner()
    const callback = () => learner.endTask()
    const progress = await collect(learner.learn(first, method, { ...options, callback, callbackEvery: 2 }))
    expect(progress.at(-1)?.step).toBe(2)
    expect(learner.tasksLearned).toBe(1)
  })

  it('needs to be told how often', async () => {
    const learner = await tinyLearner()
    for (const one of [{ callback: () => {} }, { callbackEvery: 3 }]) {
      expect((await failure(learner.train(first, method, { ...options, ...one }))).message).toContain(
        'expected callback and callbackEvery together',
      )
    }
  })
})
