import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { paperSampler } from '../lib/config/sampler.js'
import { paperSchedule, scheduleTable } from '../lib/config/schedule.js'
import type { Addon, NativeClassifier } from '../lib/engine/addon.js'
import { loadAddon } from '../lib/engine/load.js'
import type { NativeLearner, NativeSession } from '../lib/engine/native-learner.js'
import type { NativeImages } from '../lib/engine/native-values.js'
import { generativeDistillation } from '../lib/methods/index.js'
import { optimizer, resolve } from './support/native.js'
import { tinyUNet } from './support/tiny.js'

// The addon is called as only a mistake in lib/ could call it: with wrong types, shapes and lengths. It may answer as it likes, but by
// a value or an error; under a sanitizer (`npm run sanitize`) it also shows that no byte is touched which isn't its own.

const addon = loadAddon()
const runs = Number(process.env.FUZZ_RUNS ?? 300)

/** Small enough that no valid call takes long, or so large that none can be served. */
const sizes = fc.constantFrom<unknown>(
  0,
  1,
  2,
  3,
  4,
  8,
  -1,
  -8,
  0.5,
  Number.NaN,
  -Infinity,
  -(2 ** 53),
  2 ** 53,
  2 ** 63,
  1e300,
)

const anything: fc.Arbitrary<unknown> = fc.oneof(
  sizes,
  fc.constantFrom<unknown>(undefined, null, true, '', 'cpu', 'student', 'teacher', 'gradient', [], {}, Symbol('x'), 1n),
  fc.constantFrom<unknown>(
    new Float32Array(0),
    new Float32Array(3),
    new Float32Array(64),
    new Float64Array(9),
    new Uint8Array(64),
    new Int32Array([0, 1, -1, 2 ** 31 - 1]),
    new DataView(new ArrayBuffer(8)),
    new Float32Array(new SharedArrayBuffer(256)),
    detached(),
  ),
)

function detached(): Float32Array {
  const array = new Float32Array(64)
  structuredClone(array.buffer, { transfer: [array.buffer] })
  return array
}

/** The arguments of a call, of which some are replaced, at any depth of plain objects and arrays. */
function broken(valid: readonly unknown[]): fc.Arbitrary<unknown[]> {
  return fc
    .array(fc.tuple(fc.array(fc.nat(), { minLength: 1, maxLength: 5 }), anything), { minLength: 1, maxLength: 3 })
    .map((changes) => changes.reduce((args: unknown, [path, by]) => replace(args, path, by), valid) as unknown[])
}

function replace(value: unknown, [first = 0, ...rest]: readonly number[], by: unknown): unknown {
  const keys = Object.keys(value as object)
  if (keys.length === 0) return by
  const key = keys[first % keys.length] as string
  const inside = (value as Record<string, unknown>)[key]
  const plain = Array.isArray(inside) || (inside !== null && Object.getPrototypeOf(inside ?? 0) === Object.prototype)
  const changed = rest.length > 0 && plain ? replace(inside, rest, by) : by
  return Array.isArray(value) ? value.with(Number(key), changed) : { ...(value as object), [key]: changed }
}

interface Objects {
  readonly learner: NativeLearner
  /** Of a network that takes labels, and draws a teacher's images from a pool. */
  readonly conditional: NativeLearner
  readonly session: NativeSession
  readonly replaying: NativeSession
  readonly classifier: NativeClassifier
  readonly images: NativeImages
}

const schedule = scheduleTable(paperSchedule)
const prediction = 'epsilon'
const unet = { unet: tinyUNet, schedule, prediction, device: 'cpu', precision: 'fp32', seed: 1, ema: 0 } as const

