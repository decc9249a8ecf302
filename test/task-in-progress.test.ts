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
  return contents(folder)
}

/** A folder's files, byte for byte. */
async function contents(folder: string): Promise<Map<string, string>> {
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

describe('a resumed task', () => {
  it('takes another rate and more steps where they are named, and keeps them', async () => {
    const learner = await tinyLearner()
    await collect(learner.learn(first, finetune(), options))
    await leaveAt(learner, 1, finetune())
    const { step } = learner.taskInProgress!
    const changed = { ...options, steps: 15, lr: 2e-3 }
    const resume = { change: ['lr', 'steps'] as const }
    await leaveAt(learner, step + 1, finetune(), { ...changed, resume })
    expect(learner.taskInProgress).toMatchObject({ task: 2, steps: 15 })
    const last = (await collect(learner.learn(second, finetune(), { ...changed, resume: true }))).at(-1)
    expect(last).toMatchObject({ step: 15, steps: 15 })
  })

  it('learns with the rate that it changed to', async () => {
    const weights = async (lr: number) => {
      const learner = await tinyLearner()
      for await (const _ of learner.learn(first, finetune(), options)) break
      await learner.train(first, finetune(), { ...options, lr, resume: { change: ['lr'] } })
      return bytesOf(learner)
    }
    expect(await weights(2e-3)).not.toEqual(await weights(1e-3))
  })

  it.each<[string, RegExp, Partial<LearnOptions>]>([
    [
      'what was not named',
      /steps is 15; expected 12; or, resume it with resume: \{ change: \['steps'\] \}/,
      { steps: 15, resume: { change: ['lr'] } },
    ],
    [
      'another setting',
      /batchSize is 4; expected 8; or leave out/,
      { batchSize: 4, resume: { change: ['lr', 'steps'] } },
    ],
    ['fewer steps than are done', /steps is 1; expected at least [2-9]/, { steps: 1, resume: { change: ['steps'] } }],
    ['a setting that none can change', /change/, { resume: { change: ['batchSize' as 'lr'] } }],
  ])('is refused with %s', async (_, message, more) => {
    const learner = await tinyLearner()
    for await (const { step } of learner.learn(first, finetune(), options)) if (step > 1) break
    const before = learner.taskInProgress
    expect((await failure(learner.train(first, finetune(), { ...options, ...more } as LearnOptions))).message).toMatch(
      message,
    )
    expect(learner.taskInProgress).toEqual(before)
  })
})

describe('endTask()', () => {
  const method = compose(ewc({ samples: 5 }), experienceReplay({ size: 10 }))

  /** A task of just as many steps as another was ended after. */
  async function whole(steps: number) {
    const learner = await tinyLearner()
    await learner.train(first, method, { ...options, steps })
    return bytesOf(learner)
  }

  it('in the loop, after a break and from onProgress leaves what a task of so many steps leaves', async () => {
    const [inLoop, afterBreak, called] = [await tinyLearner(), await tinyLearner(), await tinyLearner()]
    const many = { ...options, steps: 500 }
    let steps = 0
    for await (const progress of inLoop.learn(first, method, many)) {
      steps = progress.step
      if (steps >= 5) await inLoop.endTask()
    }
    expect(inLoop).toMatchObject({ tasksLearned: 1, taskInProgress: undefined, stepsDone: steps })
    expect(await bytesOf(inLoop)).toEqual(await whole(steps))

    for await (const progress of afterBreak.learn(first, method, many)) if (progress.step >= 5) break
    const { step } = afterBreak.taskInProgress!
    await afterBreak.endTask()
    expect(afterBreak).toMatchObject({ tasksLearned: 1, taskInProgress: undefined, stepsDone: step })
    expect(await bytesOf(afterBreak)).toEqual(await whole(step))

    // In its warm-up.
    const warming = await tinyLearner()
    const slow = { ...many, lrSchedule: { warmup: 100 } }
    for await (const progress of warming.learn(first, method, slow)) if (progress.step >= 5) break
    await warming.endTask()
    expect(warming).toMatchObject({ tasksLearned: 1, taskInProgress: undefined })

    // With images held out, which are not to be held out of the rest again.
    const validating = await tinyLearner()
    const held = { ...many, validation: { every: 3, fraction: 0.25 } }
    for await (const progress of validating.learn(first, method, held)) if (progress.step >= 5) break
    await validating.endTask()
    expect(validating).toMatchObject({ tasksLearned: 1, taskInProgress: undefined })

    let ended: Promise<void> | undefined
    await called.train(first, method, { ...many, onProgress: () => (ended ??= called.endTask()) })
    await ended
    expect(called).toMatchObject({ tasksLearned: 1, taskInProgress: undefined, stepsDone: 1 })
    await called.train(second, method, options)
    expect(called.tasksLearned).toBe(2)
  })

  it('is refused where nothing can be ended, and says how a loaded task is', async () => {
    const learner = await tinyLearner()
    expect((await failure(learner.endTask())).message).toMatch(/no task is in progress/)
    for await (const _ of learner.learn(first, method, options)) break
    const folder = path.join(await temporaryFolder(), 'middle')
    await learner.save(folder)
    const loaded = await load(folder)
    expect((await failure(loaded.endTask())).message).toMatch(/steps: 1, resume: \{ change: \['steps'\] \}/)
    await loaded.train(first, method, { ...options, steps: 1, resume: { change: ['steps'] } })
    await learner.endTask()
    expect(await bytesOf(loaded)).toEqual(await bytesOf(learner))
  })
})

describe('train()', () => {
  it('is learn() to its end', async () => {
    const [trained, learned] = [await tinyLearner(), await tinyLearner()]
    const told: number[] = []
    await trained.train(first, finetune(), { ...options, onProgress: ({ step }) => told.push(step) })
    const all = await collect(learned.learn(first, finetune(), options))
    expect(told.at(-1)).toBe(all.at(-1)?.step)
    expect(await bytesOf(trained)).toEqual(await bytesOf(learned))
  })

  it.each<[string, unknown, RegExp]>([
    ['no options', undefined, /train: the value is missing/],
    ['a callback that is none', { steps: 1, onProgress: 1 }, /train: onProgress is 1; expected a function/],
    ['an unknown option', { steps: 1, onProgres: () => {} }, /unknown option 'onProgres'/],
  ])('is refused with %s', async (_, wrong, message) => {
    const learner = await tinyLearner()
    expect((await failure(learner.train(first, finetune(), wrong as LearnOptions))).message).toMatch(message)
  })

  it('is what learn() names to those who await it', async () => {
    const learner = await tinyLearner()
    const awaited = (async () => {
      // @ts-expect-error: an iterator is no promise
      await learner.learn(first, finetune(), options)
    })()
    expect((await failure(awaited)).message).toMatch(/iterate it, or await learner.train/)
    expect(learner.stepsDone).toBe(0)
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

it('a task that diverges in its first step leaves the weights as they are', async () => {
  const learner = await tinyLearner()
  await collect(learner.learn(first, finetune(), options))
  const term = { source: { kind: 'task' }, target: 'data', weight: 3e38 } as const
  const heavy: Method = { name: 'heavy', objective: () => ({ terms: [term] }) }
  const error = await failure(learner.train(second, heavy, options))
  expect(error.code).toBe('ERR_DIVERGED')
  expect(error.message).toMatch(/^learn, task 2 by heavy: .* No step was taken: the weights are unchanged$/)
  await learner.train(second, finetune(), options)
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
  // A learner without use is not taken for one that can be used, nor saved in the place of one.
  const files = await contents(folder)
  const uses = {
    learn: () => learner.train(second, finetune(), options),
    endTask: () => learner.endTask(),
    replayPool: () => learner.replayPool(second, finetune(), options),
    sample: () => learner.sample({ count: 1 }),
    predict: () => learner.predict(new Float32Array(64), Int32Array.of(0)),
    denoisingLoss: () => learner.denoisingLoss(first.train),
    freezeTeacher: () => learner.freezeTeacher(),
    save: () => learner.save(folder),
  }
  for (const [name, use] of Object.entries(uses)) {
    const refused = await failure(use())
    expect(refused.code, name).toBe('ERR_DIVERGED')
    expect(refused.message).toMatch(
      new RegExp(`^${name}: the learner has diverged in learn, task 2 by finetune, .*load an earlier save`),
    )
  }
  expect(await contents(folder)).toEqual(files)
  const good = await load(folder)
  const progress = await collect(good.learn(second, finetune(), { ...options, resume: true }))
  expect(progress.every(({ loss }) => Number.isFinite(loss))).toBe(true)
})
