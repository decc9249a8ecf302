import { stat } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { call } from '../lib/engine/call.js'
import type { NativeImages } from '../lib/engine/native-values.js'
import { runExperiment } from '../lib/experiment/run.js'
import {
  conditionalDistillation,
  finetune,
  generativeDistillation,
  generativeReplay,
  type ImageBatch,
  Learner,
  type LearnOptions,
  type Method,
  type PoolProgress,
  partialGenerationDistillation,
  type ReplayPool,
  recommended,
  Solver,
  type Term,
  teacherToStudent,
} from '../lib/index.js'
import { evened } from '../lib/learner/replay.js'
import type { Task } from '../lib/streams/stream.js'
import { devices } from './support/devices.js'
import { temporaryFolder } from './support/folders.js'
import { fp32Learner, never, optimizer, resolve } from './support/native.js'
import { bandsStream, collect, failure, tinyLearner, tinyUNet } from './support/tiny.js'
import { tinyExperiment } from './support/tiny-experiment.js'

const stream = bandsStream()
const [first, second] = stream.tasks as [Task, Task]
const train: LearnOptions = { steps: 6, batchSize: 8, lr: 1e-3 }
const pooled = (pool: ReplayPool, steps = 3) => generativeDistillation({ teacher: { steps }, pool })

async function taught(): Promise<Learner> {
  const learner = await tinyLearner()
  await collect(learner.learn(first, finetune(), train))
  return learner
}

/** A prediction that tells two learners apart. */
async function fingerprint(learner: Learner): Promise<Float32Array> {
  const xt = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i))
  return learner.predict(xt, Int32Array.of(300))
}

/** A classifier that goes by an image's first pixel. */
const byFirstPixel = (limits: readonly number[]) => ({
  classes: stream.tasks[0]!.train.dataset.classes,
  classify: async ({ data, count }: ImageBatch) => {
    const logits = new Float32Array(count * 4)
    for (let i = 0; i < count; i++) logits[i * 4 + limits.filter((limit) => data[i * 64]! >= limit).length] = 1
    return { logits }
  },
})

describe.each(devices)('drawing from a pool, on %s', (device) => {
  /** Images whose every pixel is the image's number; with a timestep each. */
  async function numbered(count: number, make: 'bytes' | 'floats'): Promise<NativeImages> {
    const numbers = Array.from({ length: count * 64 }, (_, i) => Math.floor(i / 64))
    const images = make === 'bytes' ? Uint8Array.from(numbers) : Float32Array.from(numbers)
    const labels = Int32Array.from({ length: count }, (_, i) => i * 7)
    const shape = { count, height: 8, width: 8, channels: 1, size: 0, device }
    const native = await call((addon) => addon.createImages({ images, labels, ...shape }))
    onTestFinished(() => native.dispose())
    return native
  }

  async function sessionOf(method: Method, images: NativeImages, indices: Int32Array) {
    const native = await fp32Learner(tinyUNet, device, { seed: 4 })
    onTestFinished(() => native.dispose())
    await native.freezeTeacher()
    const batches = { task: [{ images, indices }], memory: [], batchSize: 64, horizontalFlip: false }
    const objective = resolve(method.objective(2))
    const session = await native.beginSession({ ...batches, objective, pools: [-1, 0], optimizer })
    onTestFinished(() => session.dispose())
    return { native, session }
  }

  it('gives every position the same probability', async () => {
    const images = await numbered(10, 'bytes')
    // Image 3 stands there three times.
    const indices = Int32Array.from([0, 1, 2, 3, 3, 3, 9])
    const { native, session } = await sessionOf(pooled({ images: 10 }), images, indices)
    await expect(session.run({ steps: 1, milliseconds: 1 }, never)).rejects.toThrow(
      /pool of images that it was not given/,
    )
    await session.setReplay({ pool: 0, images: [{ images, indices }] })
    const counts = new Map<number, number>()
    const rounds = 40
    for (let step = 0; step < rounds; step++) {
      await native.setState({ seed: 4, step, taskStep: step, optimizerStep: step })
      const { x0, z, stepNoise } = (await session.draw())[1]!
      expect([z, stepNoise]).toEqual([undefined, undefined]) // the teacher generates nothing
      for (let i = 0; i < 64; i++) {
        const number = Math.round((x0!.data[i * 64]! + 1) * 127.5)
        counts.set(number, (counts.get(number) ?? 0) + 1)
      }
    }
    expect([...counts.keys()].sort()).toEqual([0, 1, 2, 3, 9])
    const chiSquare = [...counts].reduce((sum, [number, found]) => {
      const expected = (rounds * 64 * (number === 3 ? 3 : 1)) / 7
      return sum + (found - expected) ** 2 / expected
    }, 0)
    expect(chiSquare).toBeLessThan(18.5) // 0.1 % of chi-square with 4 degrees of freedom
  })

  it('draws noisy images with their own timesteps', async () => {
    const images = await numbered(50, 'floats')
    const indices = Int32Array.from({ length: 50 }, (_, i) => i)
    const method = partialGenerationDistillation({ pool: { images: 50 } })
    const { session } = await sessionOf(method, await numbered(50, 'bytes'), indices)
    await session.setReplay({ pool: 0, images: [{ images, indices }] })
    const { x0, timesteps, noise } = (await session.draw())[1]!
    expect(noise).toBeUndefined()
    expect([...timesteps]).toEqual(Array.from(timesteps, (_, i) => x0!.data[i * 64]! * 7))
    expect(new Set(timesteps).size).toBeGreaterThan(20)
    const report = await session.run({ steps: 2, milliseconds: 1e9 }, never)
    expect(report.terms.every(Number.isFinite)).toBe(true)
  })
})

