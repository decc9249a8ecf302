import { readFile } from 'node:fs/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { paperSampler } from '../lib/config/sampler.js'
import { paperSchedule } from '../lib/config/schedule.js'
import { stateTensors } from '../lib/engine/state.js'
import {
  conditionalDistillation,
  ewc,
  experienceReplay,
  finetune,
  fromDatasets,
  generativeDistillation,
  generativeReplay,
  joint,
  Learner,
  type LearnOptions,
  lwfDistillation,
  type Method,
  synapticIntelligence,
  type TrainTest,
  teacherToStudent,
} from '../lib/index.js'
import { type Core, createCore } from '../lib/learner/core.js'
import { grow } from '../lib/learner/grow.js'
import type { Task } from '../lib/streams/stream.js'
import { xt } from './support/conditional.js'
import { devices } from './support/devices.js'
import { temporaryFolder } from './support/folders.js'
import { bands, collect, failure, tensorsOf, tinyLearner, tinyUNet } from './support/tiny.js'

/** A data set of some of the four classes, which knows of no others. */
function part(name: string, wanted: readonly number[]): TrainTest {
  const whole = bands(name, 12)
  const kept = [...whole.labels.keys()].filter((i) => wanted.includes(whole.labels[i]!))
  const dataset = {
    ...whole,
    classes: wanted.map((c) => whole.classes[c]!),
    labels: Int32Array.from(kept, (i) => wanted.indexOf(whole.labels[i]!)),
    images: Uint8Array.from(kept.flatMap((i) => [...whole.images.subarray(i * 64, (i + 1) * 64)])),
  }
  return { train: dataset, test: dataset }
}
const [a, b] = [part('a', [2, 0]), part('b', [0, 3, 1])]
/** As data come: of the second nothing is known when the first is learned. */
const first = fromDatasets([a]).tasks[0] as Task
const second = fromDatasets([a, b]).tasks[1] as Task
const names = ['third', 'first', 'fourth', 'second']

const growing = { steps: 4, batchSize: 8, lr: 1e-3, labelDropout: 0.2, grow: true } satisfies LearnOptions
/** A table that has only the null label. */
const unet = { ...tinyUNet, num_class_embeds: 1 }

async function taught(method = finetune(), options: Partial<Parameters<typeof tinyLearner>[0]> = {}): Promise<Learner> {
  const learner = await tinyLearner({ unet, ema: 0.5, ...options })
  await collect(learner.learn(first, method, growing))
  return learner
}

