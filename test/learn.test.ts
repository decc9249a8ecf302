import { describe, expect, it, onTestFinished } from 'vitest'
import {
  finetune,
  generativeDistillation,
  generativeReplay,
  joint,
  type LearnOptions,
  type Method,
  type Progress,
  teacherToStudent,
} from '../lib/index.js'
import { devices, tolerance } from './support/devices.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { bandsStream, collect, failure, tensorsOf, tinyLearner } from './support/tiny.js'

const stream = bandsStream()
const [first, second] = stream.tasks as [(typeof stream.tasks)[0], (typeof stream.tasks)[0]]
const quick: LearnOptions = { steps: 6, batchSize: 8, lr: 1e-3 }

/** That two tensors are no small change of each other: their difference is as large as they are. */
function expectNotClose(a: unknown, b: unknown): void {
  const [left, right] = [a, b] as [Float32Array, Float32Array]
  const norm = (values: Float32Array) => Math.hypot(...values)
  expect(norm(left.map((value, i) => value - (right[i] as number)))).toBeGreaterThan(norm(left))
}

describe('learn', () => {
  it('counts its progress, freezes the teacher and goes on to the next task', async () => {
    const learner = await tinyLearner()
    expect(learner.tasksLearned).toBe(0)
    const progress = await collect(learner.learn(first, generativeDistillation(), quick))
    expect(progress.at(-1)).toMatchObject({ task: 1, step: 6, steps: 6, secondsLeft: 0 })
    for (const [i, { step, loss, terms, gradNorm, stepsPerSecond }] of progress.entries()) {
      expect(step).toBeGreaterThan(progress[i - 1]?.step ?? 0)
      expect(terms).toEqual([loss])
      expect(gradNorm).toBeGreaterThan(0)
      expect(stepsPerSecond).toBeGreaterThan(0)
    }
    expect(learner.tasksLearned).toBe(1)
    const [last] = (await collect(learner.learn(second, generativeDistillation(), { ...quick, steps: 1 }))) as [
      Progress,
    ]
    const [real, replayed] = last.terms as [number, number]
    expect(last.task).toBe(2)
    expectClose([last.loss], [real / 2 + 0.75 * (replayed / 2)], 1e-6)
    expect(learner.tasksLearned).toBe(2)
    expect(learner.stepsDone).toBe(7)
  })

  it('tells of a task that is learned out of turn', async () => {
    const learner = await tinyLearner()
    const codes: (string | undefined)[] = []
    const note = ({ code }: NodeJS.ErrnoException) => codes.push(code)
    process.on('warning', note)
    onTestFinished(() => void process.off('warning', note))
    const one: LearnOptions = { ...quick, steps: 1 }
    for (const task of [first, first, second, second]) await learner.train(task, finetune(), one)
    await new Promise((resolve) => setImmediate(resolve))
    expect(codes).toEqual([])
    await learner.train(first, finetune(), one)
    await new Promise((resolve) => setImmediate(resolve))
    expect(codes).toEqual(['CONTINUAL_DIFFUSION_TASK_ORDER'])
  })

  it.each(devices)('lowers its loss, on %s', async (device) => {
    const learner = await tinyLearner({ device })
    const progress = await collect(learner.learn(first, finetune(), { steps: 150, batchSize: 16, lr: 3e-3 }))
    expect(progress.at(-1)?.loss).toBeLessThan((progress[0]?.loss as number) / 2)
  })

  it('takes ⌈epochs × images / batchSize⌉ steps, of all tasks so far when the method accumulates', async () => {
    const learner = await tinyLearner()
    const images = first.train.indices.length
    const stepsOf = async (method: Method, task: typeof first, epochs: number) =>
      (await collect(learner.learn(task, method, { epochs, batchSize: 10 }))).at(-1)?.steps
    expect(await stepsOf(finetune(), first, 1)).toBe(Math.ceil(images / 10))
    expect(await stepsOf(finetune(), second, 0.5)).toBe(Math.ceil((0.5 * images) / 10))
    expect(await stepsOf(joint(), second, 1)).toBe(Math.ceil((2 * images) / 10))
  })

  it('same seed: same weights to the bit; another seed: others', async () => {
    const run = async (seed: number) => {
      const learner = await tinyLearner({ seed })
      await collect(learner.learn(first, generativeReplay(), quick))
      await collect(learner.learn(second, generativeReplay(), quick))
      return tensorsOf(learner)
    }
    const [one, again, other] = [await run(5), await run(5), await run(6)]
    expect(again).toEqual(one)
    expect(other).not.toEqual(one)
  })

  it('begins with fresh weights where the method says so, and comes near to its teacher without data', async () => {
    const run = async (seed: number, steps: number, lr: number) => {
      const learner = await tinyLearner({ seed, ema: 0.5 })
      await collect(learner.learn(first, teacherToStudent(), { ...quick, lr: 3e-3 }))
      const before = await tensorsOf(learner)
      const progress = await collect(learner.learn(second, teacherToStudent(), { ...quick, steps, lr }))
      return { before, after: await tensorsOf(learner), progress }
    }
    // As good as not trained at all: these are the weights that the second task began with.
    const [one, again, other] = [await run(5, 1, 1e-12), await run(5, 1, 1e-12), await run(6, 1, 1e-12)]
    expect(again.after).toEqual(one.after)
    // Student and average are as new; a copy of the teacher would have no loss.
    for (const name of ['diffusion_pytorch_model.safetensors/', 'training.safetensors/student.']) {
      const key = `${name}conv_in.weight`
      expect(one.after.get(key)).toBeDefined()
      expectNotClose(one.after.get(key), one.before.get(key))
      expectNotClose(one.after.get(key), other.after.get(key))
    }
    expect(one.progress[0]?.loss).toBeGreaterThan(0.05)
    const { progress } = await run(5, 300, 3e-3)
    expect(progress.at(-1)?.loss).toBeLessThan((progress[0]?.loss as number) / 2)
  })

  it.each(devices)('starts every task with a fresh optimiser, on %s', async (device) => {
    const learner = await tinyLearner({ device })
    await collect(learner.learn(first, finetune(), quick))
    await collect(learner.learn(second, finetune(), { ...quick, steps: 1 }))
    // After one step from nothing Adam's second moment is (1 − β₂)·g² where its first is (1 − β₁)·g.
    const tensors = await tensorsOf(learner)
    const prefix = 'training.safetensors/'
    const m = tensors.get(`${prefix}exp_avg.conv_in.weight`) as Float32Array
    const v = tensors.get(`${prefix}exp_avg_sq.conv_in.weight`) as Float32Array
    expectClose(
      v,
      m.map((value) => 0.001 * (value / 0.1) ** 2),
      tolerance(device, 1e-4),
    )
  })

  it('left early, is as after its last whole step, with no teacher and no task learned', async () => {
    const learner = await tinyLearner()
    let last: Progress | undefined
    for await (const progress of learner.learn(first, finetune(), { ...quick, steps: 1000 })) {
      last = progress
      if (progress.step >= 3) break
    }
    expect(learner.stepsDone).toBe(last?.step)
    expect(learner.tasksLearned).toBe(0)
    const missing = await failure(collect(learner.learn(second, generativeReplay(), quick)))
    expect(missing.message).toMatch(/needs a teacher, and the learner has none/)
    await collect(learner.learn(first, finetune(), quick))
    expect(learner.tasksLearned).toBe(1)
  })

  it('aborted in the middle, rejects with the reason and stays usable', async () => {
    const learner = await tinyLearner()
    const controller = new AbortController()
    const reason = new Error('enough')
    const generator = learner.learn(first, finetune(), { ...quick, steps: 1_000_000, signal: controller.signal })
    await generator.next()
    setTimeout(() => controller.abort(reason), 30)
    await expect(collect(generator)).rejects.toBe(reason)
    expect(learner.tasksLearned).toBe(0)
    const { stepsDone } = learner
    expect(stepsDone).toBeGreaterThan(0)
    expect(stepsDone).toBeLessThan(1_000_000)
    await collect(learner.learn(first, finetune(), quick))
    expect(learner.stepsDone).toBe(stepsDone + 6)
  })

  it('aborted before it begins, takes no step', async () => {
    const learner = await tinyLearner()
    const signal = AbortSignal.abort('no')
    await expect(collect(learner.learn(first, finetune(), { ...quick, signal }))).rejects.toBe('no')
    expect(learner.stepsDone).toBe(0)
  })

  it('draws from the memory it is given', async () => {
    const learner = await tinyLearner()
    const replay: Method = {
      name: 'replay',
      objective: () => ({ terms: [{ source: { kind: 'memory' }, target: 'data', weight: 1 }] }),
    }
    const progress = await collect(learner.learn(second, replay, { ...quick, memory: [first.train] }))
    expect(progress.at(-1)?.step).toBe(6)
    expect((await failure(collect(learner.learn(second, replay, quick)))).message).toMatch(/the memory, which is empty/)
  })

  it('refuses more steps than a saved learner may have', async () => {
    const learner = await tinyLearner()
    for (const length of [{ epochs: 1e18 }, { steps: 2 ** 41 }]) {
      const error = await failure(collect(learner.learn(first, finetune(), { ...length, batchSize: 4 })))
      expect(error.code).toBe('ERR_INVALID_ARGUMENT')
      expect(error.message).toMatch(/1099511627776/)
    }
    expect(learner.taskInProgress).toBeUndefined()
  })

  it('refuses a second task while one is being learned, and saving in the middle of a step', async () => {
    const learner = await tinyLearner()
    const generator = learner.learn(first, finetune(), quick)
    await generator.next()
    expect((await failure(collect(learner.learn(second, finetune(), quick)))).message).toMatch(
      /^learn, task 2 by finetune: the learner is already learning a task; .* end it by its return\(\)$/,
    )
    const next = generator.next()
    expect((await failure(learner.save(await temporaryFolder()))).message).toMatch(/^save: learn\(\) is taking steps/)
    await next
    await generator.return(undefined)
    await collect(learner.learn(second, finetune(), quick))
  })

  it('is refused while a step is under way, and the other way round', async () => {
    const learner = await tinyLearner()
    const given = { xt: new Float32Array(64), timesteps: Int32Array.of(1), target: new Float32Array(64) }
    const folder = await temporaryFolder()
    const stepping = learner.step(given)
    const refused = [failure(collect(learner.learn(first, finetune(), quick))), failure(learner.save(folder))]
    const [learning, saving] = await Promise.all(refused)
    expect(learning?.message).toMatch(/a step\(\) is in progress/)
    expect(saving?.message).toMatch(/^save: a step\(\) is in progress/)
    await stepping
    const generator = learner.learn(first, finetune(), quick)
    const begun = generator.next()
    // The images are not even on the device yet.
    expect((await failure(learner.step(given))).message).toMatch(/^step: learn\(\) is taking steps/)
    await begun
    await learner.step(given)
    await collect(generator)
    expect(learner.stepsDone).toBe(8)
  })

  it('tells when it diverges', async () => {
    const learner = await tinyLearner()
    const diverged = await failure(collect(learner.learn(first, finetune(), { ...quick, steps: 500, lr: 1e30 })))
    expect(diverged.code).toBe('ERR_DIVERGED')
    expect(diverged.message).toMatch(/^learn, task 1 by finetune: .* at step \d+ of the learner/)
  })

  it.each(['at once', 'where an abort left the end to be done'])(
    'tells when the last update of a task spoilt the weights, and keeps nothing of it: %s',
    async (when) => {
      const learner = await tinyLearner()
      await collect(learner.learn(first, finetune(), quick))
      const spoiling = { ...quick, steps: 1, lr: 1e39 }
      if (when !== 'at once') {
        const controller = new AbortController()
        const late = { ...spoiling, signal: controller.signal, onStep: () => controller.abort('late') }
        await expect(collect(learner.learn(second, finetune(), late))).rejects.toBe('late')
        expect(learner.taskInProgress).toMatchObject({ step: 1, steps: 1 })
      }
      const error = await failure(collect(learner.learn(second, finetune(), { ...spoiling, resume: true })))
      expect(error.code).toBe('ERR_DIVERGED')
      expect(error.message).toMatch(/learn, task 2 by finetune: .* not finite after step 7 of the learner/)
      expect(learner).toMatchObject({ tasksLearned: 1, taskInProgress: undefined })
      expect((await failure(tensorsOf(learner))).message).toMatch(/^save: the learner has diverged in learn, task 2/)
    },
  )

  const colour = { ...first.train, dataset: { ...first.train.dataset, channels: 3 } }
  const large = { ...first.train, dataset: { ...first.train.dataset, size: 16 } }
  const empty = { ...first.train, indices: new Int32Array() }

  it.each<[string, Partial<LearnOptions>, RegExp, object?]>([
    ['both epochs and steps', { epochs: 1 }, /exactly one of steps and epochs/],
    ['neither epochs nor steps', { steps: undefined }, /exactly one of steps and epochs/],
    ['no steps', { steps: 0 }, /steps is 0/],
    ['half an image', { batchSize: 1.5 }, /batchSize is 1.5/],
    ['a negative learning rate', { lr: -1 }, /lr is -1/],
    ['a misspelt option', { batchsize: 8 } as never, /unknown option 'batchsize' \(did you mean 'batchSize'\?\)/],
    ['colour images', {}, /have 3 channels; expected the U-Net's 1/, colour],
    ['images of another size', {}, /are 16 × 16; expected 8 × 8, the U-Net's sample_size/, large],
    ['no images', {}, /has no images to train on/, empty],
  ])('refuses %s before it trains', async (_, change, message, train) => {
    const learner = await tinyLearner()
    const task = { ...first, ...(train ? { train } : {}) } as typeof first
    const error = await failure(collect(learner.learn(task, finetune(), { ...quick, ...change } as LearnOptions)))
    expect(error.code).toBe('ERR_INVALID_ARGUMENT')
    expect(error.message).toMatch(message)
    expect(learner.stepsDone).toBe(0)
  })

  it('refuses objectives that make no sense', async () => {
    const learner = await tinyLearner()
    const method = (terms: unknown): Method => ({ name: 'odd', objective: () => ({ terms: terms as never }) })
    const gaussian = [{ source: { kind: 'gaussian' }, target: 'data', weight: 1 }]
    const one = { source: { kind: 'task' }, target: 'data', weight: 1 }
    const teacher = { kind: 'teacher' }
    for (const [terms, message] of [
      [undefined, /objective\(1\): terms is missing/],
      [[], /terms is \[\]; expected at least one term/],
      [gaussian, /terms\[0\]\.target is 'data'; expected 'teacher': the source gaussian has no clean image/],
      [[{ ...one, source: { ...teacher, stopAtTimestep: true } }], /the source teacher has no clean image/],
      [[{ ...one, timesteps: [10, 5] }], /terms\[0\]\.timesteps is \[ 10, 5 \]; expected \[from, to\) with from < to/],
      [[{ ...one, timesteps: [10, 1001] }], /terms\[0\]\.timesteps is .*; expected at most the schedule's 1000/],
      [[{ ...one, weight: -1 }], /terms\[0\]\.weight is -1/],
      [[{ ...one, weight: Number.NaN }], /terms\[0\]\.weight is NaN/],
      [[{ ...one, wieght: 1 }], /unknown option 'wieght' \(did you mean 'weight'\?\).* in terms\[0\]/],
      [[{ ...one, target: 'image' }], /terms\[0\]\.target is 'image'/],
      [[{ ...one, loss: 'l3' }], /terms\[0\]\.loss is 'l3'/],
      [[{ ...one, source: { kind: 'memroy' } }], /terms\[0\]\.source.* is 'memroy'; expected .*'memory'/],
      [[{ ...one, source: { ...teacher, sampler: { steps: 0 } } }], /terms\[0\]\.source\.sampler\.steps is 0/],
      [
        [{ ...one, source: { ...teacher, sampler: { steps: 1001 } } }],
        /source\.sampler\.steps is 1001; expected at most/,
      ],
      [
        [{ ...one, source: { ...teacher, sampler: { setps: 1 } } }],
        /unknown option 'setps' \(did you mean 'steps'\?\)/,
      ],
    ] as const) {
      const error = await failure(collect(learner.learn(first, method(terms), quick)))
      expect(error.code).toBe('ERR_INVALID_ARGUMENT')
      expect(error.message).toMatch(message)
    }
  })

  it('refuses a method with keys that methods have not', async () => {
    const learner = await tinyLearner()
    for (const [change, message] of [
      [{ epochof: 'task' }, /unknown option 'epochof' \(did you mean 'epochOf'\?\)/],
      [{ Data: 'cumulative' }, /unknown option 'Data'/],
      [{ epochOf: 'tasks' }, /epochOf is 'tasks'/],
    ] as const) {
      const error = await failure(collect(learner.learn(first, { ...finetune(), ...change } as Method, quick)))
      expect(error.code).toBe('ERR_INVALID_ARGUMENT')
      expect(error.message).toMatch(message)
    }
  })

  it('refuses what is no task, no method and no memory', async () => {
    const thrower = () => {
      throw new RangeError('no such task')
    }
    const deep = { inside: JSON.parse(`${'['.repeat(20_000)}${']'.repeat(20_000)}`) as unknown }
    const learner = await tinyLearner()
    for (const [task, method, options, message] of [
      [undefined, finetune(), quick, /^learn: task: the value is missing/],
      [first, undefined, quick, /^learn: method: the value is missing/],
      [
        first,
        { name: 'mine', objective: { terms: [] } },
        quick,
        /objective is .*; expected a function of the task number/,
      ],
      [first, finetune, quick, /^learn: method is the function finetune; .*: call it, finetune\(\)$/],
      [
        first,
        { name: 'mine', objective: thrower },
        quick,
        /^learn, task 1 by mine: objective\(1\) .* threw: no such task/,
      ],
      [first, { ...finetune(), data: 'all' }, quick, /data is 'all'/],
      // A task in progress is saved with what its method keeps.
      [first, { ...finetune(), keeps: deep }, quick, /unknown option 'inside'; .* in keeps/],
      [first, { ...finetune(), keeps: { memory: { size: 4 } } }, quick, /keeps.memory.policy is missing; expected/],
      [
        first,
        { ...finetune(), keeps: { consolidations: [{ kind: 'fisher' }] } },
        quick,
        /keeps\.consolidations\[0\].*; expected an object whose kind is/,
      ],
      [first, finetune(), { ...quick, memory: [first.train.dataset] }, /memory\[0\]\.dataset is missing/],
      [first, finetune(), { ...quick, memory: [{ ...first.train, indices: [1] }] }, /memory\[0\]\.indices is \[ 1 \]/],
    ] as const) {
      const error = await failure(collect(learner.learn(task as never, method as never, options as never)))
      expect(error.code).toBe('ERR_INVALID_ARGUMENT')
      expect(error.message).toMatch(message)
    }
  })
})