async function objects(): Promise<Objects> {
  const learner = await addon.createLearner(unet)
  await learner.freezeTeacher()
  await learner.computeGiven(tensor, timesteps, tensor, new Float32Array(2)) // a gradient for `update`
  const classifier = await addon.createClassifier({ channels: 1, classes: 2, device: 'cpu', seed: 1 })
  const images = await addon.createImages(imageSet)
  const pool = [{ images, indices: Int32Array.of(0, 1, 2) }]
  const objective = resolve({ terms: [{ source: { kind: 'task' }, target: 'data', weight: 1 }] })
  const batches = { task: pool, memory: pool, batchSize: 2, horizontalFlip: false }
  const session = await learner.beginSession({ objective, ...batches, optimizer })
  const conditional = await addon.createLearner({ ...unet, unet: { ...tinyUNet, num_class_embeds: 3 } })
  await conditional.freezeTeacher()
  const { terms } = generativeDistillation().objective(2)
  const labels = { dropout: 0.5, weights: Float64Array.of(1, 2) }
  const ofLabels = { objective: resolve({ terms }), pools: [-1, 0], labels, ...batches, optimizer }
  const replaying = await conditional.beginSession(ofLabels)
  await replaying.setReplay({ pool: 0, images: pool })
  return { learner, conditional, session, replaying, classifier, images }
}

const imageSet = {
  images: new Uint8Array(4 * 64).map((_, i) => i),
  labels: Int32Array.of(0, 1, 0, 1),
  count: 4,
  height: 8,
  width: 8,
  channels: 1,
  size: 0,
  device: 'cpu',
}
const batch = { data: new Uint8Array(128), count: 2, height: 8, width: 8, channels: 1 }
const tensor = { data: new Float32Array(128), shape: [2, 1, 8, 8] }
const timesteps = Int32Array.of(5, 500)
const moments = () => [new Float32Array(6), 0, new Float64Array(3), new Float64Array(9)]

const trained = (images: NativeImages) => ({
  pool: [{ images, indices: Int32Array.of(0, 1, 2) }],
  ...{ batchSize: 2, steps: 1, milliseconds: 1000, lr: 1e-3, shift: 1, horizontalFlip: true, dropout: 0.1 },
})

