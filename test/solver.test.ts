import path from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { NativeClassifier } from '../lib/engine/addon.js'
import { call } from '../lib/engine/call.js'
import { finetune, generativeReplay, type ImageBatch, type Learner, Solver, type SolverOptions } from '../lib/index.js'
import type { Stream, Task } from '../lib/streams/stream.js'
import { devices, tolerance } from './support/devices.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { bands, bandsStream, collect, failure, tinyLearner, tinyUNet } from './support/tiny.js'

const classes = 4
const stream = bandsStream()
const [first, second] = stream.tasks as [Task, Task]

async function solverOf(from: Stream = stream, options: SolverOptions = {}): Promise<Solver> {
  const solver = await Solver.create(from, { device: 'cpu', seed: 1, ...options })
  onTestFinished(() => solver.dispose())
  return solver
}

/** Images of a task's train set, as a batch with its labels. */
function batchOf({ train: { dataset, indices } }: Task): { images: ImageBatch; labels: number[] } {
  const data = new Uint8Array(indices.length * 64)
  indices.forEach((from, to) => {
    data.set(dataset.images.subarray(from * 64, (from + 1) * 64), to * 64)
  })
  const images = { data, count: indices.length, height: 8, width: 8, channels: 1 }
  return { images, labels: [...indices].map((i) => dataset.labels[i] as number) }
}

function logSoftmax(logits: readonly number[]): number[] {
  const most = Math.max(...logits)
  const sum = Math.log(logits.reduce((total, z) => total + Math.exp(z - most), 0))
  return logits.map((z) => z - most - sum)
}