describe('a replay pool', () => {
  it('is what the frozen teacher generates, and a function of seed and task', async () => {
    const learner = await taught()
    const method = pooled({ images: 140 })
    const pool = (await learner.replayPool(second, method, train))!
    expect(pool).toMatchObject({ count: 140, height: 8, width: 8, channels: 1 })
    const rows = Array.from({ length: 140 }, (_, i) => pool.data.subarray(i * 64, (i + 1) * 64).join())
    expect(new Set(rows).size).toBe(140)

    // The student goes on; the teacher doesn't.
    const array = () => Float32Array.from({ length: 64 }, Math.random)
    await learner.step({ xt: array(), timesteps: Int32Array.of(5), target: array(), lr: 0.1 })
    const again = await learner.replayPool(second, pooled({ images: 140, classes: 'as-generated' }), train)
    expect(again!.data).toEqual(pool.data)
    const folder = await temporaryFolder()
    await learner.save(`${folder}/learner`)
    await using loaded = await Learner.load(`${folder}/learner`, { device: 'cpu' })
    expect((await loaded.replayPool(second, method, train))!.data).toEqual(pool.data)
    await loaded.freezeTeacher()
    expect((await loaded.replayPool(second, method, train))!.data).not.toEqual(pool.data)

    expect(await learner.replayPool(first, method, train)).toBeUndefined()
    expect(await learner.replayPool(second, generativeDistillation(), train)).toBeUndefined()
    const third = { ...second, number: 3 }
    expect((await learner.replayPool(third, method, train))!.data).not.toEqual(pool.data)
  })

  it('is not changed through the copies that are given away', async () => {
    const method = pooled({ images: 16, classes: 'even' })
    const [one, other] = [await taught(), await taught()]
    const { classify, ...rest } = byFirstPixel([100])
    const spoil = (images: ImageBatch) => classify(images).finally(() => images.data.fill(0))
    const images = (await one.replayPool(second, method, { ...train, classifier: byFirstPixel([100]) }))!
    images.data.fill(0)
    await collect(one.learn(second, method, { ...train, classifier: { ...rest, classify: spoil } }))
    await collect(other.learn(second, method, { ...train, classifier: byFirstPixel([100]) }))
    expect(await fingerprint(one)).toEqual(await fingerprint(other))
  })

  it('has as many images as it is to be reused', async () => {
    const learner = await taught()
    const pool = await learner.replayPool(second, pooled({ reuse: 4 }), { ...train, steps: 10 })
    expect(pool!.count).toBe(20) // 10 · 8 / 4
    const refreshed = await learner.replayPool(second, pooled({ reuse: 4, refresh: 3 }), { ...train, steps: 10 })
    expect(refreshed!.count).toBe(6)
  })

  it('is generated anew after so many steps, and a resumed task goes on to the bit', async () => {
    const method = pooled({ images: 16, refresh: 2 })
    const told: PoolProgress[] = []
    const options = { ...train, steps: 7, onPool: (progress: PoolProgress) => void told.push(progress) }
    const whole = await taught()
    await collect(whole.learn(second, method, options))
    expect(told).toEqual(Array.from({ length: 4 }, () => ({ task: 2, images: 16, total: 16 })))

    for (const stopAfter of [1, 2, 3]) {
      const part = await taught()
      for await (const { step } of part.learn(second, method, options)) if (step >= stopAfter) break
      const folder = await temporaryFolder()
      await part.save(`${folder}/learner`)
      await using rest = await Learner.load(`${folder}/learner`, { device: 'cpu' })
      await collect(rest.learn(second, method, { ...options, resume: true }))
      expect(await fingerprint(rest)).toEqual(await fingerprint(whole))
    }
    const other = await taught()
    await collect(other.learn(second, pooled({ images: 16 }), options))
    expect(await fingerprint(other)).not.toEqual(await fingerprint(whole))
  })

  it.each([
    ['generative-replay', generativeReplay({ pool: { images: 16 } })],
    ['partial-generation-distillation', partialGenerationDistillation({ pool: { images: 16 }, timesteps: [100, 600] })],
    ['teacher-to-student', teacherToStudent({ pool: { reuse: 2 } })],
  ])('serves %s', async (_, method) => {
    const learner = await taught()
    const before = await fingerprint(learner)
    const told: PoolProgress[] = []
    await collect(learner.learn(second, method, { ...train, onPool: (progress) => told.push(progress) }))
    expect(told.at(-1)?.images).toBe(told.at(-1)?.total)
    expect(await fingerprint(learner)).not.toEqual(before)
  })

  it('changes nothing where it is aborted', async () => {
    const learner = await taught()
    const before = await fingerprint(learner)
    const abort = new AbortController()
    const options = { ...train, signal: abort.signal, onPool: () => abort.abort() }
    const stopped = collect(learner.learn(second, pooled({ images: 300 }), options)).catch((error: unknown) => error)
    expect(await stopped).toBe(abort.signal.reason)
    expect(await fingerprint(learner)).toEqual(before)
    expect(learner).toMatchObject({ tasksLearned: 1, stepsDone: 6, taskInProgress: undefined })
    await collect(learner.learn(second, pooled({ images: 300 }), train))
    expect(learner.tasksLearned).toBe(2)
  })
})

