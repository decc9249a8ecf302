import { describe, expect, it } from 'vitest'
import type { NativeDraws, NativeLearner } from '../lib/engine/native-learner.js'
import {
  finetune,
  gaussianDistillation,
  generativeDistillation,
  generativeReplay,
  lwfDistillation,
  type Method,
  type Source,
} from '../lib/index.js'
import { devices, type TestDevice, tolerance } from './support/devices.js'
import { expectClose, Golden, goldenJson, goldenUNet } from './support/golden.js'
import { fp32Learner, resolve } from './support/native.js'

interface Result {
  real: number
  replay: number
  loss: number
  grad_norm: number
}

interface Steps {
  task: number
  lr: number
  clip_grad_norm: number
  teacher_steps: number
  lambda: Record<string, number>
}

const steps = goldenJson<Steps>('step/steps.json')
const results = goldenJson<Record<string, Result[]>>('step/steps.json')
const teacher = { steps: steps.teacher_steps, eta: 0 }
const lambda = (name: string) => steps.lambda[name] as number
const methods: Method[] = [
  finetune(),
  generativeReplay({ lambda: lambda('generative-replay'), teacher }),
  generativeDistillation({ lambda: lambda('generative-distillation'), teacher }),
  gaussianDistillation({ lambda: lambda('gaussian-distillation') }),
  lwfDistillation({ lambda: lambda('lwf-distillation') }),
]

async function nativeLearner(device: TestDevice): Promise<NativeLearner> {
  const native = await fp32Learner(goldenUNet('step/config.json'), device)
  const weights = await Golden.read('step/weights.safetensors')
  await native.write('student', weights.weights(native, 'student.'))
  await native.write('teacher', weights.weights(native, 'teacher.'))
  return native
}

function draws(golden: Golden, step: number, kind: Source['kind']): NativeDraws {
  const tensor = (name: string) => golden.tensor(`${step}.${name}`)
  if (kind === 'task') {
    return { x0: tensor('x0'), noise: tensor('noise'), timesteps: golden.integers(`${step}.t`) }
  }
  const replayed = { z: tensor('z'), timesteps: golden.integers(`${step}.t_replay`) }
  return kind === 'gaussian' ? replayed : { ...replayed, noise: tensor('noise_replay') }
}

describe.each(devices)('on %s', (device) => {
  const within = (onCpu: number) => tolerance(device, onCpu)

  it.each(methods)('three optimiser steps of $name are those of PyTorch', async (method) => {
    const native = await nativeLearner(device)
    const golden = await Golden.read(`step/${method.name}.safetensors`)
    const objective = resolve(method.objective(steps.task))
    const kinds = [...new Set(objective.terms.map(({ source }) => source.kind))]
    const expected = results[method.name] as Result[]
    for (const [i, { real, replay, loss, grad_norm }] of expected.entries()) {
      const found = await native.compute(
        objective,
        kinds.map((kind) => draws(golden, i, kind)),
      )
      expectClose([found.loss], [loss], within(1e-5), `loss of step ${i}`)
      const terms = objective.terms.length === 1 ? [real] : [real, replay]
      for (const [j, term] of terms.entries())
        expectClose([found.terms[j] as number], [term], within(1e-5), `term ${j} of step ${i}`)
      expectClose([found.gradNorm], [grad_norm], within(1e-4), `gradient norm of step ${i}`)
      const { lr, clip_grad_norm: clipGradNorm } = steps
      await native.update({ lr, clipGradNorm, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 })
    }
    const after = await native.read('student')
    let off = 0
    let total = 0
    // Three steps of Adam can't lead farther apart than six times the rate; sums in another compiler's order did by a third of it.
    const most = device === 'cpu' ? steps.lr / 2 : 6 * steps.lr
    for (const [i, weights] of golden.weights(native, 'after.').entries()) {
      const tensor = after[i] as Float32Array
      const { name } = native.parameters[i] as { name: string }
      const largest = weights.reduce((max, weight) => Math.max(max, Math.abs(weight)), 0)
      for (const [j, weight] of weights.entries()) {
        const difference = Math.abs((tensor[j] as number) - weight)
        if (!(difference <= most)) expect.fail(`${name}[${j}] is ${tensor[j]}; expected ${weight}`)
        if (difference > within(1e-4) * largest) off++
      }
      total += weights.length
    }
    // Adam divides a gradient by its own magnitude. So where the gradient is nothing but rounding (a key's bias, to which softmax is
    // blind) or passes through zero, the last digit decides the step; that may be one weight in ten thousand, and one in a hundred
    // where all sums are in another order.
    expect(off).toBeLessThanOrEqual(total / (device === 'cpu' ? 10_000 : 100))
    expect(native.state).toMatchObject({ step: 3, optimizerStep: 3 })
    native.dispose()
  })

  it.each(methods.filter(({ name }) => name.startsWith('generative')))(
    'the images that $name replays are those of the reference',
    async (method) => {
      // Given the reference's images for x0, the losses must be those that the engine's own images give.
      const native = await nativeLearner(device)
      const golden = await Golden.read(`step/${method.name}.safetensors`)
      const objective = resolve(method.objective(steps.task))
      const task = draws(golden, 0, 'task')
      const own = draws(golden, 0, 'teacher')
      const given = { ...own, x0: golden.tensor('0.replay_x0') }
      const { terms: fromOwn } = await native.compute(objective, [task, own])
      const { terms: fromGiven } = await native.compute(objective, [task, given])
      expectClose(fromOwn, fromGiven, within(1e-5))
      native.dispose()
    },
  )
})
