import { describe, expect, it } from 'vitest'
import { devices, tolerance } from './support/devices.js'
import { expectClose } from './support/golden.js'
import { failure, tensorsOf, tinyLearner, tinyUNet } from './support/tiny.js'

describe('a training loop of one’s own', () => {
  const count = 2 * tinyUNet.sample_size ** 2
  const xt = Float32Array.from({ length: count }, (_, i) => Math.sin(i))
  const target = Float32Array.from({ length: count }, (_, i) => Math.cos(3 * i))
  const timesteps = Int32Array.of(10, 700)

  it.each(devices)('step gives the weighted mean squared error of predict, and lowers it, on %s', async (device) => {
    const learner = await tinyLearner({ device })
    const weight = Float32Array.of(2, 0.5)
    const expected = async () => {
      const prediction = await learner.predict(xt, timesteps)
      const errors = Array.from(prediction, (value, i) => (value - (target[i] as number)) ** 2)
      return errors.reduce((sum, error, i) => sum + error * (weight[i < count / 2 ? 0 : 1] as number), 0) / count
    }
    const before = await expected()
    const { loss } = await learner.step({ xt, timesteps, target, weight, lr: 1e-2 })
    expectClose([loss], [before], tolerance(device, 1e-5))
    for (let i = 0; i < 20; i++) await learner.step({ xt, timesteps, target, weight, lr: 1e-2 })
    expect(await expected()).toBeLessThan(before / 2)
    expect(learner.stepsDone).toBe(21)
  })

  it('step without clipping moves as the first step of Adam does: by lr against the sign of the gradient', async () => {
    const learner = await tinyLearner()
    const read = async () => (await tensorsOf(learner)).get('diffusion_pytorch_model.safetensors/conv_out.bias')
    const before = (await read()) as Float32Array
    await learner.step({ xt, timesteps, target, lr: 1e-2, clipGradNorm: 0 })
    const after = (await read()) as Float32Array
    expect(Math.abs((after[0] as number) - (before[0] as number))).toBeCloseTo(1e-2, 5)
  })

  it('a step is refused while another is under way, and leaves that one alone', async () => {
    const [one, two] = [await tinyLearner(), await tinyLearner()]
    await one.step({ xt, timesteps, target, lr: 1e-2 })
    const under = two.step({ xt, timesteps, target, lr: 1e-2 })
    const error = await failure(two.step({ xt, timesteps, target: xt, lr: 1e-2 }))
    expect(error.code).toBe('ERR_INVALID_ARGUMENT')
    expect(error.message).toMatch(/^step: a step\(\) is in progress; wait for its end$/)
    await under
    expect(await tensorsOf(two)).toEqual(await tensorsOf(one))
  })

  it('a loss that is not finite leaves the weights as they are', async () => {
    const learner = await tinyLearner()
    const before = await tensorsOf(learner)
    const error = await failure(learner.step({ xt, timesteps, target: target.map(() => 1e30) }))
    expect(error.code).toBe('ERR_DIVERGED')
    expect(await tensorsOf(learner)).toEqual(before)
  })

  it.each<[string, object, RegExp]>([
    ['a target of another length', { target: target.subarray(1) }, /step: target has 127 elements; expected .* 128/],
    ['doubles', { xt: new Float64Array(count) }, /xt is .*expected Float32Array|xt is .*Float32Array/],
    ['a timestep too many', { timesteps: Int32Array.of(1, 1000) }, /timestep 1000; expected 0 … 999/],
    [
      'a weight for each pixel',
      { weight: new Float32Array(count) },
      /weight has 128 elements; expected one for each of 2/,
    ],
  ])('refuses %s', async (_, change, message) => {
    const learner = await tinyLearner()
    const error = await failure(learner.step({ xt, timesteps, target, ...change } as never))
    expect(error.code).toBe('ERR_INVALID_ARGUMENT')
    expect(error.message).toMatch(message)
  })
})
