import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { readSafetensors } from '../lib/files/safetensors.js'
import {
  compose,
  ewc,
  finetune,
  generativeDistillation,
  joint,
  Learner,
  type LearnOptions,
  type Method,
  type Progress,
  rankOneEwc,
  synapticIntelligence,
} from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { bandsStream, collect, failure, tinyLearner, tinyUNet } from './support/tiny.js'

const stream = bandsStream()
const [first, second] = stream.tasks as [(typeof stream.tasks)[0], (typeof stream.tasks)[0]]
const quick: LearnOptions = { steps: 6, batchSize: 8, lr: 1e-3 }

describe('learning with a penalty', () => {
  it.each<[string, Method]>([
    ['ewc', ewc({ samples: 8, strength: 100 })],
    ['ewc', ewc({ samples: 8, strength: 100, mode: 'online', decay: 0.5 })],
    ['rank-1-ewc', rankOneEwc({ samples: 8, strength: 100 })],
    ['synaptic-intelligence', synapticIntelligence({ strength: 100 })],
  ])('%s learns the first task as finetune does, and then reports its cost', async (name, method) => {
    const [learner, finetuned] = [await tinyLearner(), await tinyLearner()]
    const one = await collect(learner.learn(first, method, quick))
    await collect(finetuned.learn(first, finetune(), quick))
    const count = tinyUNet.sample_size ** 2
    const xt = Float32Array.from({ length: count }, (_, i) => Math.sin(i))
    const prediction = (of: Learner) => of.predict(xt, Int32Array.of(500))
    expect(await prediction(learner)).toEqual(await prediction(finetuned))
    for (const { penalties } of one) expect(penalties).toEqual({})
    const progress = await collect(learner.learn(second, method, quick))
    for (const { loss, terms, penalties } of progress) {
      expect(Object.keys(penalties)).toEqual([name])
      expectClose([loss], [(terms[0] as number) + 100 * (penalties[name] as number)], 1e-5)
    }
    expect(progress.at(-1)?.penalties[name]).toBeGreaterThan(0)
    await collect(finetuned.learn(second, finetune(), quick))
    expect(await prediction(learner)).not.toEqual(await prediction(finetuned))
  })

  it('composed with a method that replays has the costs of both', async () => {
    const learner = await tinyLearner()
    const method = compose(generativeDistillation(), ewc({ samples: 4, strength: 10 }))
    await collect(learner.learn(first, method, quick))
    const [progress] = await collect(learner.learn(second, method, { ...quick, steps: 1 }))
    const { loss, terms, penalties } = progress as Progress
    const [real, distilled] = terms as [number, number]
    expectClose([loss], [real / 2 + 0.375 * distilled + 10 * (penalties.ewc as number)], 1e-5)
  })

  it.each([ewc(), rankOneEwc(), synapticIntelligence()])(
    'without an earlier task’s data, $name is refused before it trains',
    async (method) => {
      const learner = await tinyLearner()
      await collect(learner.learn(first, finetune(), quick))
      const error = await failure(collect(learner.learn(second, method, quick)))
      expect(error.code).toBe('ERR_INVALID_ARGUMENT')
      expect(error.message).toMatch(
        /^learn, task 2 by .*: nothing was consolidated for the penalty '.*' .*earlier task/,
      )
      expect(learner.stepsDone).toBe(6)
    },
  )

  it.each<[string, Method, RegExp]>([
    ['timesteps beyond the schedule', ewc({ timesteps: [0, 1001] }), /the penalty 'ewc' has the timesteps \[0, 1001\)/],
    [
      'a negative strength',
      { ...finetune(), objective: (k) => ({ ...finetune().objective(k), penalties: [{ name: 'a', strength: -1 }] }) },
      /objective\(1\): penalties\[0\]\.strength is -1; expected at least 0/,
    ],
  ])('refuses %s before it trains', async (_, method, message) => {
    const learner = await tinyLearner()
    expect((await failure(collect(learner.learn(first, method, quick)))).message).toMatch(message)
    expect(learner.stepsDone).toBe(0)
  })

  it('aborted while it consolidates, keeps nothing of the task', async () => {
    const learner = await tinyLearner()
    const controller = new AbortController()
    const method = compose(ewc({ samples: 2 }), rankOneEwc({ samples: 100_000 }))
    const learning = collect(learner.learn(first, method, { ...quick, steps: 1, signal: controller.signal }))
    setTimeout(() => controller.abort('enough'), 500)
    await expect(learning).rejects.toBe('enough')
    expect(learner).toMatchObject({ stepsDone: 1, tasksLearned: 0 })
    const error = await failure(collect(learner.learn(second, ewc(), quick)))
    expect(error.message).toMatch(/nothing was consolidated for the penalty 'ewc'/)
  })
})

