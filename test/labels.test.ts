import { readFile, writeFile } from 'node:fs/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readSafetensors } from '../lib/files/safetensors.js'
import {
  experienceReplay,
  finetune,
  gaussianDistillation,
  generativeDistillation,
  generativeReplay,
  joint,
  Learner,
  type LearnOptions,
  partialGenerationDistillation,
  teacherToStudent,
} from '../lib/index.js'
import type { Method } from '../lib/methods/objective.js'
import {
  conditional,
  first,
  second,
  taught,
  classTraining as train,
  classUNet as unet,
  xt,
} from './support/conditional.js'
import { devices, tolerance } from './support/devices.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose, Golden, goldenPath } from './support/golden.js'
import { fp32Learner, optimizer, resolve } from './support/native.js'
import { bands, collect, failure, tinyLearner, tinyUNet } from './support/tiny.js'

const fingerprint = (learner: Learner) => learner.predict(xt, Int32Array.of(300), Int32Array.of(1))

describe.each(devices)("the network is diffusers', on %s", (device) => {
  it.each(['class-labels', 'class-timestep', 'class-identity'])(
    '%s: prediction, loss and gradient norm',
    async (name) => {
      const folder = goldenPath(`unets/${name}`)
      await using learner = await Learner.load(folder, { device, precision: 'fp32' })
      const io = await Golden.read(`unets/${name}/io.safetensors`)
      const timesteps = io.integers('timesteps')
      const labels = name === 'class-identity' ? io.tensor('class_labels').data : io.integers('class_labels')
      const { data } = io.tensor('sample')
      const prediction = await learner.predict(data, timesteps, labels)
      expectClose(prediction, io.tensor('prediction').data, tolerance(device, 1e-4), 'prediction')
      const target = io.tensor('target').data
      const { loss, gradNorm } = await learner.step({ xt: data, timesteps, target, labels, lr: 1e-9 })
      expectClose([loss], [io.scalar('loss')], tolerance(device, 1e-5), 'loss')
      expectClose([gradNorm], [io.scalar('grad_norm')], tolerance(device, 1e-4), 'gradient norm')

      // Saved again, it is the model that diffusers wrote.
      const saved = `${await temporaryFolder()}/saved`
      await learner.save(saved)
      const json = async (at: string) => {
        const { _diffusers_version: _, ...config } = JSON.parse(await readFile(`${at}/config.json`, 'utf8'))
        return config
      }
      const [now, before] = [await json(saved), await json(folder)]
      expect(now).toEqual(Object.fromEntries(Object.keys(now).map((key) => [key, before[key]])))
      const names = async (at: string) =>
        [...(await readSafetensors(`${at}/diffusion_pytorch_model.safetensors`)).tensors.keys()].sort()
      expect(await names(saved)).toEqual(await names(folder))
    },
  )
})