describe.each(devices)('the rows of a table that grows, on %s', (device) => {
  const width = 32
  const table = 'class_embedding.weight'

  async function coreOf(rows: number): Promise<Core> {
    const schedule = paperSchedule
    const settings = {
      unet: { ...tinyUNet, num_class_embeds: rows },
      schedule,
      sampler: paperSampler,
      device,
      ema: 0.9,
    }
    const core = await createCore({ ...settings, precision: 'fp32' }, 7, undefined)
    onTestFinished(() => core.native.dispose())
    return core
  }
  async function grown(core: Core, growth: Parameters<typeof grow>[1]): Promise<Core> {
    const result = { ...core, ...(await grow(core, growth)) }
    onTestFinished(() => result.native.dispose())
    return result
  }
  const stateOf = async ({ native }: Core) => {
    const at = native.parameters.findIndex(({ name }) => name === table)
    const split = (all: readonly Float32Array[]) => ({ table: all[at]!, others: all.filter((_, i) => i !== at) })
    const tensors = new Map<string, ReturnType<typeof split>>()
    for (const tensor of stateTensors) if (native.has(tensor)) tensors.set(tensor, split(await native.read(tensor)))
    for (const { name, quadratics } of await native.readPenalties()) {
      for (const [i, { anchor, importance }] of quadratics.entries()) {
        tensors.set(`${name} ${i} anchor`, split(anchor)).set(`${name} ${i} importance`, split(importance))
      }
    }
    return { tensors, state: native.state }
  }
  /** Fills all that a learner has with numbers of its own. */
  async function fill({ native }: Core): Promise<void> {
    let n = 0
    const numbers = () =>
      native.parameters.map(({ shape }) => new Float32Array(shape.reduce((p, s) => p * s, 1)).map(() => Math.sin(++n)))
    for (const tensor of stateTensors) await native.write(tensor, numbers())
    for (const [name, shape] of [
      ['p', 'diagonal'],
      ['p', 'diagonal'],
      ['q', 'rank-1'],
    ] as const) {
      await native.writePenalty({ name, shape, anchor: numbers(), importance: numbers() })
    }
    await native.setState({ seed: 7, step: 50, taskStep: 20, optimizerStep: 30 })
  }

  it.each([true, false])('the old ones stay to the bit, in all that there is; null label: %s', async (hasNullLabel) => {
    const core = await coreOf(3)
    await fill(core)
    const after = await grown(core, { rows: 6, hasNullLabel, movesLast: hasNullLabel })
    const [old, now] = [await stateOf(core), await stateOf(after)]
    expect(now.state).toEqual(old.state)
    expect([...now.tensors.keys()]).toEqual([...old.tensors.keys()])
    const rows = (values: Float32Array, from: number, to: number) => values.slice(from * width, to * width)
    const kept = hasNullLabel ? 2 : 3
    const fresh = rows(now.tensors.get('student')!.table, kept, hasNullLabel ? 5 : 6)
    // Standard normal numbers: mean 0 and variance 1, within four standard errors.
    const mean = fresh.reduce((sum, v) => sum + v, 0) / fresh.length
    expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(fresh.length))
    const variance = fresh.reduce((sum, v) => sum + v * v, 0) / fresh.length
    expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / fresh.length))
    for (const [name, { table: wide, others }] of now.tensors) {
      const before = old.tensors.get(name)!
      expect(others, name).toEqual(before.others)
      expect(wide.length).toBe(6 * width)
      expect(rows(wide, 0, kept), name).toEqual(rows(before.table, 0, kept))
      if (hasNullLabel) expect(rows(wide, 5, 6), name).toEqual(rows(before.table, 2, 3))
      const isWeight = /student|ema|teacher|start|anchor/.test(name)
      expect(rows(wide, kept, hasNullLabel ? 5 : 6), name).toEqual(isWeight ? fresh : fresh.map(() => 0))
    }
    const image = { data: xt, shape: [1, 1, 8, 8] }
    for (const weights of ['student', 'ema', 'teacher'] as const) {
      for (const [was, is] of hasNullLabel
        ? ([
            [0, 0],
            [1, 1],
            [2, 5],
          ] as const)
        : ([
            [0, 0],
            [2, 2],
          ] as const)) {
        const [x, y] = await Promise.all(
          [[core, was] as const, [after, is] as const].map(([{ native }, label]) =>
            native.predict(weights, image, Int32Array.of(300), Int32Array.of(label)),
          ),
        )
        expect(y!.data).toEqual(x!.data)
      }
    }
  })

  it.each([true, false])(
    'the new ones do not depend on how it came to so many; null label: %s',
    async (hasNullLabel) => {
      const core = await coreOf(3)
      const growth = (rows: number, movesLast: boolean) => ({
        rows,
        hasNullLabel,
        movesLast: hasNullLabel && movesLast,
      })
      const once = await grown(core, growth(9, false))
      const twice = await grown(await grown(core, growth(5, false)), growth(9, true))
      expect(await stateOf(twice)).toEqual(await stateOf(once))
      // And no two of them are alike.
      const wide = (await stateOf(once)).tensors.get('student')!.table
      expect(new Set(Array.from({ length: 9 }, (_, row) => wide[row * width])).size).toBe(9)
    },
  )
})

