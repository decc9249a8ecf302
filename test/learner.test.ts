import { describe, expect, it } from 'vitest'
import { finetune, generativeReplay, Learner, type LearnOptions } from '../lib/index.js'
import type { Task } from '../lib/streams/stream.js'
import { bands, bandsStream, collect, failure, tinyLearner, tinyUNet } from './support/tiny.js'

const [first, second] = bandsStream().tasks as [Task, Task]
const quick: LearnOptions = { steps: 6, batchSize: 8, lr: 1e-3 }

describe('create', () => {
  it.each<[string, object, RegExp]>([
    ['no U-Net', { unet: undefined }, /^Learner.create: unet: /],
    ['an unknown device', { device: 'gpu' }, /create: device is 'gpu'; expected 'auto', 'cpu', 'cuda' or 'cuda:N'$/],
    [
      'a device without a number',
      { device: 'cuda:x' },
      /device is 'cuda:x'; expected 'auto', 'cpu', 'cuda' or 'cuda:N'$/,
    ],
    ['an unknown precision', { precision: 'fp16' }, /precision is 'fp16'/],
    [
      'tf32 on the CPU',
      { precision: 'tf32' },
      /precision is 'tf32' and the device is 'cpu'; only CUDA devices have tf32/,
    ],
    ['a decay of 1', { ema: 1 }, /ema is 1/],
    ['a negative seed', { seed: -1 }, /seed is -1/],
    ['a misspelt option', { sede: 1 }, /unknown option 'sede' \(did you mean 'seed'\?\)/],
    ['a misspelt option of the schedule', { schedule: { timestep: 1 } }, /'timestep' \(did you mean 'timesteps'\?\)/],
    [
      'more sampling steps than timesteps',
      { schedule: { timesteps: 5 }, sampler: { steps: 6 } },
      /steps is 6; expected at most the schedule's 5 timesteps/,
    ],
    ['a sampler of null', { sampler: null }, /^Learner.create: sampler: the value is null; expected an object$/],
    [
      'a size that the blocks cannot halve',
      { unet: { ...tinyUNet, sample_size: 9 } },
      /sample_size is 9; expected a mult/,
    ],
  ])('refuses %s', async (_, change, message) => {
    const options = { unet: tinyUNet, device: 'cpu', precision: 'fp32', ...change } as never
    const error = await failure(Learner.create(options))
    expect(error.code).toBe('ERR_INVALID_ARGUMENT')
    expect(error.message).toMatch(message)
  })

  it('a device that is not there is an error of its own', async () => {
    const error = await failure(Learner.create({ unet: tinyUNet, device: 'cuda:99' }))
    expect(error.code).toBe('ERR_DEVICE_UNAVAILABLE')
    expect(error.message).toContain("device 'cuda:99' is not available")
  })
})

describe('dispose', () => {
  it('makes every later use an ERR_DISPOSED', async () => {
    const learner = await tinyLearner()
    await learner.dispose()
    await learner.dispose()
    const pixels = new Float32Array(64)
    for (const use of [
      () => collect(learner.learn(first, finetune(), quick)),
      () => learner.sample({ count: 1 }),
      () => learner.predict(pixels, Int32Array.of(1)),
      () => learner.step({ xt: pixels, timesteps: Int32Array.of(1), target: pixels }),
      () => learner.freezeTeacher(),
      () => learner.save('nowhere'),
    ]) {
      const error = await failure(use())
      expect(error.code).toBe('ERR_DISPOSED')
      expect(error.message).toMatch(/^the learner was disposed/)
    }
  })

  it.each([
    ['learn', 20],
    ['learn', 300],
    ['replayPool', 300],
  ] as const)('while %s draws a pool of %s images, makes it an ERR_DISPOSED', async (what, images) => {
    const learner = await tinyLearner()
    await collect(learner.learn(first, finetune(), quick))
    const method = generativeReplay({ pool: { images } })
    const options = { ...quick, onPool: () => void learner.dispose() }
    const drawing =
      what === 'learn' ? learner.train(second, method, options) : learner.replayPool(second, method, options)
    const error = await failure(drawing)
    expect(error.code).toBe('ERR_DISPOSED')
    expect(error.message).toMatch(/^the learner was disposed/)
  })

  it('is what `await using` calls', async () => {
    const learner = await tinyLearner()
    await learner[Symbol.asyncDispose]()
    expect((await failure(learner.sample({ count: 1 }))).code).toBe('ERR_DISPOSED')
  })
})

describe('errors of the engine', () => {
  it('carry the stack of the call', async () => {
    const learner = await tinyLearner()
    const task = { ...first, train: { dataset: bands('bands', 2), indices: Int32Array.of(0, 99) } }
    const error = await failure(collect(learner.learn(task, finetune(), quick)))
    expect(error.code).toBe('ERR_INVALID_ARGUMENT')
    expect(error.message).toMatch(/indices/)
    expect(error.stack).toContain('learn.ts')
    expect(error.cause).toBeInstanceOf(Error)
  })
})
