import { describe, expect, it } from 'vitest'
import { readSafetensors } from '../lib/files/safetensors.js'
import { devices } from './support/devices.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { tinyLearner, tinyUNet } from './support/tiny.js'

describe('moving average of the weights', () => {
  it.each(devices)('is what sampling uses and what is saved as the model, on %s', async (device) => {
    const decay = 0.9
    const learner = await tinyLearner({ ema: decay, device })
    const weights = async (file: string) => {
      const folder = await temporaryFolder()
      await learner.save(folder)
      const { tensors } = await readSafetensors(`${folder}/${file}.safetensors`)
      const prefix = file === 'training' ? 'student.' : ''
      return tensors.get(`${prefix}conv_in.weight`)?.data as Float32Array
    }
    let average = await weights('training')
    const count = tinyUNet.sample_size ** 2
    const xt = Float32Array.from({ length: count }, (_, i) => Math.sin(i))
    const timesteps = Int32Array.of(500)
    for (let step = 0; step < 4; step++) {
      await learner.step({ xt, timesteps, target: new Float32Array(count), lr: 1e-2 })
      const student = await weights('training')
      average = average.map((value, i) => decay * value + (1 - decay) * (student[i] as number))
      expectClose(await weights('diffusion_pytorch_model'), average, 1e-6)
      expect(student).not.toEqual(average)
    }
  })
})