describe('labels that are drawn', () => {
  async function drawsOf(method: Method, weights: number[], dropout: number, rounds: number) {
    const native = await fp32Learner(unet, 'cpu', { seed: 4 })
    onTestFinished(() => native.dispose())
    await native.freezeTeacher()
    const learner = await conditional()
    const pool = await learner.images.pool([second.train])
    const session = await native.beginSession({
      ...{
        objective: resolve(method.objective(2)),
        task: pool,
        memory: pool,
        batchSize: 64,
        horizontalFlip: false,
        optimizer,
      },
      labels: { dropout, weights: Float64Array.from(weights) },
    })
    onTestFinished(() => session.dispose())
    const all = []
    for (let step = 0; step < rounds; step++) {
      await native.setState({ seed: 4, step, taskStep: step, optimizerStep: step })
      all.push(await session.draw())
    }
    return all
  }

  function chiSquare(found: readonly number[], probabilities: readonly number[]): number {
    const total = found.reduce((sum, count) => sum + count, 0)
    return found.reduce(
      (sum, count, i) => sum + (count - total * probabilities[i]!) ** 2 / (total * probabilities[i]!),
      0,
    )
  }

  it.each([
    ['what the teacher generates', generativeDistillation()],
    ['Gaussian inputs', gaussianDistillation()],
  ])('for %s follow the weights, and are dropped as often as asked', async (what, method) => {
    const draws = (await drawsOf(method, [1, 0, 3, 4], 0.25, 40)).map(([, ofTeacher]) => ofTeacher!)
    const told = draws.flatMap(({ labels }) => [...labels!])
    const counts = [0, 2, 3, 4].map((label) => told.filter((other) => other === label).length)
    expect(counts.reduce((a, b) => a + b)).toBe(40 * 64)
    // 0.1 % of chi-square with three degrees of freedom is 16.3.
    expect(chiSquare(counts, [0.75 / 8, (0.75 * 3) / 8, (0.75 * 4) / 8, 0.25])).toBeLessThan(16.3)
    if (what !== 'what the teacher generates') return
    // What is generated keeps its class where the label is dropped.
    const generated = draws.flatMap(({ classes }) => [...classes!])
    expect(generated.every((label, i) => told[i] === 4 || told[i] === label)).toBe(true)
    expect(new Set(generated)).toEqual(new Set([0, 2, 3]))
  })

  it('for real images are theirs', async () => {
    const [draws] = await drawsOf(experienceReplay({ size: 8 }), [1, 1, 1, 1], 0, 1)
    for (const { x0, labels } of draws!) {
      // An image of class c is bright in rows 2c and 2c + 1.
      const brightest = Array.from({ length: 64 }, (_, i) => {
        const rows = Array.from({ length: 8 }, (_, y) => x0!.data[i * 64 + y * 8]!)
        return Math.floor(rows.indexOf(Math.max(...rows)) / 2)
      })
      expect(brightest).toEqual([...labels!])
      expect(new Set(labels)).toEqual(new Set(second.classes))
    }
  })
})

