import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { classIncremental, finetune, Solver } from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { bandsData, bandsStream, collect, failure, tinyLearner } from './support/tiny.js'

const stream = bandsStream()
const [first, second] = stream.tasks as [(typeof stream.tasks)[0], (typeof stream.tasks)[0]]
const options = { epochs: 2, batchSize: 8, sampler: { steps: 2 } }

async function fresh(): Promise<Solver> {
  const solver = await Solver.create(stream, { seed: 3, device: 'cpu' })
  onTestFinished(() => solver.dispose())
  return solver
}

async function load(folder: string): Promise<Solver> {
  const solver = await Solver.load(folder, { device: 'cpu' })
  onTestFinished(() => solver.dispose())
  return solver
}

it('a solver that is saved between two tasks and loaded goes on to the bit', async () => {
  const learner = await tinyLearner()
  await collect(learner.learn(first, finetune(), { steps: 2, batchSize: 8 }))
  const whole = await fresh()
  await whole.learn(first, learner, options)
  const folder = path.join(await temporaryFolder(), 'solver')
  await whole.save(folder)
  const loaded = await load(folder)
  expect(loaded).toMatchObject({ seed: 3, tasksLearned: 1, accuracies: whole.accuracies })
  for (const solver of [whole, loaded]) await solver.learn(second, learner, options)
  expect(loaded.accuracies).toEqual(whole.accuracies)
  const saved: string[] = []
  for (const solver of [whole, loaded]) {
    await solver.save(folder)
    saved.push(await readFile(path.join(folder, 'solver.safetensors'), 'base64'))
  }
  expect(saved[1]).toBe(saved[0])
})

it('is not saved in the middle of a task', async () => {
  const solver = await fresh()
  const controller = new AbortController()
  const onProgress = () => controller.abort('enough')
  await expect(solver.learn(first, null, { ...options, signal: controller.signal, onProgress })).rejects.toBe('enough')
  const error = await failure(solver.save(path.join(await temporaryFolder(), 'solver')))
  expect(error.message).toMatch(/a task is in progress/)
})

it.each<[string, (folder: string) => Promise<unknown>, RegExp]>([
  ['a newer format', (f) => edit(f, { format: 2 }), /format is 2, from a newer version/],
  ['a field of another kind', (f) => edit(f, { step: 'x' }), /solver.json: step is 'x'/],
  ['a seed that there is none of', (f) => edit(f, { seed: 2 ** 32 }), /solver.json: seed is 4294967296; expected/],
  ['more replays than can be', (f) => edit(f, { stepsReplayed: 2 ** 53 - 1 }), /solver.json: stepsReplayed is 9007/],
  ['other weights', (f) => writeFile(path.join(f, 'solver.safetensors'), ''), /not a safetensors file/],
])('with %s is refused', async (_, spoil, message) => {
  const folder = path.join(await temporaryFolder(), 'solver')
  await (await fresh()).save(folder)
  await spoil(folder)
  const error = await failure(Solver.load(folder, { device: 'cpu' }))
  expect(error.code).toBe('ERR_BAD_CHECKPOINT')
  expect(error.message).toMatch(message)
})

it('learns no images of another shape', async () => {
  const folder = path.join(await temporaryFolder(), 'solver')
  await (await fresh()).save(folder)
  const other = classIncremental(bandsData(16), { tasks: 2 })
  const error = await failure((await load(folder)).learn(other.tasks[0]!, null))
  expect(error.message).toMatch(/are 16 × 16 × 1.*expected 8 × 8 × 1/)
})

it('learns no task that has other classes', async () => {
  const folder = path.join(await temporaryFolder(), 'solver')
  await (await fresh()).save(folder)
  const renamed = {
    ...first,
    train: { ...first.train, dataset: { ...first.train.dataset, classes: ['x', 'b', 'c', 'd'] } },
  }
  const error = await failure((await load(folder)).learn(renamed, null))
  expect(error).toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
    message: expect.stringMatching(/the classes of .* are x, b, c, d; expected .*, and further ones after these/),
  })
})

async function edit(folder: string, change: object): Promise<void> {
  const file = path.join(folder, 'solver.json')
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), ...change }))
}
