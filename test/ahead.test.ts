import { describe, expect, it } from 'vitest'
import type { NativeLearner, NativeTrainOptions } from '../lib/engine/addon.js'
import { loadAddon } from '../lib/engine/load.js'
import { type Objective, paperSchedule, type Term } from '../lib/index.js'
import { devices, type TestDevice, tolerance } from './support/devices.js'
import { bands, tinyUNet } from './support/tiny.js'

const optimizer = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0, clipGradNorm: 1 } as const
const never = new Int32Array(1)
const real: Term = { source: { kind: 'task' }, target: 'noise', weight: 0.5 }

/** All that a frozen teacher can be asked ahead of a step, and a step that asks none. */
const objectives: Record<string, Objective> = {
  'no teacher': { terms: [real] },
  'generated, noise': { terms: [real, { source: { kind: 'teacher', steps: 2 }, target: 'noise', weight: 0.5 }] },
  'generated, teacher': { terms: [real, { source: { kind: 'teacher', steps: 2 }, target: 'teacher', weight: 0.5 }] },
  'generated with eta': {
    terms: [real, { source: { kind: 'teacher', steps: 3, eta: 1 }, target: 'teacher', weight: 0.5 }],
  },
  'stopped at the timestep': {
    terms: [real, { source: { kind: 'teacher', steps: 2, stopAtTimestep: true }, target: 'teacher', weight: 0.5 }],
  },
  gaussian: { terms: [real, { source: { kind: 'gaussian' }, target: 'teacher', weight: 0.5 }] },
  'gaussian, symmetric': {
    terms: [real, { source: { kind: 'gaussian', symmetric: true }, target: 'teacher', weight: 0.5 }],
  },
  'the task’s own images': { terms: [real, { source: { kind: 'task' }, target: 'teacher', weight: 0.5 }] },
}

describe.each(devices)('a call of many steps, on %s', (device) => {
  it.each(Object.entries(objectives))('computes what steps one after the other do: %s', async (_, objective) => {
    const together = await set(device)
    const apart = await set(device)
    const found: number[] = []
    const expected: number[] = []
    for (const steps of [3, 1, 13, 20]) {
      const report = await together.learner.train({ ...together.batches(objective), steps, optimizer }, never)
      expect(report.steps).toBe(steps)
      found.push(...report.losses)
      for (let i = 0; i < steps; i++) {
        const draws = await apart.learner.draw(apart.batches(objective))
        expected.push((await apart.learner.compute(objective, draws)).loss)
        await apart.learner.update(optimizer)
      }
      // A new teacher must be asked from then on.
      for (const { learner } of [together, apart]) await learner.freezeTeacher(steps === 1 ? 0.5 : 0)
    }
    const far = Math.max(...found.map((loss, i) => Math.abs(loss / (expected[i] as number) - 1)))
    expect(far, `${found} and ${expected}`).toBeLessThan(tolerance(device, 1e-5))
  })
})

async function set(device: TestDevice): Promise<{
  learner: NativeLearner
  batches: (objective: Objective) => Omit<NativeTrainOptions, 'steps' | 'optimizer'>
}> {
  const addon = loadAddon()
  const learner = await addon.createLearner({
    unet: tinyUNet,
    schedule: paperSchedule,
    device,
    precision: 'fp32',
    seed: 5,
    emaDecay: 0,
  })
  await learner.freezeTeacher(0)
  const { images, labels, height, width, channels } = bands('bands', 6)
  const count = labels.length
  const resident = await addon.createImages({ images, labels, count, height, width, channels, size: 0, device })
  const task = [{ images: resident, indices: Int32Array.from({ length: count }, (_, i) => i) }]
  return {
    learner,
    batches: (objective) => ({ objective, task, memory: task, batchSize: 5, horizontalFlip: true }),
  }
}
