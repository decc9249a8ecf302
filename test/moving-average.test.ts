import { describe, expect, it, onTestFinished } from 'vitest'
import { readSafetensors } from '../lib/files/safetensors.js'
import { type Ema, finetune, Learner } from '../lib/index.js'
import { devices } from './support/devices.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { bandsStream, tensorsOf, tinyLearner, tinyUNet } from './support/tiny.js'

/** Decays at an average's first steps: what diffusers' EMAModel (0.42.1) tells as cur_decay_value. */
const warmups: [Ema, number[]][] = [
  [{ decay: 0.28, warmup: 'ratio' }, [0, 0.18181818181818182, 0.25, 0.28]],
  [{ decay: 0.7, warmup: 'power' }, [0, 0.3700394750525634, 0.5192501432308638, 0.6031497370079502]],
  [{ decay: 0.35, warmup: 'power', invGamma: 4, power: 0.9 }, [0, 0.1819478539491417, 0.3057468373383929, 0.35]],
]

describe('moving average of the weights', () => {
  it.each(warmups)('warms up as in diffusers: %o', async (ema, decays) => {
    for (const device of devices) {
      const learner = await tinyLearner({ ema, device })
      const stream = bandsStream()
      const weights = async () => {
        const all = await tensorsOf(learner)
        const of = (name: string) => all.get(name) as Float32Array
        return {
          student: of('training.safetensors/student.conv_in.weight'),
          average: of('diffusion_pytorch_model.safetensors/conv_in.weight'),
        }
      }
      // In each task anew.
      for (const task of stream) {
        let { average } = await weights()
        let step = 0
        const callback = async () => {
          const found = await weights()
          const decay = decays[step++]!
          average = average.map((value, i) => decay * value + (1 - decay) * found.student[i]!)
          expectClose(found.average, average, 1e-6)
        }
        const options = { steps: decays.length, batchSize: 4, lr: 1e-2 }
        await learner.train(task, finetune(), { ...options, callback, callbackEvery: 1 })
        expect(step).toBe(decays.length)
      }
      const folder = await temporaryFolder()
      await learner.save(folder)
      const loaded = await Learner.load(folder, { device })
      onTestFinished(() => loaded.dispose())
      expect(loaded.ema).toEqual(learner.ema)
    }
  })

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