describe('an even pool', () => {
  it('repeats images until each class has as many', async () => {
    expect([...(await evened([[7], [], [0, 1, 2, 3], [4, 5]]))]).toEqual([7, 7, 7, 7, 0, 1, 2, 3, 4, 5, 4, 5])
    expect([...(await evened([[7], [], [0, 1, 2, 3], [4, 5]], 8))]).toEqual([7, 7, 0, 1, 4, 5]) // in bounded memory
  })

  it('goes by the classifier, among the classes of the earlier tasks', async () => {
    const learner = await taught()
    const method = pooled({ images: 60, classes: 'even' })
    const told: PoolProgress[] = []
    // All that it takes for a class of task 2 counts as the earlier class that is likeliest then: the first.
    const options = {
      ...train,
      classifier: byFirstPixel([100, 256, 256]),
      onPool: (p: PoolProgress) => void told.push(p),
    }
    const images = (await learner.replayPool(second, method, options))!
    await collect(learner.learn(second, method, options))
    const bright = Array.from({ length: 60 }, (_, i) => images.data[i * 64]! >= 100).filter(Boolean).length
    const [a, b] = first.classes.map((c) => stream.tasks[0]!.train.dataset.classes[c]!) as [string, string]
    expect(told.at(-1)?.classes).toEqual({ [a]: 60 - bright, [b]: bright })
  })

  it('takes a solver that learned from the same pool', async () => {
    const learner = await taught()
    await using solver = await Solver.create(stream, { seed: 1, device: 'cpu' })
    await solver.learn(first, null, { epochs: 2, batchSize: 8 })
    const method = pooled({ images: 32, classes: 'even' })
    const replay = await learner.replayPool(second, method, { ...train, classifier: solver })
    await solver.learn(second, learner, { epochs: 2, batchSize: 8, replay })
    await collect(learner.learn(second, method, { ...train, classifier: solver }))
    expect(learner.tasksLearned).toBe(2)
  })

  it.each([
    ['no classifier', {}, /nothing tells the classes.*give learn\(\) a classifier/],
    ['other classes', { classes: ['x'] }, /doesn't know the class .* knows x/],
    [
      'too few logits',
      { classify: async () => ({ logits: new Float32Array(3) }) },
      /gave 3 logits.*expected a Float32Array/,
    ],
    [
      'logits that are not finite',
      { classify: async ({ count }: ImageBatch) => ({ logits: new Float32Array(count * 4).fill(Number.NaN) }) },
      /finite numbers/,
    ],
  ])('refuses %s', async (what, change, message) => {
    const learner = await taught()
    const classifier = { ...byFirstPixel([]), ...change }
    const onPool = () => expect(what).toMatch(/logits/) // the rest is known before anything is generated
    const options = what === 'no classifier' ? train : { ...train, classifier, onPool }
    const error = await failure(collect(learner.learn(second, pooled({ images: 4, classes: 'even' }), options)))
    expect(error.message).toMatch(message)
    expect(learner.taskInProgress).toBeUndefined()
    if (what.includes('logits')) return
    const pool = learner.replayPool(second, pooled({ images: 4, classes: 'even' }), options)
    expect((await failure(pool)).message).toMatch(message)
  })
})

it.each([
  [{}, { reuse: 10, classes: 'even' }],
  [{ reuse: 20 }, { reuse: 20, classes: 'even' }],
  [
    { images: 64, refresh: 9, reuse: undefined },
    { images: 64, refresh: 9, classes: 'even' },
  ],
  [{ keep: true }, { reuse: 10, classes: 'even', keep: true }],
  [{ classes: 'as-generated' }, { reuse: 10, classes: 'as-generated' }],
] as const)('the pool of recommended is its default but for what is given: %j', (pool, expected) => {
  const [, { source }] = recommended({ pool }).objective(2).terms as [Term, Term]
  expect(source).toMatchObject({ sampler: { steps: 20 } })
  expect('pool' in source && source.pool).toEqual(expected)
})

it('an abort ends the telling of its classes', async () => {
  const learner = await taught()
  const abort = new AbortController()
  let asked = 0
  const { classes, classify } = byFirstPixel([])
  const classifier = {
    classes,
    classify: (images: ImageBatch) => {
      asked++
      abort.abort()
      return classify(images)
    },
  }
  const options = { ...train, classifier, signal: abort.signal }
  const stopped = learner
    .train(second, pooled({ images: 400, classes: 'even' }), options)
    .catch((error: unknown) => error)
  expect(await stopped).toBe(abort.signal.reason)
  expect(asked).toBe(1)
})

describe('wrong pools', () => {
  it('is known of the later tasks before the first is learned', async () => {
    const learner = await tinyLearner()
    const method = partialGenerationDistillation({ pool: { images: 8, classes: 'even' } })
    expect((await failure(learner.train(first, method, train))).message).toMatch(/can't tell the classes of noisy/)
    const out = path.join(await temporaryFolder(), 'run')
    const methods = [{ name: 'recommended' as const, pool: { images: 9_000_000 } }]
    const error = await failure(runExperiment({ ...tinyExperiment, methods, out }))
    expect(error.message).toMatch(
      /recommended, task 2: the replay pool has 9000000 images of 64 bytes; expected at most 8388608/,
    )
    expect(await stat(out).catch(() => 'none')).toBe('none')
  })

  it('even, of noisy images', async () => {
    const learner = await taught()
    const method = partialGenerationDistillation({ pool: { images: 8, classes: 'even' } })
    const learning = learner.learn(second, method, { ...train, classifier: byFirstPixel([]) })
    expect((await failure(collect(learning))).message).toMatch(/can't tell the classes of noisy images/)
  })

  it.each([
    [{}, /exactly one of images and reuse/],
    [{ images: 4, reuse: 2 }, /exactly one of images and reuse/],
    [{ images: 0 }, /images/],
    [{ images: 4, refresh: 0 }, /refresh/],
    [{ images: 4, classes: 'odd' }, /classes/],
    [{ images: 4, classes: 'even', keep: true, refresh: 2 }, /no refresh where keep is true/],
    [{ images: 4, renew: 2 }, /renew/],
  ])('%j', (pool, message) => {
    expect(() => pooled(pool as never)).toThrow(message)
    if (Object.keys(pool).length > 0) expect(() => recommended({ pool: pool as never })).toThrow(message)
  })

  it('an unknown key of one with defaults, with those that are known', () => {
    for (const make of [recommended, conditionalDistillation]) {
      expect(() => make({ pool: { renew: 2 } as never })).toThrow(
        /'renew'; known: images, reuse, refresh, classes, keep in pool/,
      )
    }
  })

  it.each([null, 5, 'even', [10]])('%j in place of a pool', (pool) => {
    for (const make of [recommended, generativeDistillation, conditionalDistillation]) {
      expect(() => make({ pool: pool as never })).toThrow(/pool/)
    }
  })

  it('too large, before anything is generated', async () => {
    const learner = await taught()
    const error = await failure(collect(learner.learn(second, pooled({ images: 1e9 }), train)))
    expect(error.message).toMatch(/1000000000 images of 64 bytes; expected at most 8388608/)
  })
})

describe("Adam's state", () => {
  it('is kept or reset where a task begins', async () => {
    const native = await fp32Learner(tinyUNet, 'cpu')
    onTestFinished(() => native.dispose())
    const shape = [1, 1, 8, 8]
    const data = Float32Array.from({ length: 64 }, (_, i) => Math.cos(i))
    await native.computeGiven({ data, shape }, Int32Array.of(3), { data, shape }, Float32Array.of(1))
    await native.update(optimizer)
    const moments = await native.read('exp_avg')
    await native.beginTask(true)
    expect(native.state).toMatchObject({ step: 1, taskStep: 0, optimizerStep: 1 })
    expect(await native.read('exp_avg')).toEqual(moments)
    await native.beginTask(false)
    expect(native.state).toMatchObject({ step: 1, taskStep: 0, optimizerStep: 0 })
    expect((await native.read('exp_avg')).flatMap((values) => [...values]).every((value) => value === 0)).toBe(true)
  })

  it('kept, survives being saved in mid-task', async () => {
    const options = { ...train, optimizer: 'keep' } as const
    const whole = await taught()
    await collect(whole.learn(second, finetune(), options))
    const part = await taught()
    for await (const { step } of part.learn(second, finetune(), options)) if (step >= 3) break
    const folder = await temporaryFolder()
    await part.save(`${folder}/learner`)
    await using rest = await Learner.load(`${folder}/learner`, { device: 'cpu' })
    await collect(rest.learn(second, finetune(), { ...options, resume: true }))
    expect(await fingerprint(rest)).toEqual(await fingerprint(whole))
    const reset = await taught()
    await collect(reset.learn(second, finetune(), train))
    expect(await fingerprint(reset)).not.toEqual(await fingerprint(whole))
  })

  it("can't be kept for fresh weights", async () => {
    const learner = await taught()
    const learning = learner.learn(second, teacherToStudent(), { ...train, optimizer: 'keep' })
    expect((await failure(collect(learning))).message).toMatch(/fresh weights; expected 'reset'/)
  })
})
