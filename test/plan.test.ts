import { mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { type ExperimentInput, resolveWithMethods } from '../lib/experiment/config.js'
import { type Plan, planExperiment } from '../lib/experiment/plan.js'
import { runExperiment } from '../lib/experiment/run.js'
import { temporaryFolder, writeIdxFolder } from './support/folders.js'
import { failure } from './support/tiny.js'
import { tinyExperiment } from './support/tiny-experiment.js'

const plan = (change: object): Promise<Plan> =>
  planExperiment(resolveWithMethods({ ...tinyExperiment, ...change } as ExperimentInput))

/** For each task its classes and how many images it trains and is tested on. */
const shape = ({ streams }: Plan, seed = 0) =>
  streams[seed]!.stream.tasks.map(({ classes, train, test }) => [classes, train.indices.length, test.indices.length])

async function idxFolder(perClass: number, classes = 2): Promise<string> {
  const folder = await temporaryFolder()
  await writeIdxFolder(folder, perClass, classes)
  return folder
}

test('class-incremental: each seed has its order, unless one is given', async () => {
  const seeded = await plan({ seeds: [42, 69] })
  expect(shape(seeded).map(([classes]) => classes)).toEqual([
    [2, 6],
    [1, 8],
    [4, 5],
    [0, 9],
    [3, 7],
  ])
  expect(shape(seeded, 1)[0]).toEqual([[0, 2], 1000, 200])
  const order = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
  const given = await plan({ stream: { tasks: 2, order }, seeds: [42, 69] })
  expect(shape(given, 1)).toEqual([
    [[9, 8, 7, 6, 5], 2500, 500],
    [[4, 3, 2, 1, 0], 2500, 500],
  ])
})

test('domain-incremental: every domain is there, and the classifier learns them all', async () => {
  const folder = await idxFolder(3)
  const domains = ['unchanged', { rotate: 90 }, { permute: 7 }]
  const made = await plan({
    data: { name: 'idx', folder },
    stream: { kind: 'domain-incremental', domains },
    seeds: [1, 2],
  })
  expect(shape(made)).toEqual([
    [[0, 1], 6, 6],
    [[0, 1], 6, 6],
    [[0, 1], 6, 6],
  ])
  expect(made.streams[0]!.stream.tasks.map(({ name }) => name)).toEqual([
    'unchanged',
    'rotated by 90°',
    'permuted by seed 7',
  ])
  expect(made.data.train.labels).toHaveLength(18)
  // Changed copies are made once for all seeds.
  expect(made.streams[1]!.stream).toBe(made.streams[0]!.stream)
})

test('data-incremental and single', async () => {
  const data = { name: 'idx', folder: await idxFolder(5) }
  const shares = await plan({ data, stream: { kind: 'data-incremental', tasks: 3 } })
  expect(shape(shares).map(([, train]) => train)).toEqual([4, 3, 3])
  expect(shape(await plan({ data, stream: { kind: 'single' } }))).toEqual([[[0, 1], 10, 10]])
})

test('from-datasets: a task for each, classes of one name are one', async () => {
  const first = { name: 'idx', folder: await idxFolder(2), classes: ['cat', 'dog'] }
  const second = { name: 'idx', folder: await idxFolder(3), classes: ['dog', 'emu'] }
  const made = await plan({ data: [first, second], stream: { kind: 'from-datasets' } })
  expect(shape(made)).toEqual([
    [[0, 1], 4, 4],
    [[1, 2], 6, 6],
  ])
  expect(made.data.test).toMatchObject({ classes: ['cat', 'dog', 'emu'], height: 8, width: 8 })
  expect([...made.data.test.labels]).toEqual([0, 1, 0, 1, 1, 2, 1, 2, 1, 2])
})

test('an image folder is read at the size and with the channels of the U-Net', async () => {
  const folder = await temporaryFolder()
  for (const file of ['train/a/1.png', 'train/b/1.jpg', 'test/a/1.webp', 'test/b/1.png']) {
    await mkdir(path.dirname(path.join(folder, file)), { recursive: true })
    const image = sharp({ create: { width: 12, height: 9, channels: 3, background: 'white' } })
    await image.toFile(path.join(folder, file))
  }
  const made = await plan({ data: { name: 'image-folder', folder }, stream: { tasks: 2 } })
  expect(
    shape(made)
      .flatMap(([classes]) => classes)
      .sort(),
  ).toEqual([0, 1])
  expect(made.data.train).toMatchObject({ height: 8, width: 8, channels: 1, classes: ['a', 'b'] })
  expect(new Set(made.data.train.images)).toEqual(new Set([255]))
})

test.each([
  ['a task without images', { stream: { kind: 'data-incremental', tasks: 5 } }, /task 3 .* has no images/],
  ['tasks that do not divide the classes', { stream: { tasks: 3 } }, /tasks is 3; expected a divisor of 2/],
  [
    'a memory larger than the data',
    { stream: { tasks: 2 }, methods: [{ name: 'experience-replay', size: 3 }] },
    /size is 3; expected at most 1/,
  ],
  [
    'features in a file that is not there',
    { stream: { tasks: 2 }, evaluation: { features: { file: 'no.pt', size: 8 } } },
    /no\.pt/,
  ],
  [
    'an unknown option of the features',
    { stream: { tasks: 2 }, evaluation: { features: { file: 'no.pt', size: 8, chanels: 3 } } },
    /'chanels'.*'channels'/,
  ],
])('%s is refused before anything is trained', async (_, change, message) => {
  const folder = await idxFolder(1)
  const error = await failure((async () => plan({ data: { name: 'idx', folder }, ...change }))())
  expect(error.message).toMatch(message)
})

test('too few test images for a metric are refused before anything is trained or written', async () => {
  const out = path.join(await temporaryFolder(), 'run')
  const few = { ...tinyExperiment, data: { name: 'idx', folder: await idxFolder(1) }, stream: { tasks: 2 }, out }
  const refusal = async (evaluation: object) =>
    (await failure(runExperiment({ ...few, evaluation } as ExperimentInput))).message
  expect(await refusal({ count: 10 })).toMatch(/frechetDistance needs at least 2 test images; after task 1 .* are 1:/)
  expect(await refusal({ count: 10, metrics: ['ard', 'recall'], k: 2, after: 'last' })).toMatch(
    /recall needs at least 3 test images; after task 2 .* are 2:/,
  )
  expect(await refusal({ count: 10, metrics: ['ard'], areaSteps: [2, 3] })).toMatch(/areaSteps needs at least 2/)
  await expect(readdir(out)).rejects.toThrow('ENOENT')
})

test('images with other channels than the U-Net has are refused', async () => {
  const { unet } = tinyExperiment
  const error = await failure((async () => plan({ unet: { ...unet, in_channels: 3, out_channels: 3 } }))())
  expect(error).toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
    message: expect.stringMatching(/unet\.in_channels is 3; expected 1/),
  })
})
