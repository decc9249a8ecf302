import { describe, expect, it, onTestFinished } from 'vitest'
import { loadAddon } from '../lib/engine/load.js'
import type { NativeImages } from '../lib/engine/native-values.js'
import { finetune, type Learner, type ScheduleConfig, type Subset, schedule } from '../lib/index.js'
import { devices, type TestDevice, tolerance } from './support/devices.js'
import { expectClose } from './support/golden.js'
import { fp32Learner } from './support/native.js'
import { bandsData, bandsStream, collect, failure, tinyLearner, tinyUNet } from './support/tiny.js'

const data = bandsData()
const { images, labels, height, width, channels } = data.test
const count = labels.length
const held: Subset = { dataset: data.test, indices: Int32Array.from(labels.keys()) }

/** The denoising loss of a network whose last layer is all zeros, and whose prediction is 0. */
async function ofZero(
  device: TestDevice,
  prediction: ScheduleConfig['prediction'],
  edges: readonly number[],
  samples: number,
  batchSize = 128,
) {
  const addon = loadAddon()
  const native = await fp32Learner(tinyUNet, device, { schedule: { prediction } })
  const resident: NativeImages = await addon.createImages({
    ...{ images, labels, count, height, width, channels },
    size: 0,
    device,
  })
  onTestFinished(() => {
    native.dispose()
    resident.dispose()
  })
  const weights = await native.read('student')
  const last = native.parameters.findIndex(({ name }) => name === 'conv_out.weight')
  const bias = native.parameters.findIndex(({ name }) => name === 'conv_out.bias')
  await native.write(
    'student',
    weights.map((tensor, i) => (i === last || i === bias ? new Float32Array(tensor.length) : tensor)),
  )
  return native.denoisingLoss(
    {
      weights: 'student',
      pool: [{ images: resident, indices: held.indices }],
      edges: Int32Array.from(edges),
      samples,
      batchSize,
      seed: 5,
    },
    new Int32Array(1),
  )
}

const pixels = Float64Array.from(images, (byte) => byte / 127.5 - 1)
const meanSquare = pixels.reduce((sum, x) => sum + x * x, 0) / pixels.length

describe.each(devices)('on %s', (device) => {
  it('a prediction of 0 to the clean image costs the mean square of the images, whatever the timestep', async () => {
    expectClose(
      await ofZero(device, 'sample', [0, 10, 400, 1000], 3, 9),
      [meanSquare, meanSquare, meanSquare],
      tolerance(device, 1e-5),
    )
  })

  it('a prediction of 0 to the noise costs its variance, 1', async () => {
    const samples = 40
    const spread = Math.sqrt(2 / (count * samples * 64))
    for (const loss of await ofZero(device, 'epsilon', [0, 500, 1000], samples)) {
      expect(Math.abs(loss - 1)).toBeLessThan(5 * spread)
      expect(loss).not.toBe(1)
    }
  })

  it('a band has the timesteps from its first to before its end', async () => {
    // A prediction of 0 to v costs ᾱ + (1 − ᾱ) · mean square of the images: it tells the timesteps apart.
    const { alphasCumprod } = schedule()
    const edges = [0, 1, 500, 501, 999, 1000]
    const samples = 40
    const losses = await ofZero(device, 'v', edges, samples)
    const of = (from: number, to: number) => {
      const alphas = alphasCumprod.subarray(from, to)
      return alphas.reduce((sum, alpha) => sum + alpha + (1 - alpha) * meanSquare, 0) / alphas.length
    }
    const expected = Float64Array.from(losses, (_, b) => of(edges[b] as number, edges[b + 1] as number))
    // The squares of count · samples · 64 numbers of variance near 1, and for wide bands the draws of the timestep.
    const spread = Math.sqrt(2 / (count * samples * 64)) + Math.sqrt(0.1 / (count * samples))
    for (const [b, loss] of losses.entries()) expect(Math.abs(loss - (expected[b] as number))).toBeLessThan(4 * spread)
    // The last timestep has no signal: its target is −x₀ alone.
    expectClose([losses[4] as number], [meanSquare], tolerance(device, 1e-5))
  })
})

it('does not depend on the batch size, and is a function of the seed', async () => {
  const learner = await tinyLearner()
  const loss = async (options: object) =>
    (await learner.denoisingLoss(held, { bands: 4, ...options })).map((b) => b.loss)
  const one = await loss({ seed: 1 })
  expectClose(await loss({ seed: 1, batchSize: 5 }), one, 1e-5)
  expect(await loss({ seed: 1 })).toEqual(one)
  expect(await loss({ seed: 2 })).not.toEqual(one)
  // By default the learner's own seed, which is 1.
  expect(await loss({})).toEqual(one)
})

it('falls as the learner learns, and leaves the learner as it was', async () => {
  const learner = await tinyLearner()
  const task = bandsStream().tasks[0] as ReturnType<typeof bandsStream>['tasks'][0]
  const before = await learner.denoisingLoss(task.test)
  const prediction = await predicted(learner)
  expect(before.map(({ from, to, images, draws }) => [from, to, images, draws])).toEqual(
    Array.from({ length: 10 }, (_, b) => [100 * b, 100 * (b + 1), 16, 16]),
  )
  expect(await predicted(learner)).toEqual(prediction)
  await collect(learner.learn(task, finetune(), { steps: 60, batchSize: 16, lr: 3e-3 }))
  const after = await learner.denoisingLoss(task.test)
  const mean = (bands: typeof before) => bands.reduce((sum, { loss }) => sum + loss, 0) / bands.length
  expect(mean(after)).toBeLessThan(0.7 * mean(before))
  // The other task's images too, as another subset beside it.
  const [both] = await learner.denoisingLoss([task.test, held], { bands: [0, 50], samples: 2 })
  expect(both).toMatchObject({ from: 0, to: 50, images: 48, draws: 96 })
})

function predicted(learner: Learner): Promise<Float32Array> {
  return learner.predict(
    Float32Array.from({ length: 64 }, (_, i) => i / 64),
    Int32Array.of(7),
  )
}

it('says what is wrong with bands and images, and can be aborted', async () => {
  const learner = await tinyLearner()
  const message = async (options: object, subset = held) =>
    (await failure(learner.denoisingLoss(subset, options))).message
  expect(await message({ bands: 1001 })).toMatch(/bands is 1001; expected at most the schedule's 1000 timesteps/)
  expect(await message({ bands: [0, 5, 5] })).toMatch(/bands\[2\] is 5; expected edges that rise/)
  expect(await message({ bands: [0, 1001] })).toMatch(/bands\[1\] is 1001; .* at most 1000/)
  expect(await message({ bands: [0] })).toMatch(/bands/)
  expect(await message({ samples: 0 })).toMatch(/samples is 0/)
  expect(await message({}, { ...held, indices: new Int32Array() })).toMatch(/there are no images/)
  expect(await message({}, { dataset: bandsData(16).test, indices: held.indices })).toMatch(/16 × 16; expected 8 × 8/)
  const controller = new AbortController()
  const measuring = learner.denoisingLoss(held, { samples: 100_000, signal: controller.signal })
  setTimeout(() => controller.abort('enough'), 50)
  await expect(measuring).rejects.toBe('enough')
})
