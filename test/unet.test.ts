import { readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { diffusersVersion } from '../lib/config/unet.js'
import type { NativeLearner } from '../lib/engine/native-learner.js'
import { ContinualDiffusionError, parseUNetConfig, presets, toDiffusersConfig } from '../lib/index.js'
import { devices, type TestDevice, tolerance } from './support/devices.js'
import { expectClose, Golden, goldenJson, goldenPath, goldenUNet } from './support/golden.js'
import { fp32Learner } from './support/native.js'
import { tinyUNet } from './support/tiny.js'

async function expectGolden(native: NativeLearner, folder: string, device: TestDevice): Promise<void> {
  const io = await Golden.read(`${folder}/io.safetensors`)
  const sample = io.tensor('sample')
  const timesteps = io.integers('timestep')
  const { data } = await native.predict('student', sample, timesteps)
  expectClose(data, io.tensor('output').data, tolerance(device, 1e-4), 'output')
  const ones = new Float32Array(timesteps.length).fill(1)
  const { loss, gradNorm } = await native.computeGiven(sample, timesteps, io.tensor('target'), ones)
  expectClose([loss], [io.scalar('loss')], tolerance(device, 1e-5), 'loss')
  expectClose([gradNorm], [io.scalar('grad_norm')], tolerance(device, 1e-4), 'gradient norm')
}

interface Manifest {
  parameters: number
  state_dict: [name: string, shape: number[]][]
}

/** Configurations that between them have every kind of block and every option; see test/fixtures/golden/README.md. */
const oddOnes = readdirSync(goldenPath('unets')).filter((name) => name.startsWith('odd-'))

describe.each(devices)("the U-Net is diffusers' UNet2DModel, on %s", (device) => {
  it.each(['tiny-gray', 'tiny-rgb'])('%s: names, shapes, output, loss and gradient norm', async (name) => {
    const native = await fp32Learner(goldenUNet(`unet/${name}/config.json`), device)
    const { state_dict } = goldenJson<Manifest>(`unet/${name}/manifest.json`)
    const found = native.parameters.map(({ name, shape }) => [name, [...shape]] as const)
    expect(new Map(found)).toEqual(new Map(state_dict))
    const weights = await Golden.read(`unet/${name}/diffusion_pytorch_model.safetensors`)
    await native.write('student', weights.weights(native))
    await expectGolden(native, `unet/${name}`, device)
    native.dispose()
  })

  it("the paper's Fashion-MNIST U-Net, filled by the rule", async () => {
    const native = await fp32Learner(goldenUNet('unet/fmnist-paper/config.json'), device)
    const { state_dict, parameters } = goldenJson<Manifest>('unet/fmnist-paper/manifest.json')
    const filled = new Map(state_dict.map(([name, shape], k) => [name, fill(name, shape, k)]))
    expect([...filled.values()].reduce((sum, { length }) => sum + length, 0)).toBe(parameters)
    await native.write(
      'student',
      native.parameters.map(({ name }) => filled.get(name) as Float32Array),
    )
    await expectGolden(native, 'unet/fmnist-paper', device)
    native.dispose()
  })

  it.each(oddOnes)('%s: prediction, loss and gradient norm', async (name) => {
    const config = goldenUNet(`unets/${name}/config.json`)
    const native = await fp32Learner(config, device)
    const weights = await Golden.read(`unets/${name}/diffusion_pytorch_model.safetensors`)
    expect(new Set(weights.names)).toEqual(new Set(native.parameters.map((parameter) => parameter.name)))
    await native.write('student', weights.weights(native))
    const io = await Golden.read(`unets/${name}/io.safetensors`)
    const at = io.numbers('timesteps')
    const isWhole = at.every(Number.isInteger) && config.time_embedding_type !== 'fourier'
    const timesteps = isWhole ? Int32Array.from(at) : Float32Array.from(at)
    const given = io.names.includes('class_labels') ? io.numbers('class_labels') : undefined
    const labels = given && (config.class_embed_type === 'identity' ? Float32Array.from(given) : Int32Array.from(given))
    const sample = io.tensor('sample')
    const { data } = await native.predict('student', sample, timesteps, labels)
    expectClose(data, io.tensor('prediction').data, tolerance(device, 1e-4), 'prediction')
    const ones = new Float32Array(at.length).fill(1)
    const { loss, gradNorm } = await native.computeGiven(sample, timesteps, io.tensor('target'), ones, labels)
    expectClose([loss], [io.scalar('loss')], tolerance(device, 1e-5), 'loss')
    expectClose([gradNorm], [io.scalar('grad_norm')], tolerance(device, 1e-4), 'gradient norm')
    native.dispose()
  })

  it('the presets have the sizes of the networks of the paper', async () => {
    for (const [preset, parameters] of [
      [presets.fashionMnist, 42_855_873],
      [presets.cifar10, 35_746_307],
    ] as const) {
      const native = await fp32Learner(preset, device)
      const total = native.parameters.reduce((sum, { shape }) => sum + shape.reduce((n, size) => n * size, 1), 0)
      expect(total).toBe(parameters)
      native.dispose()
    }
    expect(presets.fashionMnist).toEqual(goldenUNet('unet/fmnist-paper/config.json'))
  })
})

describe('attention heads', () => {
  const made = (attention_head_dim: number | null, change = {}) =>
    fp32Learner({ ...tinyUNet, ...change, attention_head_dim }, 'cpu')
  const predict = async (native: NativeLearner) =>
    (await native.predict('student', { data: fill('x', [2, 64], 1), shape: [2, 1, 8, 8] }, Int32Array.of(3, 700))).data

  it('that do not come out even are fewer, and null is one, as in diffusers', async () => {
    const [even, one, uneven] = [await made(16), await made(null), await made(12)]
    const shapes = new Map(uneven.parameters.map(({ name, shape }) => [name, [...shape]]))
    // diffusers' Attention(16, heads=16 // 12, dim_head=12) has an inner dimension of 12.
    expect(shapes.get('mid_block.attentions.0.to_q.weight')).toEqual([12, 16])
    expect(shapes.get('mid_block.attentions.0.to_out.0.weight')).toEqual([16, 12])
    const weights = uneven.parameters.map(({ name, shape }, k) => fill(name, shape, k))
    await uneven.write('student', weights)
    // The same in a head of 16 channels of which 4 are zero; q makes up for the scale 1/√16 in place of 1/√12.
    const padded = uneven.parameters.map(({ name }, k) => {
      const values = weights[k] as Float32Array
      if (name.endsWith('to_out.0.weight'))
        return Float32Array.from({ length: 256 }, (_, i) => (i % 16 < 12 ? values[(i >> 4) * 12 + (i % 16)]! : 0))
      if (!/to_[qkv]\./.test(name)) return values
      const scale = name.includes('to_q') ? Math.sqrt(16 / 12) : 1
      return Float32Array.from({ length: (values.length / 12) * 16 }, (_, i) => (values[i] ?? 0) * scale)
    })
    const expected = await predict(uneven)
    for (const native of [even, one]) {
      await native.write('student', padded)
      expectClose(await predict(native), expected, 1e-5, 'prediction')
    }
    for (const native of [even, one, uneven]) native.dispose()
  })

  it('may be wider than a block that does not attend', async () => {
    const blocks = {
      down_block_types: ['DownBlock2D', 'DownBlock2D'],
      up_block_types: ['UpBlock2D', 'UpBlock2D'],
    } as const
    for (const native of [await made(16), await made(999, { ...blocks, add_attention: false })]) {
      expect((await predict(native)).every(Number.isFinite)).toBe(true)
      native.dispose()
    }
  })
})

function failure(refused: () => unknown): string {
  try {
    refused()
  } catch (error) {
    return (error as Error).message
  }
  return 'nothing is wrong'
}

/** The rule in test/fixtures/golden/README.md. */
function fill(name: string, shape: readonly number[], k: number): Float32Array {
  const count = shape.reduce((product, n) => product * n, 1)
  const inRow = count / (shape[0] as number)
  return Float32Array.from({ length: count }, (_, j) => {
    const s = Math.sin(0.37 * j + 1.7 * k)
    if (shape.length >= 2) return s / Math.sqrt(inRow)
    return name.endsWith('weight') ? 1 + 0.1 * s : 0.01 * s
  })
}

describe('config.json', () => {
  const given = goldenJson<Record<string, unknown>>('unet/tiny-gray/config.json')

  it.each(['tiny-gray', 'tiny-rgb', 'fmnist-paper'])('%s is written as diffusers wrote it', (name) => {
    const json = goldenJson<Record<string, unknown>>(`unet/${name}/config.json`)
    const written = toDiffusersConfig(parseUNetConfig(json, name))
    expect(JSON.stringify(written)).toBe(JSON.stringify({ ...json, _diffusers_version: diffusersVersion }))
  })

  it("takes diffusers' defaults for what is left out", () => {
    const { sample_size, block_out_channels, down_block_types, up_block_types } = given
    const parsed = parseUNetConfig({ sample_size, block_out_channels, down_block_types, up_block_types }, 'here')
    expect(parsed).toMatchObject({
      in_channels: 3,
      out_channels: 3,
      layers_per_block: 2,
      norm_eps: 1e-5,
      freq_shift: 0,
    })
  })

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['another class embedding', { class_embed_type: 'projection' }, /class_embed_type is 'projection'; expected/],
    ['dropout', { dropout: 1.5 }, /dropout is 1.5; expected at most 1/],
    ['another activation', { act_fn: 'tanh' }, /act_fn is 'tanh'; expected 'silu', 'swish'/],
    [
      'scale and shift',
      { resnet_time_scale_shift: 'ada_group' },
      /is 'ada_group'; expected 'default' or 'scale_shift'/,
    ],
    ['another downsampling', { downsample_type: 'pool' }, /downsample_type is 'pool'; expected 'conv' or 'resnet'/],
    ['another time embedding', { time_embedding_type: 'sigma' }, /time_embedding_type is 'sigma'; expected/],
    ['a table without a length', { time_embedding_type: 'learned' }, /num_train_timesteps is null; expected a number/],
    ['another class', { _class_name: 'UNet2DConditionModel' }, /_class_name is 'UNet2DConditionModel'/],
    [
      'a block that needs a text',
      { down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D'] },
      /down_block_types\[1\] is 'CrossAttnDown.*attends to a text/,
    ],
    [
      'a block of an autoencoder',
      { up_block_types: ['UpDecoderBlock2D', 'UpBlock2D'] },
      /up_block_types\[0\] is 'UpDecoderBlock2D'.*autoencoder/,
    ],
    [
      'skip blocks for grey images',
      { down_block_types: ['SkipDownBlock2D', 'DownBlock2D'] },
      /down_block_types\[0\] is 'SkipDownBlock2D'.*3 channels, and in_channels is 1/,
    ],
    [
      'blocks that do not meet',
      { up_block_types: ['KUpBlock2D', 'UpBlock2D'] },
      /up_block_types\[1\] is 'UpBlock2D'; expected another block: the feature maps/,
    ],
    ['an unknown key', { norm_num_group: 8 }, /unknown option 'norm_num_group' \(did you mean 'norm_num_groups'\?\)/],
    ['a size that the blocks cannot halve', { sample_size: 15 }, /sample_size is 15; expected a multiple of 2/],
    ['a width that they cannot', { sample_size: [16, 15] }, /sample_size is \[ 16, 15 \]; expected a multiple of 2/],
    ['lists of different lengths', { up_block_types: ['UpBlock2D'] }, /up_block_types is .*; expected 2 entries/],
    [
      'widths that the groups do not divide',
      { block_out_channels: [32, 48] },
      /\[1\] is 48; expected a multiple of norm/,
    ],
    ['no groups where blocks need them', { norm_num_groups: null }, /norm_num_groups is null; expected a number/],
    ['a head wider than a block that attends', { attention_head_dim: 96 }, /is 64; expected at least attention_head/],
    ['seventeen channels', { in_channels: 17, out_channels: 17 }, /in_channels is 17; expected at most 16/],
    ['nothing to divide by', { mid_block_scale_factor: 0 }, /mid_block_scale_factor is 0; expected a number other/],
  ])('refuses %s by name', (_, change, message) => {
    const { _class_name: name, _diffusers_version: version, ...own } = given
    const parse = () => parseUNetConfig({ ...own, ...change }, 'a/config.json')
    expect(parse).toThrow(ContinualDiffusionError)
    expect(parse).toThrow(message)
    expect(parse).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }))
    expect(parse).toThrow(/^a\/config\.json: /)
  })

  it('names all that is wrong at once', () => {
    const parse = () => parseUNetConfig({ ...given, act_fn: 'tanh', dropout: -1, layers_per_block: 1.5 }, 'here')
    expect(parse).toThrow(/act_fn is .*; dropout is .*|dropout is .*; act_fn is .*/)
    expect(parse).toThrow(/layers_per_block is 1.5/)
  })

  it('names what options say of each other beside an option that is wrong by itself', () => {
    const parse = (change: object) => parseUNetConfig({ ...given, ...change }, 'here')
    const together = { block_out_channels: [32, 48], sample_size: 15, time_embedding_type: 'learned' }
    const message = /\[1\] is 48; expected a multiple of norm.*sample_size is 15;.*num_train_timesteps is null/
    expect(() => parse({ ...together, act_fn: 'tanh' })).toThrow(/act_fn is 'tanh'/)
    expect(() => parse({ ...together, act_fn: 'tanh' })).toThrow(message)
    for (const key of Object.keys(given).filter((key) => !key.startsWith('_'))) {
      const refusal = /^here: (\w+)[^;]*;[^;]*$/.exec(failure(() => parse({ [key]: Symbol('wrong') })))
      expect(refusal?.[1], key).toBe(key)
    }
  })

  it('takes other words for the same, and what has no effect', () => {
    const change = {
      act_fn: 'SWISH',
      num_train_timesteps: 1000,
      time_embedding_dim: 0,
      sample_size: [16, 16],
      decay: 0.99,
    }
    const blocks = { down_block_types: ['UNetResDownBlock2D', 'UNetResAttnDownBlock2D'] }
    expect(parseUNetConfig({ ...given, ...change, ...blocks }, 'here')).toEqual({
      ...parseUNetConfig(given, 'here'),
      num_train_timesteps: 1000,
    })
  })

  it('takes a K block without residual blocks at the lowest level alone, as diffusers', () => {
    const parse = (down: string[]) => {
      const blocks = {
        down_block_types: down,
        up_block_types: ['UpBlock2D', 'UpBlock2D'],
        block_out_channels: [32, 32],
      }
      return parseUNetConfig({ ...given, ...blocks, layers_per_block: 0 }, 'here')
    }
    for (const type of ['KDownBlock2D', 'KCrossAttnDownBlock2D']) {
      expect(parse(['DownBlock2D', type]).layers_per_block).toBe(0)
      expect(() => parse([type, 'DownBlock2D'])).toThrow()
    }
  })

  it('warns of what it does not know in a config.json, once', async () => {
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
    parseUNetConfig({ ...given, norm_num_group: 8, odd: 1, power: 0.75 }, 'a/config.json')
    const { message } = await warned
    expect(message).toMatch(/^a\/config\.json: unknown option 'norm_num_group' \(did you mean/)
    expect(message.match(/known: /g)).toHaveLength(1)
    expect(message).toContain("'odd'")
    expect(message).not.toContain('power')
  })
})