describe('a learner whose table grows', () => {
  it('learns classes as they come, and knows them by name', async () => {
    const learner = await taught()
    expect([learner.unet.num_class_embeds, learner.classes]).toEqual([3, ['third', 'first']])
    const [count, teacher] = [
      learner.parameterCount,
      (await tensorsOf(learner)).get('training.safetensors/teacher.class_embedding.weight'),
    ]
    const { data } = await learner.sample({ count: 6, labels: ['third', 'first', null, null, 'first', 'third'] })
    for await (const { step } of learner.learn(second, generativeDistillation(), { ...growing, steps: 6 }))
      if (step >= 1) break
    // In mid-task the teacher is the old one, with more rows.
    const wide = (await tensorsOf(learner)).get('training.safetensors/teacher.class_embedding.weight') as Float32Array
    expect(wide.slice(0, 64)).toEqual((teacher as Float32Array).slice(0, 64))
    expect(wide.slice(-32)).toEqual((teacher as Float32Array).slice(-32))
    await collect(learner.learn(second, generativeDistillation(), { ...growing, steps: 6, resume: true }))
    expect([learner.unet.num_class_embeds, learner.classes, learner.classesLearned]).toEqual([5, names, names])
    expect(learner.parameterCount).toBe(count + 2 * 32)
    expect((await learner.sample({ count: 5, labels: ['second', 'fourth', 'first', 'third', null] })).count).toBe(5)
    expect(
      (await learner.sample({ count: 6, labels: ['third', 'first', null, null, 'first', 'third'] })).data,
    ).not.toEqual(data)

    const folder = `${await temporaryFolder()}/learner`
    await learner.save(folder)
    expect(JSON.parse(await readFile(`${folder}/config.json`, 'utf8')).num_class_embeds).toBe(5)
    await using loaded = await Learner.load(folder, { device: 'cpu' })
    const asked = { count: 3, labels: ['second', null, 'first'] }
    expect((await loaded.sample(asked)).data).toEqual((await learner.sample(asked)).data)
  })

  it.each<[string, Method]>([
    ['generative distillation', generativeDistillation()],
    ['from a pool', generativeReplay({ pool: { images: 12 } })],
    [
      'from a pool that is told the null label',
      conditionalDistillation({ teacher: { steps: 2 }, pool: { images: 12 } }),
    ],
    ['with guidance in the teacher', generativeDistillation({ teacher: { guidance: { scale: 2 } } })],
    ['with the old images', experienceReplay({ size: 8 })],
    ['LwF', lwfDistillation()],
    ['EWC', ewc({ samples: 4 })],
    ['SI', synapticIntelligence()],
    ['all data', joint()],
    ['a fresh student', teacherToStudent()],
  ])('goes on from a saved task to the bit, by %s', async (_, method) => {
    const keep = method.weights === 'fresh' ? {} : ({ optimizer: 'keep' } as const)
    const options = { ...growing, ...keep }
    const whole = await taught(method)
    await collect(whole.learn(second, method, options))
    const begun = await taught(method)
    for await (const { step } of begun.learn(second, method, options)) if (step >= 1) break
    const folder = `${await temporaryFolder()}/learner`
    await begun.save(folder)
    await using rest = await Learner.load(folder, { device: 'cpu' })
    await collect(rest.learn(second, method, { ...options, resume: true }))
    expect(await tensorsOf(rest)).toEqual(await tensorsOf(whole))
    expect(rest.unet.num_class_embeds).toBe(5)
  })

  it('replays what it would have replayed without it', async () => {
    const learner = await taught()
    const method = generativeDistillation({ teacher: { guidance: { scale: 2 } }, pool: { images: 12 } })
    const before = (await learner.replayPool(second, method, growing))!
    for await (const { step } of learner.learn(second, finetune(), growing)) if (step >= 1) break
    expect(learner.unet.num_class_embeds).toBe(5)
    // In a process that has not generated them already.
    const folder = `${await temporaryFolder()}/learner`
    await learner.save(folder)
    await using loaded = await Learner.load(folder, { device: 'cpu' })
    expect((await loaded.replayPool(second, method, growing))!.data).toEqual(before.data)
  })

  it('gets a null label where it learns one later, and keeps a table that has room', async () => {
    const learner = await tinyLearner({ unet: { ...tinyUNet, num_class_embeds: 2 } })
    await collect(learner.learn(first, finetune(), { ...growing, labelDropout: 0 }))
    expect(learner.unet.num_class_embeds).toBe(2)
    expect((await failure(learner.sample({ count: 1, labels: null }))).message).toMatch(/this one has not/)
    await collect(learner.learn(second, finetune(), growing))
    expect(learner.unet.num_class_embeds).toBe(5)
    expect((await learner.sample({ count: 1, labels: null })).count).toBe(1)
    const wide = await tinyLearner({ unet: { ...tinyUNet, num_class_embeds: 9 } })
    await collect(wide.learn(first, finetune(), growing))
    await collect(wide.learn(second, finetune(), { ...growing, grow: false })) // the list of classes may grow within it
    expect([wide.unet.num_class_embeds, wide.classes]).toEqual([9, names])
  })

  it('is as before where the task could not begin', async () => {
    const learner = await taught()
    const before = await tensorsOf(learner)
    const controller = new AbortController()
    const options = { ...growing, signal: controller.signal, onPool: () => controller.abort('enough') }
    const learning = collect(learner.learn(second, generativeReplay({ pool: { images: 300 } }), options))
    await expect(learning).rejects.toBe('enough')
    expect(await tensorsOf(learner)).toEqual(before)
    expect([learner.unet.num_class_embeds, learner.taskInProgress]).toEqual([3, undefined])
    await collect(learner.learn(second, finetune(), growing))
    expect(learner.unet.num_class_embeds).toBe(5)
  })

  it.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'new classes without it',
      async () => collect((await taught()).learn(second, finetune(), { ...growing, grow: false })),
      /has 4 classes; expected at most 2, as the U-Net's num_class_embeds is 3, the last of which is the null label: .*, or learn with grow: true/,
    ],
    [
      'it without a table',
      async () => collect((await tinyLearner()).learn(first, finetune(), { ...growing, labelDropout: 0 })),
      /grow is true, and the network has no table of classes; expected false, or a U-Net with num_class_embeds/,
    ],
    [
      'classes in another order',
      async () => collect((await taught()).learn(fromDatasets([b]).tasks[0]!, finetune(), growing)),
      /are first, fourth, second; expected third, first, as in the data that the learner knows, and further classes after these/,
    ],
  ])('%s is refused', async (_, attempt, message) => {
    expect((await failure(attempt())).message).toMatch(message)
  })
})
