import { describe, expect, it, onTestFinished } from 'vitest'
import type { NativeLearner } from '../lib/engine/native-learner.js'
import { finetune, paperSchedule } from '../lib/index.js'
import { createNative } from '../lib/learner/core.js'
import { devices } from './support/devices.js'
import { expectClose, Golden, goldenUNet } from './support/golden.js'
import { bandsStream, tinyLearner } from './support/tiny.js'

/** A learner with the weights of a golden file. */
async function nativeLearner(
  folder: string,
  device: string,
  precision: 'fp32' | 'tf32' | 'bf16',
): Promise<NativeLearner> {
  const unet = goldenUNet(`${folder}/config.json`)
  const native = await createNative({ unet, schedule: paperSchedule, device, precision, ema: 0 }, 0)
  onTestFinished(() => native.dispose())
  const weights = await Golden.read(`${folder}/diffusion_pytorch_model.safetensors`)
  await native.write('student', weights.weights(native))
  return native
}

const relative = (found: number, expected: number) => Math.abs(found - expected) / Math.abs(expected)

/**
 * Of loss and gradient norm, relative to fp32's. A bf16 number has 8 bits and a TF32 one 11; of the errors of many products
 * a good part cancels.
 */
const bounds = { bf16: 1e-2, tf32: 1e-3 }

describe.each(devices)('on %s', (device) => {
  const precisions = { cpu: ['bf16'], cuda: ['bf16', 'tf32'] } as const

  describe.each(precisions[device])('%s', (precision) => {
    it.each(['tiny-gray', 'tiny-rgb'])("loss and gradient norm are fp32's within the bound: %s", async (name) => {
      const io = await Golden.read(`unet/${name}/io.safetensors`)
      const timesteps = io.integers('timestep')
      const compute = async (how: 'fp32' | 'tf32' | 'bf16') => {
        const native = await nativeLearner(`unet/${name}`, device, how)
        const ones = new Float32Array(timesteps.length).fill(1)
        return native.computeGiven(io.tensor('sample'), timesteps, io.tensor('target'), ones)
      }
      const [exact, found] = [await compute('fp32'), await compute(precision)]
      expect(relative(found.loss, exact.loss)).toBeLessThan(bounds[precision])
      expect(relative(found.gradNorm, exact.gradNorm)).toBeLessThan(bounds[precision])
      // It is another precision, and not fp32 under its name.
      expect(found.gradNorm).not.toBe(exact.gradNorm)
    })
  })
})

it.each(devices)(
  'what a learner drew before makes no difference to a sampler with fractional timesteps, on %s',
  async (device) => {
    const euler = { kind: 'euler', steps: 5, spacing: 'linspace' } as const
    const draw = async (learner: Awaited<ReturnType<typeof tinyLearner>>, sampler: object) =>
      (await learner.sample({ count: 4, seed: 3, sampler, format: 'float32' })).data
    const [used, fresh] = [await tinyLearner({ device }), await tinyLearner({ device })]
    // A network is recorded in its third call.
    for (const kind of ['ddim', 'euler'] as const) await draw(used, { kind, steps: 5 })
    expectClose(await draw(used, euler), await draw(fresh, euler), 1e-5, 'images')
  },
)

describe.skipIf(!devices.includes('cuda'))('CUDA in fp32', () => {
  it('gives the images and the losses that the CPU gives', async () => {
    const [task] = bandsStream().tasks as [ReturnType<typeof bandsStream>['tasks'][0]]
    const found = await Promise.all(
      devices.map(async (device) => {
        const learner = await tinyLearner({ device })
        const losses: number[] = []
        const onStep = ({ loss }: { loss: number }) => losses.push(loss)
        for await (const _ of learner.learn(task, finetune(), { steps: 20, batchSize: 8, lr: 1e-3, onStep }));
        return {
          losses,
          bands: await learner.denoisingLoss(task.test),
          images: await learner.sample({ count: 4, seed: 3 }),
        }
      }),
    )
    const [cpu, cuda] = found as [(typeof found)[0], (typeof found)[0]]
    expectClose(cuda.losses, cpu.losses, 1e-2, 'losses')
    const ofBands = ({ bands }: typeof cpu) => bands.map(({ loss }) => loss)
    expectClose(ofBands(cuda), ofBands(cpu), 1e-2, 'denoising losses')
    // Bytes: the rounding of twenty steps of training and ten of sampling may move a few of them.
    const far = cuda.images.data.filter((byte, i) => Math.abs(byte - (cpu.images.data[i] as number)) > 3).length
    expect(far).toBeLessThanOrEqual(cpu.images.data.length / 50)
  })
})