describe('saved and loaded', () => {
  it.each([
    ['separate', ewc({ samples: 4, strength: 10 })],
    ['online', ewc({ samples: 4, strength: 10, mode: 'online' })],
    ['composed', compose(rankOneEwc({ samples: 4 }), synapticIntelligence())],
  ])('a learner with penalties goes on to the bit: %s', async (_, method) => {
    const folder = await temporaryFolder()
    const bytes = async (of: Learner, name: string) => {
      await of.save(path.join(folder, name))
      const files = ['diffusion_pytorch_model', 'training', 'penalties'].map((file) => `${name}/${file}.safetensors`)
      return Buffer.concat(await Promise.all(files.map((file) => readFile(path.join(folder, file)))))
    }
    const learner = await tinyLearner()
    await collect(learner.learn(first, method, quick))
    const before = await bytes(learner, 'first')
    await using loaded = await Learner.load(path.join(folder, 'first'), { device: 'cpu', precision: 'fp32' })
    expect((await bytes(loaded, 'again')).equals(before)).toBe(true)
    for (const one of [learner, loaded]) await collect(one.learn(second, method, quick))
    expect((await bytes(loaded, 'b')).equals(await bytes(learner, 'a'))).toBe(true)
  })
})

describe('the averaged teacher', () => {
  it('is decay · itself + (1 − decay) · the weights when a task ends', async () => {
    const learner = await tinyLearner()
    const method = generativeDistillation({ teacherDecay: 0.75 })
    const folder = await temporaryFolder()
    const read = async () => {
      await learner.save(folder)
      const [model, training] = await Promise.all(
        ['diffusion_pytorch_model', 'training'].map((file) =>
          readSafetensors(path.join(folder, `${file}.safetensors`)),
        ),
      )
      const name = 'conv_in.weight'
      return [model?.tensors.get(name)?.data, training?.tensors.get(`teacher.${name}`)?.data] as Float32Array[]
    }
    await collect(learner.learn(first, method, quick))
    const [weights1, teacher1] = (await read()) as [Float32Array, Float32Array]
    expect(teacher1).toEqual(weights1)
    await collect(learner.learn(second, method, { ...quick, lr: 1e-2 }))
    const [weights2, teacher2] = (await read()) as [Float32Array, Float32Array]
    expectClose(
      teacher2,
      weights1.map((value, i) => 0.75 * value + 0.25 * (weights2[i] as number)),
      1e-6,
    )
    expect(teacher2).not.toEqual(weights1)
  })
})

describe('joint training', () => {
  it('at equal compute takes as many steps as the others, on the data of all tasks', async () => {
    const learner = await tinyLearner()
    const images = second.train.indices.length
    const steps = async (method: Method) =>
      (await collect(learner.learn(second, method, { epochs: 1, batchSize: 8 }))).at(-1)?.steps
    expect(await steps(joint({ compute: 'equal' }))).toBe(images / 8)
    expect(await steps(joint({ compute: 'paper' }))).toBe((2 * images) / 8)
    expect(joint({ compute: 'equal' }).data).toBe('cumulative')
  })
})
