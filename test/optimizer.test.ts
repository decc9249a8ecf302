import { expect, it, onTestFinished } from 'vitest'
import { loadAddon } from '../lib/engine/load.js'
import { finetune, generativeDistillation, type LearnOptions } from '../lib/index.js'
import { expectClose } from './support/golden.js'
import { fp32Learner, never, optimizer, resolve } from './support/native.js'
import { bands, bandsStream, collect, failure, tensorsOf, tinyLearner, tinyUNet } from './support/tiny.js'

type LearnTask = ReturnType<typeof bandsStream>['tasks'][0]

/** Rates of ten steps, three of them warm-up, by diffusers 0.42.1's schedules for lr 0.01. */
const rates = {
  constant: [0, 0.003333333333333333, 0.006666666666666666, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01],
  linear: [
    0, 0.003333333333333333, 0.006666666666666666, 0.01, 0.008571428571428572, 0.0071428571428571435,
    0.005714285714285714, 0.004285714285714286, 0.002857142857142857, 0.0014285714285714286,
  ],
  cosine: [
    0, 0.003333333333333333, 0.006666666666666666, 0.01, 0.009504844339512096, 0.008117449009293669,
    0.006112604669781572, 0.003887395330218428, 0.0018825509907063327, 0.0004951556604879049,
  ],
} as const

it.each(['constant', 'linear', 'cosine'] as const)(
  'a %s learning rate with warm-up is that of diffusers',
  async (kind) => {
    const { images, labels, height, width, channels } = bands('bands', 6)
    const count = labels.length
    const stored = { images, labels, count, height, width, channels }
    const resident = await loadAddon().createImages({ ...stored, size: 0, device: 'cpu' })
    onTestFinished(() => resident.dispose())
    const task = [{ images: resident, indices: Int32Array.from({ length: count }, (_, i) => i) }]
    const batches = {
      objective: resolve(finetune().objective(1)),
      task,
      memory: [],
      batchSize: 4,
      horizontalFlip: false,
    }
    const weightsAfter = async (sessions: readonly { lr: number; steps: number; lrSchedule?: object }[]) => {
      const native = await fp32Learner(tinyUNet, 'cpu', { seed: 5 })
      onTestFinished(() => native.dispose())
      for (const { steps, ...given } of sessions) {
        const session = await native.beginSession({
          ...batches,
          optimizer: { ...optimizer, ...given } as typeof optimizer,
        })
        await session.run({ steps, milliseconds: 1e9 }, never)
        session.dispose()
      }
      return (await native.read('student')).flatMap((tensor) => [...tensor])
    }
    const scheduled = await weightsAfter([
      { lr: 0.01, steps: 10, lrSchedule: { kind, warmup: 3, final: 0, steps: 10 } },
    ])
    expectClose(scheduled, await weightsAfter(rates[kind].map((lr) => ({ lr, steps: 1 }))), 1e-6)
  },
)

it('a schedule is followed to the bit by a task that is resumed, and its warm-up is shorter than the task', async () => {
  const [task] = bandsStream().tasks as [LearnTask]
  const options = { steps: 6, batchSize: 4, lrSchedule: { kind: 'cosine', warmup: 2, final: 0.1 } } as const
  const whole = await tinyLearner()
  await collect(whole.learn(task, finetune(), options))
  const resumed = await tinyLearner()
  for await (const { step } of resumed.learn(task, finetune(), options)) if (step >= 1) break
  expect(resumed.taskInProgress?.step).toBeLessThan(6)
  await collect(resumed.learn(task, finetune(), { ...options, resume: true }))
  expect(await tensorsOf(resumed)).toEqual(await tensorsOf(whole))
  const error = await failure(collect(whole.learn(task, finetune(), { ...options, lrSchedule: { warmup: 6 } })))
  expect(error.message).toMatch(/lrSchedule.warmup is 6; expected fewer than the task's steps, 6/)
})

it('accumulated gradients are those of the larger batch, of every source', async () => {
  const [first, second] = bandsStream().tasks as [LearnTask, LearnTask]
  const losses = async (options: Partial<LearnOptions>) => {
    const learner = await tinyLearner()
    const found: number[] = []
    const onStep = ({ loss, gradNorm }: { loss: number; gradNorm: number }) => found.push(loss, gradNorm)
    for (const task of [first, second]) {
      await collect(
        learner.learn(task, generativeDistillation(), { epochs: 1, lr: 1e-3, onStep, ...options } as LearnOptions),
      )
    }
    return found
  }
  const whole = await losses({ batchSize: 6 })
  const parts = await losses({ batchSize: 2, accumulate: 3 })
  expect(parts).toHaveLength(whole.length)
  expectClose(parts, whole, 1e-5)
})

it('decoupled weight decay shrinks the weights beside the step of Adam', async () => {
  const xt = Float32Array.from({ length: 128 }, (_, i) => Math.sin(i))
  const given = { xt, timesteps: Int32Array.of(10, 700), target: xt.map((x) => -x), lr: 0.01 }
  const flat = async (learner: Awaited<ReturnType<typeof tinyLearner>>) =>
    [...(await tensorsOf(learner))]
      .filter(([name]) => name.startsWith('diffusion'))
      .flatMap(([, data]) => [...(data as Float32Array)])
  const before = await flat(await tinyLearner())
  const after = async (options: { weightDecay?: number; decoupledWeightDecay?: boolean }) => {
    const learner = await tinyLearner()
    await learner.step({ ...given, ...options })
    return flat(learner)
  }
  const plain = await after({})
  const expected = plain.map((weight, i) => weight - 0.01 * 0.1 * (before[i] as number))
  const decoupled = await after({ weightDecay: 0.1, decoupledWeightDecay: true })
  expectClose(decoupled, expected, 1e-6)
  const coupled = await after({ weightDecay: 0.1 })
  expect(Math.max(...coupled.map((weight, i) => Math.abs(weight - (decoupled[i] as number))))).toBeGreaterThan(1e-4)
})
