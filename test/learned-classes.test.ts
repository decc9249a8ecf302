import { expect, test } from 'vitest'
import {
  experienceReplay,
  finetune,
  generativeReplay,
  type Learner,
  type LearnOptions,
  type Stream,
} from '../lib/index.js'
import { bandsStream, collect, tinyLearner, tinyUNet } from './support/tiny.js'

type Task = Stream['tasks'][number]

const [first, second] = bandsStream().tasks as [Task, Task]
const train: LearnOptions = { steps: 1, batchSize: 4 }
const conditional = () => tinyLearner({ unet: { ...tinyUNet, num_class_embeds: 4 } })

async function pool(learner: Learner, replayLabels: 'frequency' | 'uniform') {
  const task = { ...second, number: 3, earlier: [first, second] }
  const options = { ...train, replayLabels }
  return (await learner.replayPool(task, generativeReplay({ pool: { images: 12 } }), options))!.data
}

test('a task that is learned twice counts once: by frequency its classes are as likely as before', async () => {
  const learner = await conditional()
  for (const task of [first, first, second]) await collect(learner.learn(task, finetune(), train))
  // Each of the four classes has as many images as the others.
  expect(await pool(learner, 'frequency')).toEqual(await pool(learner, 'uniform'))
})

test('the classes of images that are given as the memory are learned too', async () => {
  const learner = await conditional()
  await collect(learner.learn(second, experienceReplay({ size: 8 }), { ...train, memory: [first.train] }))
  expect(learner.classesLearned).toEqual(first.train.dataset.classes)
})