describe('a conditional learner', () => {
  it('generates the class that it is asked for', async () => {
    const learner = await conditional({ sampler: { steps: 20 } })
    const whole = {
      ...first,
      train: { dataset: bands('bands', 24), indices: Int32Array.from({ length: 96 }, (_, i) => i) },
    }
    await collect(learner.learn(whole, finetune(), { steps: 300, batchSize: 32, lr: 4e-3, labelDropout: 0.1 }))
    const { data } = await learner.sample({ count: 80, labels: Array.from({ length: 80 }, (_, i) => i % 4) })
    const right = Array.from({ length: 80 }, (_, i) => {
      const rows = Array.from({ length: 4 }, (_, band) =>
        data.subarray(i * 64 + band * 16, i * 64 + band * 16 + 16).reduce((sum, value) => sum + value, 0),
      )
      return rows.indexOf(Math.max(...rows)) === i % 4
    })
    expect(right.filter(Boolean).length).toBeGreaterThan(72)
  }, 60_000)

  it.each([
    ['generative-distillation', generativeDistillation()],
    ['with guidance', generativeDistillation({ teacher: { guidance: { scale: 2 } } })],
    ['generative-replay from a pool', generativeReplay({ pool: { images: 12, classes: 'even' } })],
    ['partial generation from a pool', partialGenerationDistillation({ pool: { images: 12 } })],
  ])('learns by %s, and goes on from a saved task to the bit', async (_, method) => {
    const whole = await taught()
    await collect(whole.learn(second, method, train))
    const part = await taught()
    for await (const { step } of part.learn(second, method, train)) if (step >= 1) break
    const folder = `${await temporaryFolder()}/learner`
    await part.save(folder)
    await using rest = await Learner.load(folder, { device: 'cpu' })
    await collect(rest.learn(second, method, { ...train, resume: true }))
    expect(await fingerprint(rest)).toEqual(await fingerprint(whole))
    expect(rest.classes).toEqual(first.train.dataset.classes)
    // It knows the classes of both tasks.
    expect((await rest.sample({ count: 4 })).data).toEqual(
      (await whole.sample({ count: 4, labels: [0, 1, 2, 3] })).data,
    )
  })

  it('replays classes as often as replayLabels says', async () => {
    const learner = await taught()
    const [a, b] = first.classes.map((c) => first.train.dataset.classes[c]!) as [string, string]
    const method = generativeReplay({ pool: { images: 8 } })
    const pool = (replayLabels: LearnOptions['replayLabels']) =>
      learner.replayPool(second, method, { ...train, replayLabels: replayLabels! })
    const sampled = async (labels: string[]) => (await pool({ [labels[0]!]: 1 }))!.data
    expect((await pool({ [a]: 1, [b]: 1 }))!.data).toEqual((await pool('uniform'))!.data)
    expect(await sampled([a])).not.toEqual(await sampled([b]))
    const error = await failure(pool({ nothing: 1 }))
    expect(error.message).toMatch(/no class is named 'nothing'; the classes are first, second, third, fourth/)
  })

  it('takes weights for classes of all tasks in every task', async () => {
    const names = first.train.dataset.classes
    const [a, c] = [names[first.classes[0]!]!, names[second.classes[0]!]!]
    const learner = await conditional()
    const options = { ...train, replayLabels: { [a]: 1, [c]: 5 } }
    const method = generativeReplay({ pool: { images: 8 } })
    await collect(learner.learn(first, method, options))
    const both = (await learner.replayPool(second, method, options))!
    const one = (await learner.replayPool(second, method, { ...train, replayLabels: { [a]: 1 } }))!
    expect(both.data).toEqual(one.data) // the other class has not been learned yet
    const none = failure(learner.replayPool(second, method, { ...train, replayLabels: { [c]: 5 } }))
    expect((await none).message).toMatch(/are 0 for all classes learned; expected one above 0 for one of/)
  })

  it('takes weights for what a teacher from elsewhere knows', async () => {
    const learner = await conditional()
    await learner.freezeTeacher()
    const [name] = first.train.dataset.classes as [string]
    const method = generativeReplay({ pool: { images: 4 } })
    const error = await failure(learner.replayPool(second, method, train))
    expect(error.message).toMatch(/the learner has learned none yet; expected replayLabels/)
    const options = { ...train, labelDropout: 0, replayLabels: { [name]: 1 } }
    expect(await learner.replayPool(second, method, options)).toMatchObject({ count: 4 })
    await collect(learner.learn(second, method, options))
    const { classes } = first.train.dataset
    expect(learner.classesLearned).toEqual(classes.filter((c, i) => c === name || second.classes.includes(i)))
  })

  it('has learned the classes of the images that it learned from', async () => {
    const all = first.train.dataset.classes
    const cumulative = await conditional()
    await collect(cumulative.learn(second, joint(), train))
    expect(cumulative.classesLearned).toEqual(all)
    const student = await taught()
    const before = student.classesLearned
    await collect(student.learn(second, teacherToStudent(), { ...train, labelDropout: 0 })) // without the task's images
    expect(student.classesLearned).toEqual(before)
    // A fresh network knows no null label that it was not told.
    expect((await failure(student.sample({ count: 1, labels: null }))).message).toMatch(/this one has not/)
  })

  it('is not limited by rows that its embedding of labels has not', async () => {
    const timestep = { ...tinyUNet, class_embed_type: 'timestep', num_class_embeds: 2 } as const
    const learner = await conditional({ unet: timestep })
    await collect(learner.learn(first, finetune(), { ...train, labelDropout: 0 }))
    const folder = `${await temporaryFolder()}/learner`
    await learner.save(folder)
    await using loaded = await Learner.load(folder, { device: 'cpu' })
    expect(loaded.classes).toEqual(first.train.dataset.classes)
  })

  it('may have learned the null label by steps', async () => {
    const learner = await conditional()
    const null_ = { count: 1, labels: null } as const
    const stepOn = (label: number) =>
      learner.step({ xt, timesteps: Int32Array.of(3), target: xt, labels: Int32Array.of(label) })
    await stepOn(3)
    await failure(learner.sample(null_))
    await stepOn(4)
    expect((await learner.sample(null_)).count).toBe(1)
  })
})

