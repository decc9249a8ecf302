import { describe, expect, it, onTestFinished } from 'vitest'
import { generativeDistillation } from '../lib/index.js'
import { conditional, first, taught, classTraining as train, classUNet as unet } from './support/conditional.js'
import { expectClose } from './support/golden.js'
import { fp32Learner, never } from './support/native.js'
import { collect, failure, tinyLearner } from './support/tiny.js'

describe('classifier-free guidance', () => {
  /** x̂₀ of one step, which is linear in the prediction. */
  async function oneStep(guidance?: { scale: number; timesteps?: [number, number] }, label = 1) {
    const native = await fp32Learner(unet, 'cpu', { seed: 2 })
    onTestFinished(() => native.dispose())
    const sampler = {
      kind: 'ddim',
      steps: 1,
      eta: 0,
      clip: false,
      spacing: 'trailing',
      ...(guidance && { guidance }),
    } as const
    const labels = new Int32Array(3).fill(label)
    const options = { weights: 'student', count: 3, batchSize: 3, sampler, labels, seed: 1, format: 'float32' } as const
    return (await native.sample({ ...options, use: { purpose: 0, part: 0 } }, never)).data
  }

  it('of scale 1 is none, of scale 0 the unconditional prediction, and is linear in between and beyond', async () => {
    const [none, null_] = [await oneStep(), await oneStep(undefined, 4)]
    expect(await oneStep({ scale: 1 })).toEqual(none)
    expectClose(await oneStep({ scale: 0 }), null_, 1e-6)
    const expected = none.map((conditional, i) => null_[i]! + 2.5 * (conditional - null_[i]!))
    expectClose(await oneStep({ scale: 2.5 }), expected, 1e-5)
    expect(none).not.toEqual(null_)
  })

  it('acts in its range of timesteps alone', async () => {
    const [none, strong] = [await oneStep(), await oneStep({ scale: 3 })]
    expectClose(await oneStep({ scale: 3, timesteps: [0, 999] }), none, 1e-6) // the one step is at 999
    expectClose(await oneStep({ scale: 3, timesteps: [999, 1000] }), strong, 1e-6)
    expect(strong).not.toEqual(none)
  })

  it('of a learner: sampler, and labels by name, index and null', async () => {
    const learner = await taught()
    const [name] = first.classes.map((c) => first.train.dataset.classes[c]!)
    const sample = async (labels: Parameters<Learner['sample']>[0]['labels'], scale?: number) =>
      (
        await learner.sample({
          count: 4,
          labels,
          sampler: { steps: 2, ...(scale !== undefined && { guidance: { scale } }) },
        })
      ).data
    expect(await sample(name)).toEqual(await sample(first.classes[0]))
    expect(await sample(name)).toEqual(await sample([name!, name!, name!, first.classes[0]!]))
    expect(await sample(name, 0)).toEqual(await sample(null))
    expect(await sample(undefined)).toEqual(await sample([0, 1, 0, 1].map((i) => first.classes[i]!)))
  })

  it.each([
    [
      'guidance without label dropout',
      async () => (await conditional()).sample({ count: 2, labels: 0, sampler: { guidance: { scale: 2 } } }),
      /has not learned the null label; learn with labelDropout/,
    ],
    [
      'guidance for an unconditional model',
      async () => (await tinyLearner()).sample({ count: 2, sampler: { guidance: { scale: 2 } } }),
      /takes no labels; learn with labelDropout/,
    ],
    [
      'null without label dropout',
      async () => (await conditional()).sample({ count: 2, labels: null }),
      /the label null needs a network that learned with labelDropout/,
    ],
    [
      'guidance beyond the schedule',
      async () => (await taught()).sample({ count: 1, sampler: { guidance: { scale: 2, timesteps: [0, 2000] } } }),
      /ends at 2000; expected at most the schedule's 1000/,
    ],
    [
      'a teacher with guidance that has no null label',
      async () => {
        const learner = await conditional()
        const plain = { ...train, labelDropout: 0 }
        // Before the first task, not after it.
        await collect(learner.learn(first, generativeDistillation({ teacher: { guidance: { scale: 2 } } }), plain))
      },
      /objective: sampler: guidance needs an unconditional prediction/,
    ],
  ])('%s is refused', async (_, attempt, message) => {
    expect((await failure(attempt())).message).toMatch(message)
  })
})