/** Valid arguments of every call; what they are made with comes first. */
const calls: Readonly<Record<string, (with_: Objects, cancel: Int32Array) => readonly [object, string, unknown[]]>> = {
  createImages: () => [addon, 'createImages', [imageSet]],
  'write of images': ({ images }) => {
    const part = { images: new Uint8Array(128), height: 8, width: 8, channels: 1, from: 1 }
    return [images, 'write', [part]]
  },
  readImages: ({ images }) => [addon, 'readImages', [images, Int32Array.of(0, 3)]],
  createLearner: () => [addon, 'createLearner', [unet]],
  unetParameters: () => [addon, 'unetParameters', [tinyUNet]],
  createClassifier: () => [addon, 'createClassifier', [{ channels: 1, classes: 2, device: 'cpu', seed: 1 }]],
  samplerTimesteps: () => [addon, 'samplerTimesteps', [{ schedule, sampler: paperSampler }]],
  samplerTrajectory: () => {
    const sampler = { ...paperSampler, kind: 'ddpm', steps: 2 }
    const options = { schedule, prediction, sampler, start: tensor }
    return [addon, 'samplerTrajectory', [{ ...options, predictions: [tensor, tensor], noises: [tensor, tensor] }]]
  },
  accumulateMoments: () => [addon, 'accumulateMoments', moments()],
  frechetDistance: () => {
    const moments = { mean: new Float64Array(3), m2: new Float64Array(9), count: 4 }
    return [addon, 'frechetDistance', [moments, moments]]
  },
  kernelDistance: (_, cancel) => {
    const rows = [new Float32Array(6), new Float32Array(9)]
    return [addon, 'kernelDistance', [rows, rows, 3, cancel]]
  },
  coverage: (_, cancel) => {
    const rows = [new Float32Array(6), new Float32Array(9)]
    return [addon, 'coverage', [rows, rows, 3, 2, cancel]]
  },
  loadTorchScript: () => {
    const file = new URL('./fixtures/torchscript/wide.pt', import.meta.url).pathname
    const options = { file, device: 'cpu', size: 8, range: [0, 1], channels: 1, arguments: {}, output: undefined }
    return [addon, 'loadTorchScript', [options]]
  },
  setState: ({ learner }) => [learner, 'setState', [{ seed: 1, step: 0, taskStep: 0, optimizerStep: 0 }]],
  beginSession: ({ learner, images }) => {
    const sampler = { ...paperSampler, steps: 2 }
    const objective = {
      terms: [
        { source: { kind: 'task' }, target: 'data', weight: 1, loss: 'mse', timesteps: [0, 1000] },
        { source: { kind: 'teacher', sampler }, target: 'teacher', weight: 1, loss: { kind: 'min-snr', gamma: 5 } },
      ],
    }
    const pool = [{ images, indices: Int32Array.of(0, 1, 2) }]
    const data = { task: pool, memory: [], batchSize: 2, horizontalFlip: true }
    return [learner, 'beginSession', [{ objective, ...data, optimizer }]]
  },
  'beginSession with labels and pools': ({ conditional, images }) => {
    const sampler = { ...paperSampler, steps: 2, guidance: { scale: 2, timesteps: [0, 500] } }
    const objective = {
      terms: [
        { source: { kind: 'task' }, target: 'data', weight: 1 },
        { source: { kind: 'teacher', sampler }, target: 'teacher', weight: 1 },
        { source: { kind: 'teacher', sampler, stopAtTimestep: true }, target: 'teacher', weight: 1 },
      ],
    }
    const pool = [{ images, indices: Int32Array.of(0, 1, 2) }]
    const data = { task: pool, memory: [], batchSize: 2, horizontalFlip: true }
    const labels = { dropout: 0.1, weights: Float64Array.of(1, 2) }
    return [conditional, 'beginSession', [{ objective, ...data, optimizer, pools: [-1, -1, 0], labels }]]
  },
  'setReplay of a session': ({ replaying, images }) => {
    return [replaying, 'setReplay', [{ pool: 0, images: [{ images, indices: Int32Array.of(3, 3, 0) }] }]]
  },
  'run of a session with labels and a pool': ({ replaying }, cancel) => {
    return [replaying, 'run', [{ steps: 1, milliseconds: 1 }, cancel]]
  },
  'createImages of floats': () => [addon, 'createImages', [{ ...imageSet, images: new Float32Array(4 * 64) }]],
  beginTask: ({ learner }) => [learner, 'beginTask', [true]],
  'predict with labels': ({ conditional }) => {
    return [conditional, 'predict', ['student', tensor, timesteps, Int32Array.of(0, 2)]]
  },
  'computeGiven with labels': ({ conditional }) => {
    return [conditional, 'computeGiven', [tensor, timesteps, tensor, new Float32Array(2), Int32Array.of(0, 2)]]
  },
  'sample with labels': ({ conditional }, cancel) => {
    const sampler = { ...paperSampler, steps: 2, guidance: { scale: 2, timesteps: [0, 500] } }
    const options = { weights: 'teacher', count: 2, batchSize: 2, sampler, seed: 1, use: { purpose: 1, part: 3 } }
    return [conditional, 'sample', [{ ...options, format: 'uint8', labels: Int32Array.of(0, 1) }, cancel]]
  },
  'run of a session': ({ session }, cancel) => [session, 'run', [{ steps: 1, milliseconds: 1 }, cancel]],
  'drawSamples of a session': ({ session }) => {
    return [session, 'drawSamples', [{ penalty: 'a', kind: 'mean-gradient', samples: 2, optimal: false }]]
  },
  'consolidate of a session': ({ session }, cancel) => {
    const squares = { penalty: 'a', kind: 'squared-gradients', samples: 2, timesteps: [0, 1000], decay: 0.5 }
    return [session, 'consolidate', [[squares], cancel]]
  },
  compute: ({ learner }) => {
    const objective = { terms: [{ source: { kind: 'task' }, target: 'data', weight: 1 }] }
    return [learner, 'compute', [objective, [{ x0: tensor, noise: tensor, timesteps }]]]
  },
  computeGiven: ({ learner }) => [learner, 'computeGiven', [tensor, timesteps, tensor, new Float32Array(2)]],
  update: ({ learner }) => [learner, 'update', [optimizer]],
  freezeTeacher: ({ learner }) => [learner, 'freezeTeacher', [0.5]],
  followPath: ({ learner }) => [learner, 'followPath', [false]],
  writePenalty: ({ learner }) => {
    const values = learner.parameters.map(({ shape }) => new Float32Array(shape.reduce((n, size) => n * size, 1)))
    return [learner, 'writePenalty', [{ name: 'b', shape: 'diagonal', anchor: values, importance: values }]]
  },
  predict: ({ learner }) => [learner, 'predict', ['student', tensor, timesteps]],
  sample: ({ learner }, cancel) => {
    const sampler = { ...paperSampler, steps: 2 }
    const use = { purpose: 1, part: 3 }
    const options = { weights: 'teacher', count: 2, batchSize: 2, sampler, seed: 1, use, format: 'float32' }
    return [learner, 'sample', [{ ...options, stopTimesteps: timesteps }, cancel]]
  },
  denoisingLoss: ({ learner, images }, cancel) => {
    const pool = [{ images, indices: Int32Array.of(0, 1, 2) }]
    const options = { weights: 'student', pool, edges: Int32Array.of(0, 500, 1000), samples: 1, batchSize: 2, seed: 1 }
    return [learner, 'denoisingLoss', [options, cancel]]
  },
  has: ({ learner }) => [learner, 'has', ['teacher']],
  read: ({ learner }) => [learner, 'read', ['student']],
  write: ({ learner }) => {
    const values = learner.parameters.map(({ shape }) => new Float32Array(shape.reduce((n, size) => n * size, 1)))
    return [learner, 'write', ['exp_avg', values]]
  },
  classify: ({ classifier }) => [classifier, 'classify', [batch]],
  'train of a classifier': ({ classifier, images }, cancel) => {
    const softLabelled = {
      images: batch,
      logits: new Float32Array(4),
      temperature: 2,
      swapped: false,
      labelledWeight: 1,
      weight: 1,
    }
    return [classifier, 'train', [{ ...trained(images), softLabelled }, cancel]]
  },
  'train of a classifier from a pool': ({ classifier, images }, cancel) => {
    const loss = { temperature: 2, swapped: false, labelledWeight: 1, weight: 1 }
    return [
      classifier,
      'train',
      [{ ...trained(images), softLabelled: { pool: images, logits: new Float32Array(8), ...loss } }, cancel],
    ]
  },
  'write of a classifier': ({ classifier }) => {
    const values = classifier.parameters.map(({ shape }) => new Float32Array(shape.reduce((n, size) => n * size, 1)))
    return [classifier, 'write', [values]]
  },
}

