import { expect, it } from 'vitest'
import { finetune, Learner, type UNetConfig } from '../lib/index.js'
import { fp32Learner } from './support/native.js'
import { bandsStream, tinyUNet } from './support/tiny.js'

const side = 32
const pixels = side * side

/** One residual block of one channel, whose activation is 1 everywhere, and which is all that the network shows. */
const oneBlock: UNetConfig = {
  ...tinyUNet,
  sample_size: side,
  block_out_channels: [1],
  down_block_types: ['DownBlock2D'],
  up_block_types: ['UpBlock2D'],
  mid_block_type: null,
  layers_per_block: 0,
  norm_num_groups: 1,
  act_fn: 'relu',
}

it('drops a number with its probability, and divides the rest', async () => {
  const probability = 0.3
  const native = await fp32Learner({ ...oneBlock, dropout: probability }, 'cpu')
  const centre = Float32Array.from({ length: 9 }, (_, i) => (i === 4 ? 1 : 0))
  const values = new Map([
    ['up_blocks.0.resnets.0.norm2.bias', Float32Array.of(1)],
    ['up_blocks.0.resnets.0.conv2.weight', centre],
    ['conv_norm_out.weight', Float32Array.of(1)],
    ['conv_out.weight', centre],
  ])
  await native.write(
    'student',
    native.parameters.map(({ name, shape }) => values.get(name) ?? new Float32Array(shape.reduce((n, m) => n * m, 1))),
  )
  const image = { data: new Float32Array(pixels), shape: [1, 1, side, side] }
  const loss = async (dropsOut: boolean) =>
    (await native.computeGiven(image, Int32Array.of(3), image, Float32Array.of(1), undefined, dropsOut)).loss
  expect(await loss(false)).toBeLessThan(1e-6) // a constant, whose norm is 0
  // silu of a mask of ones and zeros, normalised.
  const of = (kept: number) => {
    const deviation = Math.sqrt(kept * (1 - kept))
    const silu = (x: number) => x / (1 + Math.exp(-x))
    return kept * silu((1 - kept) / deviation) ** 2 + (1 - kept) * silu(-kept / deviation) ** 2
  }
  const found = await loss(true)
  expect(of(0.64)).toBeGreaterThan(found) // four standard deviations of the share of 1024
  expect(of(0.76)).toBeLessThan(found)
  expect(await loss(true)).toBe(found)
  native.dispose()
})

const options = { device: 'cpu', precision: 'fp32', seed: 3, unet: { ...tinyUNet, dropout: 0.2 } } as const

async function weightsAfter(learner: Learner, steps: number, stopAt?: number): Promise<Float32Array> {
  const settings = { steps, batchSize: 4, lr: 1e-3 }
  for await (const _ of learner.learn(bandsStream().tasks[0]!, finetune(), settings)) {
    if (stopAt !== undefined && learner.stepsDone >= stopAt) break
  }
  return learner.predict(new Float32Array(64).fill(0.5), Int32Array.of(10))
}

it('is a function of seed and step: learning again, or resumed, gives the same weights', async () => {
  await using first = await Learner.create(options)
  await using second = await Learner.create(options)
  await using without = await Learner.create({ ...options, unet: tinyUNet })
  const expected = await weightsAfter(first, 6)
  expect(await weightsAfter(without, 6)).not.toEqual(expected)
  await weightsAfter(second, 6, 1)
  for await (const _ of second.learn(bandsStream().tasks[0]!, finetune(), {
    steps: 6,
    batchSize: 4,
    lr: 1e-3,
    resume: true,
  }));
  expect(await second.predict(new Float32Array(64).fill(0.5), Int32Array.of(10))).toEqual(expected)
})

it('does not depend on how a batch is split', async () => {
  await using whole = await Learner.create({ ...options, threads: 1 })
  await using split = await Learner.create({ ...options, threads: 2 })
  const step = {
    xt: new Float32Array(4 * 64).map((_, i) => Math.sin(i)),
    timesteps: Int32Array.of(1, 200, 500, 900),
    target: new Float32Array(4 * 64),
    dropout: true,
  }
  const [a, b] = [await whole.step(step), await split.step(step)]
  expect(a.loss).toBeCloseTo(b.loss, 5)
  expect((await whole.step({ ...step, dropout: false })).loss).not.toBeCloseTo(a.loss, 4)
})