describe('what is refused', () => {
  it.each([
    [
      'labels for an unconditional model',
      async () => (await tinyLearner()).sample({ count: 1, labels: 0 }),
      /takes none; expected none, or a U-Net with num_class_embeds/,
    ],
    [
      'labelDropout for an unconditional model',
      async () => collect((await tinyLearner()).learn(first, finetune(), train)),
      /labelDropout is 0.2, and the network takes no labels/,
    ],
    [
      'weights for an unconditional model',
      async () => collect((await tinyLearner()).learn(first, finetune(), { steps: 1, replayLabels: { first: 1 } })),
      /replayLabels has weights, and the network takes no labels/,
    ],
    [
      'labelDropout where the teacher knows no null label',
      async () => {
        const learner = await conditional()
        await collect(learner.learn(first, finetune(), { ...train, labelDropout: 0 }))
        await collect(learner.learn(second, generativeDistillation(), train))
      },
      /the teacher, whose predictions are learned, has not learned the null label/,
    ],
    [
      'a label that is no whole number',
      async () => (await conditional()).sample({ count: 2, labels: [0, 1.5] }),
      /the label 1.5; expected a whole number/,
    ],
    [
      'a label beyond 32 bits',
      async () => (await conditional()).sample({ count: 1, labels: 2 ** 32 }),
      /label 4294967296/,
    ],
    [
      'no labels before a task',
      async () => (await conditional()).sample({ count: 1 }),
      /has learned no class yet, .*; expected labels, e\.g\. 0/,
    ],
    [
      'no labels for predict',
      async () => (await conditional()).predict(xt, Int32Array.of(1)),
      /labels is undefined; expected an Int32Array of 1/,
    ],
    [
      'a wrong length',
      async () => (await conditional()).sample({ count: 3, labels: [0, 1] }),
      /labels has 2 elements; expected 3, a label for each image/,
    ],
    [
      'a label without a row',
      async () => (await conditional()).sample({ count: 2, labels: [0, 5] }),
      /the label 5; expected 0 … 4/,
    ],
    [
      'a negative label',
      async () => (await conditional()).predict(xt, Int32Array.of(1), Int32Array.of(-1)),
      /the label -1/,
    ],
    [
      'an unknown name',
      async () => (await taught()).sample({ count: 2, labels: 'sandal' }),
      /no class is named 'sandal'; the classes are first, second/,
    ],
    [
      'more classes than rows',
      async () => {
        const learner = await conditional({ unet: { ...tinyUNet, num_class_embeds: 4 } })
        await collect(learner.learn(first, finetune(), train))
      },
      /has 4 classes; expected at most 3, as the U-Net's num_class_embeds is 4, the last of which is the null label/,
    ],
    [
      'vectors in place of labels',
      async () => {
        const learner = await conditional({ unet: { ...tinyUNet, class_embed_type: 'identity' } })
        await collect(learner.learn(first, finetune(), { ...train, labelDropout: 0 }))
      },
      /class_embed_type is 'identity', whose labels are vectors/,
    ],
  ])('%s', async (_, attempt, message) => {
    expect((await failure(attempt())).message).toMatch(message)
  })

  it('classes that a later task calls by other names', async () => {
    const learner = await taught()
    const dataset = { ...second.train.dataset, classes: ['first', 'second', 'fourth', 'third'] }
    const other = { ...second, train: { ...second.train, dataset } }
    const error = await failure(collect(learner.learn(other, finetune(), train)))
    expect(error.message).toMatch(/first, second, fourth, third; expected first, second, third, fourth/)
  })

  it('a folder whose table does not fit its classes', async () => {
    const learner = await taught()
    const folder = `${await temporaryFolder()}/learner`
    await learner.save(folder)
    const config = JSON.parse(await readFile(`${folder}/config.json`, 'utf8'))
    await writeFile(`${folder}/config.json`, JSON.stringify({ ...config, num_class_embeds: 4 }))
    expect((await failure(Learner.load(folder))).message).toMatch(
      /learner.json: it has 4 classes and the null label; expected at most 4 in all, which is num_class_embeds/,
    )
  })
})