describe('the addon', () => {
  it.each(Object.keys(calls))(
    '%s takes any arguments or throws an error',
    async (name) => {
      const make = calls[name]!
      const with_ = await objects()
      // The call is right as it stands, so that what is refused below is refused for its change.
      const [target, method, valid] = make(with_, Int32Array.of(0))
      await (target as Record<string, (...args: unknown[]) => unknown>)[method]!(...valid)
      let refused = 0
      const property = fc.asyncProperty(broken(valid), async (args) => {
        try {
          const result = await (target as Record<string, (...args: unknown[]) => unknown>)[method]!(...args)
          if (isHandle(result)) result.dispose()
        } catch (error) {
          if (!(error instanceof Error)) throw new Error(`it threw ${inspect(error)}`)
          refused++
        }
      })
      const { errorInstance, counterexample, seed, counterexamplePath } = await fc.check(property, {
        numRuns: runs,
        timeout: 60_000,
      })
      if (errorInstance !== null) {
        const input = inspect(counterexample?.[0], { depth: 6 })
        throw new Error(`failed with seed ${seed}, path ${counterexamplePath}, on ${input}`, { cause: errorInstance })
      }
      if (!takesAnything.has(name)) expect(refused).toBeGreaterThan(0)
      for (const object of Object.values(with_)) object.dispose()
    },
    600_000,
  )
})

/** Of a boolean every value is one. */
const takesAnything = new Set(['followPath', 'beginTask'])

function isHandle(value: unknown): value is { dispose(): void } {
  return typeof value === 'object' && value !== null && typeof (value as { dispose?: unknown }).dispose === 'function'
}

it('a method called on another kind of object is refused', async () => {
  const { learner, classifier, images } = await objects()
  const steal = (method: string, from: object, by: object) => () =>
    (from as Record<string, (...args: unknown[]) => unknown>)[method]!.call(by)
  expect(steal('penalties', learner, images)).toThrow(/Illegal invocation/)
  expect(steal('read', classifier, learner)).toThrow(/Illegal invocation/)
  expect(steal('dispose', images, {})).toThrow(/Illegal invocation/)
  const { createLearner } = addon as Addon
  await expect(createLearner.call(undefined, unet)).resolves.toBeDefined()
})
