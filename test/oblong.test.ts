import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { expect, it, onTestFinished } from 'vitest'
import { experimentSchema } from '../lib/experiment/config.js'
import { imageGrid } from '../lib/images/grid.js'
import { writeImages } from '../lib/images/image-files.js'
import {
  Classifier,
  finetune,
  fromArrays,
  type ImageSize,
  Learner,
  permuted,
  Solver,
  TorchScriptFeatures,
  trainTest,
} from '../lib/index.js'
import { domainIncremental, fromDatasets } from '../lib/streams/index.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { failure, tinyUNet } from './support/tiny.js'

/** Images of 8 × 12 in two classes: a bright left half, or a bright right one. */
function halves(name: string, count: number, channels = 1) {
  const images = new Uint8Array(count * 96 * channels).map((_, i) => {
    const pixel = Math.floor(i / channels)
    const isRight = pixel % 12 >= 6
    return (isRight === (Math.floor(pixel / 96) % 2 === 1) ? 200 : 20) + (i % 31)
  })
  const labels = Array.from({ length: count }, (_, i) => i % 2)
  return fromArrays({ name, images, labels, classes: ['left', 'right'], height: 8, width: 12, channels })
}

it('a classifier and a solver learn oblong images, and take no others', async () => {
  const data = trainTest(halves('halves/train', 64, 5), halves('halves/test', 16, 5))
  const classifier = await Classifier.train(data, { epochs: 6, batchSize: 16, device: 'cpu' })
  onTestFinished(() => classifier.dispose())
  expect(classifier).toMatchObject({ size: [8, 12], channels: 5 })
  expect(classifier.accuracy).toBeGreaterThan(0.9)
  const square = { data: new Uint8Array(8 * 8 * 5), count: 1, height: 8, width: 8, channels: 5 }
  expect((await failure(classifier.classify(square))).message).toMatch(/are 8 × 8 × 5; expected 8 × 12 × 5/)

  const stream = fromDatasets([data])
  const solver = await Solver.create(stream, { device: 'cpu' })
  onTestFinished(() => solver.dispose())
  await solver.learn(stream.tasks[0]!, null, { epochs: 0.5 })
  const saved = path.join(await temporaryFolder(), 'solver')
  await solver.save(saved)
  const loaded = await Solver.load(saved, { device: 'cpu' })
  onTestFinished(() => loaded.dispose())
  expect(loaded.size).toEqual([8, 12])
  const mirrored = trainTest({ ...data.train, size: [12, 8] }, { ...data.test, size: [12, 8] })
  const error = await failure(loaded.learn({ ...fromDatasets([mirrored]).tasks[0]!, number: 2 }, null))
  expect(error.message).toMatch(/are 12 × 8 × 5; expected 8 × 12 × 5/)
  expect(() => fromDatasets([data, mirrored])).toThrow(/are 12 × 8 × 5; expected 8 × 12 × 5/)
})

it('a learner learns images that are resized to its height and width, and takes no others', async () => {
  const learner = await Learner.create({ unet: { ...tinyUNet, sample_size: [16, 12] }, device: 'cpu' })
  onTestFinished(() => learner.dispose())
  const learn = async (size: ImageSize) => {
    const [task] = fromDatasets([trainTest({ ...halves('a', 8), size }, { ...halves('b', 8), size })]).tasks
    return learner.train(task!, finetune(), { steps: 1, batchSize: 4 })
  }
  expect((await failure(learn([12, 16]))).message).toMatch(/are 12 × 16; expected 16 × 12.*with { size: \[16, 12\] }/)
  await learn([16, 12])
  expect(learner.tasksLearned).toBe(1)
})

it('a network of the user’s gets images of the height and width that it takes', async () => {
  const file = fileURLToPath(new URL('./fixtures/torchscript/named.pt', import.meta.url))
  const network = await TorchScriptFeatures.load(file, { size: [2, 4], output: 'flat', channels: 1, device: 'cpu' })
  onTestFinished(() => network.dispose())
  expect(network.dimension).toBe(8)
  const step = Uint8Array.from({ length: 32 }, (_, i) => (i % 8 < 4 ? 0 : 255))
  const row = [0, 1 / 8, 7 / 8, 1]
  expectClose(
    await network.features({ data: step, count: 1, height: 4, width: 8, channels: 1 }),
    [...row, ...row],
    1e-6,
  )
})

it('a domain changes oblong images', () => {
  const data = trainTest(halves('halves/train', 2), halves('halves/test', 2))
  const [task] = domainIncremental(data, { domains: [permuted(3)] }).tasks
  const { images, height, width } = task!.train.dataset
  expect([height, width]).toEqual([8, 12])
  expect([...images.subarray(0, 96)].sort()).toEqual([...data.train.images.subarray(0, 96)].sort())
})

it('images of more channels than a picture has are shown as grey ones side by side', async () => {
  const five = Uint8Array.from({ length: 2 * 2 * 3 * 5 }, (_, i) => i)
  const batch = { data: five, count: 2, height: 2, width: 3, channels: 5 }
  const grid = await imageGrid(batch, { columns: 1, scale: 1, gap: 0 })
  const { data, info } = await sharp(grid)
    .removeAlpha()
    .toColourspace('b-w')
    .raw()
    .toBuffer({ resolveWithObject: true })
  expect(info).toMatchObject({ width: 15, height: 4, channels: 1 })
  const pixel = (row: number, x: number, channel: number) => data[row * 15 + channel * 3 + x]
  for (let i = 0; i < five.length; i++) expect(pixel(Math.floor(i / 15), Math.floor(i / 5) % 3, i % 5)).toBe(i)
  const folder = path.join(await temporaryFolder(), 'pictures')
  await writeImages(batch, folder)
  const second = await sharp(path.join(folder, '0001.png')).toColourspace('b-w').raw().toBuffer()
  expect([...second]).toEqual([...data.subarray(30)])
})

it('images have 1 to 16 channels', () => {
  const set = (channels: number) =>
    fromArrays({
      ...{ name: 'x', images: new Uint8Array(channels), labels: [0], classes: ['a'], height: 1, width: 1 },
      channels,
    })
  expect(set(16).channels).toBe(16)
  expect(() => set(17)).toThrow(/channels is 17; expected/)
})

it('an experiment resizes its images to the height and width of its U-Net', () => {
  const unet = { ...tinyUNet, sample_size: [8, 16] as const, in_channels: 3, out_channels: 3 }
  const parse = (change: object) =>
    experimentSchema.safeParse({
      data: { name: 'image-folder', folder: 'x' },
      unet,
      train: { steps: 1 },
      methods: ['finetune'],
      ...change,
    })
  expect(parse({}).data?.data).toMatchObject([{ size: [8, 16] }])
  expect(parse({ data: { name: 'cifar-10', folder: 'x', size: [16, 8] } }).error?.message).toMatch(/which is \[8, 16\]/)
  const four = { ...unet, in_channels: 4, out_channels: 4 }
  expect(parse({ unet: four }).error?.message).toMatch(/expected 1 or 3/)
  expect(parse({ unet: four, data: { name: 'idx', folder: 'x' } }).success).toBe(true)
})