function rows(logits: Float32Array): number[][] {
  return Array.from({ length: logits.length / classes }, (_, i) => [...logits.subarray(i * classes, (i + 1) * classes)])
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

function crossEntropy(logits: Float32Array, labels: readonly number[]): number {
  return mean(rows(logits).map((z, i) => -(logSoftmax(z)[labels[i] as number] as number)))
}

/** T² · mean of −Σ softmax(a/T) · log softmax(b/T). */
function soft(a: Float32Array, b: Float32Array, temperature: number): number {
  const scaled = (logits: Float32Array) => rows(logits).map((z) => logSoftmax(z.map((value) => value / temperature)))
  const [logA, logB] = [scaled(a), scaled(b)]
  const each = logA.map((row, i) => -row.reduce((sum, log, c) => sum + Math.exp(log) * (logB[i]?.[c] as number), 0))
  return temperature ** 2 * mean(each)
}

describe.each(devices)('the loss, on %s', (device) => {
  const real = batchOf(first)
  const generated = batchOf(second).images
  // Far from a fresh classifier's logits, and unequal from image to image.
  const theirs = Float32Array.from({ length: generated.count * classes }, (_, i) => Math.sin(i * 1.7) * 4)

  async function firstLoss(change: { temperature: number; swapped: boolean; labelledWeight: number; weight: number }) {
    const native: NativeClassifier = await call((addon) =>
      addon.createClassifier({ channels: 1, classes, device, seed: 3 }),
    )
    onTestFinished(() => native.dispose())
    const { images, labels, height, width, channels } = first.train.dataset
    const shape = { count: labels.length, height, width, channels, size: 0, device }
    const resident = await call((addon) => addon.createImages({ images, labels, ...shape }))
    onTestFinished(() => resident.dispose())
    const mine = {
      real: (await native.classify(real.images)).logits,
      generated: (await native.classify(generated)).logits,
    }
    const report = await native.train(
      {
        // A batch as large as the task: every image once.
        pool: [{ images: resident, indices: first.train.indices }],
        batchSize: real.images.count,
        steps: 1,
        milliseconds: 0,
        lr: 1e-3,
        horizontalFlip: false,
        shift: 0,
        dropout: 0,
        softLabelled: { images: generated, logits: theirs, ...change },
      },
      new Int32Array(1),
    )
    return { ...mine, loss: report.loss }
  }

  it.each([
    ['standard', false, 2, 2],
    ['standard', false, 1, 5],
    ['paper', true, 2, 2],
    ['paper', true, 3.5, 4],
  ])('%s (swapped: %s), temperature %s, k = %s', async (_, swapped, temperature, k) => {
    const weights = { labelledWeight: 1 / k, weight: 1 - 1 / k }
    const { real: z, generated: mine, loss } = await firstLoss({ temperature, swapped, ...weights })
    const distillation = swapped ? soft(mine, theirs, temperature) : soft(theirs, mine, temperature)
    expectClose([loss], [crossEntropy(z, real.labels) / k + (1 - 1 / k) * distillation], tolerance(device, 1e-5))
    const other = swapped ? soft(theirs, mine, temperature) : soft(mine, theirs, temperature)
    expect(Math.abs(distillation - other)).toBeGreaterThan(0.1)
  })

  it('needs as many images for every step, and logits for each', async () => {
    const native = await call((addon) => addon.createClassifier({ channels: 1, classes, device: 'cpu', seed: 3 }))
    onTestFinished(() => native.dispose())
    const train = (steps: number, logits: Float32Array) =>
      call(() =>
        native.train(
          {
            ...{ pool: [], batchSize: 4, lr: 1e-3, horizontalFlip: false, shift: 0, dropout: 0 },
            ...{ steps, milliseconds: 0 },
            softLabelled: {
              ...{ temperature: 2, swapped: false, labelledWeight: 1, weight: 1 },
              images: { ...generated, count: 3, data: generated.data.subarray(0, 3 * 64) },
              logits,
            },
          },
          new Int32Array(1),
        ),
      )
    expect(() => train(2, new Float32Array(3 * classes))).toThrow(/each of 2 steps.*found 3 images/)
    expect(() => train(3, new Float32Array(3))).toThrow(/4 logits for each image; found 3 images and 3 logits/)
  })
})

describe('Solver', () => {
  let generator: Learner

  beforeAll(async () => {
    generator = await taught()
    return () => generator.dispose()
  })

  /** A learner that has learned the first task well enough that its images are of the first two classes. */
  async function taught(): Promise<Learner> {
    const { Learner } = await import('../lib/index.js')
    const learner = await Learner.create({ unet: tinyUNet, device: 'cpu', precision: 'fp32', seed: 1, ema: 0.95 })
    await collect(learner.learn(first, finetune(), { steps: 300, batchSize: 32, lr: 3e-3 }))
    return learner
  }

  it('learns each task once, and in order', async () => {
    const solver = await solverOf()
    expect((await failure(solver.learn(second, null))).message).toMatch(/has learned 0 tasks; expected 1/)
    await solver.learn(first, null, { epochs: 1 })
    expect((await failure(solver.learn(first, null))).message).toMatch(/has learned 1 tasks; expected 0/)
    expect(await solver.learn(second, null, { epochs: 1 })).toHaveLength(2)
    expect(solver.accuracies.map(({ length }) => length)).toEqual([1, 2])
  })

  it('weighs real images by 1/k and generated ones by 1 − 1/k, with soft labels of its old self', async () => {
    const solver = await solverOf()
    await solver.learn(first, null, { epochs: 2, batchSize: 16 })
    const { images, labels } = batchOf(second)
    const count = images.count
    const replayed = await generator.sampleFor({ purpose: 'replay', part: 0 }, { count, batchSize: count, seed: 1 })
    const before = {
      real: (await solver.classify(images)).logits,
      replayed: (await solver.classify(replayed)).logits,
    }
    const losses: number[] = []
    const onProgress = ({ loss }: { loss: number }) => losses.push(loss)
    await solver.learn(second, generator, { epochs: 1, batchSize: count, dropout: 0, onProgress })
    // In the first step the solver is still its old self: the distillation is the entropy of its softened predictions.
    const entropy = soft(before.replayed, before.replayed, 2)
    expect(losses).toHaveLength(1)
    expectClose(losses, [crossEntropy(before.real, labels) / 2 + entropy / 2], 1e-5)
  })

  describe('with the classes that a conditional generator was asked for as targets', () => {
    const target = 'labels'

    async function conditional(): Promise<Learner> {
      const learner = await tinyLearner({ unet: { ...tinyUNet, num_class_embeds: 4 } })
      await collect(learner.learn(first, finetune(), { steps: 2, batchSize: 8 }))
      return learner
    }

    it('weighs their cross-entropy by 1 − 1/k', async () => {
      const learner = await conditional()
      const [solver, drawing] = [await solverOf(), await solverOf()]
      for (const each of [solver, drawing]) await each.learn(first, null, { epochs: 2, batchSize: 16 })
      const { images, labels } = batchOf(second)
      const { count } = images
      const asked = Int32Array.from({ length: count }, (_, i) => first.classes[i % 2]!)
      const options = { count, batchSize: count, seed: 1, labels: asked }
      const replayed = await learner.sampleFor({ purpose: 'replay', part: 0 }, options)
      const real = crossEntropy((await solver.classify(images)).logits, labels)
      const expected = crossEntropy((await solver.classify(replayed)).logits, [...asked])
      const losses: number[] = []
      const learning = {
        epochs: 1,
        batchSize: count,
        dropout: 0,
        target,
        onProgress: ({ loss }: { loss: number }) => losses.push(loss),
      } as const
      await solver.learn(second, learner, learning)
      expectClose(losses, [real / 2 + expected / 2], 1e-5)

      // From a pool of one image every draw is this image.
      const one = { ...replayed, data: replayed.data.slice(0, 64), count: 1, labels: Int32Array.of(3) }
      const alone = crossEntropy((await drawing.classify(one)).logits, [3])
      losses.length = 0
      await drawing.learn(second, learner, { ...learning, replay: one })
      expectClose(losses, [real / 2 + alone / 2], 1e-5)
    })

    it('takes the labels of a replay pool', async () => {
      const learner = await conditional()
      const method = generativeReplay({ pool: { images: 6 } })
      const replay = await learner.replayPool(second, method, { steps: 2, batchSize: 4 })
      expect(replay!.labels).toEqual(Int32Array.from([0, 0, 0, 1, 1, 1], (i) => first.classes[i]!))
      const solver = await solverOf()
      await solver.learn(first, learner, { epochs: 1, target })
      expect(await solver.learn(second, learner, { epochs: 1, target, replay })).toHaveLength(2)
    })

    it('refuses a generator or images without labels', async () => {
      const solver = await solverOf()
      const unlabelled = await failure(solver.learn(first, generator, { target }))
      expect(unlabelled.message).toMatch(/the generator takes no labels; expected 'soft-labels'/)
      const learner = await conditional()
      await solver.learn(first, null, { epochs: 1 })
      const { labels: _, ...replay } = { ...batchOf(first).images, labels: 0 }
      for (const labels of [undefined, Int32Array.of(0), new Int32Array(replay.count).fill(4)]) {
        const error = await failure(
          solver.learn(second, learner, { target, replay: { ...replay, ...(labels && { labels }) } }),
        )
        expect(error.message).toMatch(/replay\.labels is .*; expected an Int32Array of 48, a class index 0 … 3/)
      }
    })
  })

  it('takes replay of its own shape, and only beside a generator; what it refuses leaves it as it was', async () => {
    const solver = await solverOf()
    await solver.learn(first, generator, { epochs: 1, batchSize: 16 })
    const { images: replay } = batchOf(first)
    const wide = { ...replay, width: 16, count: replay.count / 2 }
    expect((await failure(solver.learn(second, generator, { replay: wide }))).message).toMatch(
      /of replay are 8 × 16 × 1/,
    )
    expect((await failure(solver.learn(second, null, { replay }))).message).toMatch(
      /replay is given, and the generator is null/,
    )
    await solver.save(path.join(await temporaryFolder(), 'solver'))
  })

  it.each(['standard', 'paper'] as const)('remembers the first task through replay (%s)', async (distillation) => {
    const [replaying, forgetting] = [await solverOf(), await solverOf()]
    const options = { epochs: 25, batchSize: 16, lr: 3e-3, distillation }
    for (const solver of [replaying, forgetting]) {
      expect(await solver.learn(first, solver === replaying ? generator : null, options)).toEqual([1])
    }
    const row = await replaying.learn(second, generator, options)
    const [withReplay, second2] = row as [number, number]
    const [without, alone] = (await forgetting.learn(second, null, options)) as [number, number]
    // By chance one of four; a solver that has only seen the second task's classes last predicts those.
    expect(without).toBeLessThan(0.25)
    expect(withReplay).toBeGreaterThan(0.7)
    expect(second2).toBeGreaterThan(0.7)
    expect(alone).toBe(1)
    expect(replaying.accuracies).toEqual([[1], row])
    expect(replaying.tasksLearned).toBe(2)
    expect(await replaying.accuracy(first)).toBe(withReplay)
    expect(await replaying.accuracy(second.test)).toBe(second2)
  })

  it('same seed, same logits; another seed, others', async () => {
    const logits = async (seed: number) => {
      const solver = await solverOf(stream, { seed })
      for (const task of stream) await solver.learn(task, generator, { epochs: 1, batchSize: 16 })
      return (await solver.classify(batchOf(first).images)).logits
    }
    const [a, b, c] = [await logits(1), await logits(1), await logits(2)]
    expect(b).toEqual(a)
    expect(c).not.toEqual(a)
  })

  it('aborted, rejects with the reason, and learns the task when asked again', async () => {
    const solver = await solverOf()
    await solver.learn(first, null, { epochs: 1 })
    const controller = new AbortController()
    const learning = solver.learn(second, generator, {
      epochs: 1e6,
      batchSize: 8,
      signal: controller.signal,
      onProgress: ({ step }) => step === 2 && controller.abort('enough'),
    })
    expect((await failure(solver.learn(second, null))).message).toMatch(/is already learning a task/)
    await expect(learning).rejects.toBe('enough')
    expect(solver.tasksLearned).toBe(1)
    expect(await solver.learn(second, generator, { epochs: 1, batchSize: 16 })).toHaveLength(2)
  })

  it('spoilt by its only update, whose loss was finite, has not learned the task', async () => {
    const solver = await solverOf()
    const { length } = first.train.indices
    const error = await failure(solver.learn(first, null, { epochs: 1, batchSize: length, lr: 1e38 }))
    expect(error.code).toBe('ERR_DIVERGED')
    expect(error.message).toMatch(/^the solver of .* has logits that are not finite/)
    expect([solver.tasksLearned, solver.accuracies.length]).toEqual([0, 0])
  })

  it('refuses what cannot be learned before it trains', async () => {
    const solver = await solverOf()
    const refusal = async (...args: Parameters<Solver['learn']>) => {
      const error = await failure(solver.learn(...args))
      expect(error.code).toBe('ERR_INVALID_ARGUMENT')
      return error.message
    }
    expect(await refusal(second, generator)).toMatch(/the solver has learned 0 tasks; expected 1/)
    await solver.learn(first, null, { epochs: 1 })
    const fresh = await tinyLearner()
    expect(await refusal(second, fresh)).toMatch(/the generator has learned 0 tasks; expected 1.*before the generator/)
    expect(await refusal(second, null, { epoch: 1 } as never)).toMatch(
      /unknown option 'epoch' \(did you mean 'epochs'\?\)/,
    )
    expect(await refusal(second, null, { temperature: 0 })).toMatch(/temperature is 0/)
    expect(await refusal(second, null, { distillation: 'papers' as never })).toMatch(/distillation is 'papers'/)
    const wide = { ...second, train: { ...second.train, dataset: bands('wide/train', 24, 16) } }
    expect(await refusal(wide, null)).toMatch(/of wide\/train are 16 × 16 × 1; expected 8 × 8 × 1/)
    const renamed = { ...second.train.dataset, classes: ['a', 'b', 'c', 'd'] }
    expect(await refusal({ ...second, train: { ...second.train, dataset: renamed } }, null)).toMatch(/classes of/)
    expect(solver.accuracies).toHaveLength(1)
    const none = { dataset: second.test.dataset, indices: new Int32Array() }
    expect((await failure(solver.accuracy(none))).message).toMatch(/no images of bands\/test/)
    await solver.dispose()
    await solver.dispose()
    expect((await failure(solver.accuracy(first))).code).toBe('ERR_DISPOSED')
    expect((await failure(solver.learn(second, null))).code).toBe('ERR_DISPOSED')
  })
})
