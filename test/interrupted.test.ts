import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { ImageStore } from '../lib/engine/image-store.js'
import { evaluate, finetune, fromArrays, generativeDistillation, Learner, teacherToStudent } from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { bands, bandsStream, collect, failure, tinyLearner, tinyUNet } from './support/tiny.js'

const stream = bandsStream()
const [first, second] = stream.tasks
const settings = { steps: 12, batchSize: 4 } as const
const broken = { ...first!, train: { dataset: bands('bands', 2), indices: Int32Array.of(0, 99) } }
const x = new Float32Array(64).fill(0.3)
const predictionOf = async (learner: Learner) => [...(await learner.predict(x, Int32Array.of(500)))]

describe('a learn() that is refused at its start', () => {
  it('changes nothing of the task in progress, which is resumed to the bit', async () => {
    const [learner, undisturbed] = [await tinyLearner(), await tinyLearner()]
    await collect(undisturbed.learn(first!, finetune(), settings))
    for await (const { step } of learner.learn(first!, finetune(), settings)) if (step >= 2) break
    const before = learner.taskInProgress
    expect((await failure(collect(learner.learn(broken, finetune(), settings)))).code).toBe('ERR_INVALID_ARGUMENT')
    expect(learner.taskInProgress).toEqual(before)
    await collect(learner.learn(first!, finetune(), { ...settings, resume: true }))
    expect(await predictionOf(learner)).toEqual(await predictionOf(undisturbed))
  })

  it('leaves the weights of a method that begins with fresh ones', async () => {
    const learner = await tinyLearner()
    await collect(learner.learn(first!, teacherToStudent(), settings))
    const before = await predictionOf(learner)
    const wrong = { ...broken, number: 2, earlier: [first!] } as never
    expect((await failure(collect(learner.learn(wrong, teacherToStudent(), settings)))).message).toMatch(/indices/)
    expect(await predictionOf(learner)).toEqual(before)
  })
})

it('images that a store releases while they are asked for are brought again', async () => {
  const images = new ImageStore()
  const learner = await tinyLearner({ images })
  let over = false
  const releasing = (async () => {
    while (!over) {
      await images.release(first!.train.dataset)
      await new Promise(setImmediate)
    }
  })()
  for (let i = 0; i < 5; i++) {
    await collect(learner.learn(first!, finetune(), { steps: 1, batchSize: 4 }))
    await learner.denoisingLoss(first!.train, { bands: 1 })
  }
  over = true
  await releasing
  expect(learner.stepsDone).toBe(5)
  await images.dispose()
})

it('a learner that is disposed of in mid-task takes no more steps', async () => {
  const learner = await Learner.create({ unet: tinyUNet, device: 'cpu', precision: 'fp32' })
  const steps: number[] = []
  const learning = (async () => {
    for await (const { step } of learner.learn(first!, finetune(), { ...settings, steps: 5000 })) {
      steps.push(step)
      if (steps.length === 2) await learner.dispose()
    }
  })()
  expect((await failure(learning)).code).toBe('ERR_DISPOSED')
  expect(steps).toHaveLength(2)
})

it('freezeTeacher() is refused while learn() takes steps', async () => {
  const learner = await tinyLearner()
  const learning = learner.learn(first!, finetune(), settings)
  const next = learning.next()
  expect((await failure(learner.freezeTeacher())).message).toMatch(/^freezeTeacher: learn\(\) is taking steps/)
  await next
  await learner.freezeTeacher()
  await collect(learning)
})

it('a task that is resumed with another sampler is refused with the setting’s name', async () => {
  const learner = await tinyLearner()
  await collect(learner.learn(first!, generativeDistillation(), settings))
  for await (const { step } of learner.learn(second!, generativeDistillation(), settings)) if (step >= 2) break
  const other = generativeDistillation({ teacher: { kind: 'ddpm' } })
  const error = await failure(collect(learner.learn(second!, other, { ...settings, resume: true })))
  expect(error.message).toContain(`objective.terms[1].source.sampler.kind is 'ddpm'; expected 'ddim'`)
})

it('what a sampler makes that is no finite number is an error, and not a black image', async () => {
  const learner = await tinyLearner()
  const array = () => Float32Array.from({ length: 64 }, (_, i) => Math.sin(i))
  // A step so large that no weight is of any use after it.
  await learner.step({ xt: array(), timesteps: Int32Array.of(5), target: array(), lr: 1e38 })
  const whole = await tinyLearner()
  const start = new Float32Array(2 * 64).fill(Number.NaN, 64)
  for (const format of ['uint8', 'float32'] as const) {
    const error = await failure(learner.sample({ count: 1, format, sampler: { kind: 'ddpm', steps: 20 } }))
    expect(error.code).toBe('ERR_DIVERGED')
    expect(error.message).toMatch(/^image 0, .* 'ddpm' .* not finite since step 1 of 20, at timestep 999: /)
    const given = await failure(whole.sample({ count: 2, format, start, sampler: { steps: 2 } }))
    expect(given.message).toMatch(/^image 1, .* not finite in the noise that was given to begin with/)
  }
  await expect(learner.denoisingLoss(first!.train)).rejects.toMatchObject({ code: 'ERR_DIVERGED' })
  expect((await failure(learner.save(path.join(await temporaryFolder(), 'spoilt')))).message).toMatch(
    /^save: .* not finite after step 1 of the learner/,
  )
  expect((await failure(learner.freezeTeacher())).message).toMatch(/^freezeTeacher: the learner has diverged in save/)
})

it('evaluate refuses images and samplers that do not fit, before it does anything', async () => {
  const learner = await tinyLearner()
  const [images, labels] = [new Uint8Array(4 * 3 * 64), [0, 1, 2, 3]]
  const classes = ['a', 'b', 'c', 'd']
  const dataset = fromArrays({ name: 'colours', images, labels, classes, height: 8, width: 8, channels: 3 })
  const seen = { ...stream.seen(first!), test: [{ dataset, indices: Int32Array.of(0, 1) }] }
  expect((await failure(evaluate(learner, seen, []))).message).toMatch(/^evaluate: .*3 channels/)
  const steps = evaluate(learner, stream.seen(first!), [], { sampler: { steps: 5000 } })
  expect((await failure(steps)).message).toMatch(/^evaluate: sampler: steps is 5000/)
  expect((await failure(evaluate(learner, first as never, []))).message).toMatch(/stream\.seen\(task\)/)
  const metric = evaluate(learner, stream.seen(first!), [(() => {}) as never])
  expect((await failure(metric)).message).toMatch(/expected a metric, e\.g\. frechetDistance\(classifier\)/)
})
