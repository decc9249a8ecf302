import { expect, it, vi } from 'vitest'
import type { ImageBatch } from '../lib/data/dataset.js'
import { loadAddon } from '../lib/engine/load.js'
import { sampleUses } from '../lib/engine/sample-use.js'
import { evaluate, finetune, type Metric, Solver } from '../lib/index.js'
import { drawNext, fp32Learner } from './support/native.js'
import { bands, bandsStream, collect, tinyLearner, tinyUNet } from './support/tiny.js'

/** Each image as text, to be compared. */
function imagesOf({ data, count }: Pick<ImageBatch, 'data' | 'count'>): string[] {
  const size = data.length / count
  return Array.from({ length: count }, (_, i) => data.subarray(i * size, (i + 1) * size).join())
}

it('sampling, evaluation, replay and grids of one seed share no images, and no two parts of a use do', async () => {
  const learner = await tinyLearner({ seed: 7 })
  const seen = new Set<string>()
  let images = 0
  for (const purpose of Object.keys(sampleUses) as (keyof typeof sampleUses)[]) {
    for (const part of purpose === 'sampling' ? [0] : [0, 1, 2, 2 ** 20, 2 ** 32 - 1]) {
      // With steps that draw noise too.
      const sampler = { kind: 'ddpm', steps: 2 } as const
      const batch = await learner.sampleFor({ purpose, part }, { count: 6, seed: 7, sampler })
      for (const image of imagesOf(batch)) seen.add(image)
      images += batch.count
    }
  }
  expect(seen.size).toBe(images)
})

it('what a solver replays is none of what was evaluated or sampled with the same seed', async () => {
  const stream = bandsStream()
  const [first, second] = stream.tasks
  const learner = await tinyLearner({ seed: 7 })
  await collect(learner.learn(first!, finetune(), { steps: 2, batchSize: 4 }))
  const evaluated: string[] = []
  const collecting: Metric = {
    name: 'collects',
    title: 'collects',
    start: () => ({
      add: async (batch, kind) => {
        if (kind === 'generated') evaluated.push(...imagesOf(batch))
      },
      finish: async () => ({ value: 0, real: 0, generated: evaluated.length }),
    }),
  }
  await evaluate(learner, stream.seen(first!), [collecting], { count: 32, batchSize: 8, seed: 7 })
  const sampled = imagesOf(await learner.sample({ count: 32, seed: 7 }))

  const solver = await Solver.create(stream, { seed: 7, device: 'cpu' })
  await solver.learn(first!, null, { epochs: 1, batchSize: 8 })
  const sampling = vi.spyOn(learner, 'sampleFor')
  await solver.learn(second!, learner, { epochs: 1, batchSize: 8 })
  await solver.dispose()
  const batches = await Promise.all(sampling.mock.results.map(({ value }) => value as Promise<ImageBatch>))
  const replayed = batches.flatMap(imagesOf)
  expect(replayed.length).toBeGreaterThan(8)
  const all = [...evaluated, ...sampled, ...replayed]
  expect(new Set(all).size).toBe(all.length)
})

it('no two sources, and no two steps, of a training draw the same noise', async () => {
  const native = await fp32Learner(tinyUNet, 'cpu', { seed: 7 })
  await native.freezeTeacher()
  const { images, labels, height, width, channels } = bands('bands', 6)
  const whole = { images, labels, count: labels.length, height, width, channels, size: 0, device: 'cpu' }
  const resident = await loadAddon().createImages(whole)
  const pool = [{ images: resident, indices: Int32Array.from(labels.keys()) }]
  const batches = { task: pool, memory: pool, batchSize: 4, horizontalFlip: false }
  const terms = [
    { source: { kind: 'task' }, target: 'data', weight: 1 },
    { source: { kind: 'memory' }, target: 'data', weight: 1 },
    { source: { kind: 'teacher', sampler: { steps: 2, eta: 1 } }, target: 'teacher', weight: 1 },
    { source: { kind: 'gaussian' }, target: 'teacher', weight: 1 },
  ] as const
  const noises: string[] = []
  for (const step of [0, 1]) {
    await native.setState({ seed: 7, step, taskStep: 0, optimizerStep: 0 })
    for (const { noise, z, stepNoise } of await drawNext(native, { terms }, batches)) {
      for (const tensor of [noise, z, stepNoise]) {
        if (tensor)
          for (let at = 0; at < tensor.data.length; at += 64) noises.push(tensor.data.subarray(at, at + 64).join())
      }
    }
  }
  expect(noises.length).toBe(2 * 4 * (1 + 1 + 4 + 1))
  expect(new Set(noises).size).toBe(noises.length)
  native.dispose()
  resident.dispose()
})
