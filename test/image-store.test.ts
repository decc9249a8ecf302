import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { loadAddon } from '../lib/engine/load.js'
import { ResidentImages } from '../lib/engine/resident-images.js'
import {
  Classifier,
  type Dataset,
  evaluate,
  finetune,
  frechetArea,
  frechetDistance,
  fromArrays,
  ImageStore,
  Learner,
  Solver,
} from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { bandsData, bandsStream, collect, failure, tinyLearner, tinyUNet } from './support/tiny.js'

afterEach(() => vi.restoreAllMocks())

/** Counts how often images are brought to a device. */
function counted() {
  return vi.spyOn(loadAddon(), 'createImages')
}

function store(): ImageStore {
  const images = new ImageStore()
  onTestFinished(() => images.dispose())
  return images
}

/** `count` grey images of `side` × `side` pixels, no two alike. */
function large(count: number, side: number): Dataset {
  const images = Uint8Array.from({ length: count * side * side }, (_, i) => (i * 31 + Math.floor(i / 997)) % 256)
  return fromArrays({
    name: 'large',
    images,
    labels: new Int32Array(count),
    classes: ['all'],
    height: side,
    width: side,
    channels: 1,
  })
}

const everything = (dataset: Dataset) => ({ dataset, indices: Int32Array.from(dataset.labels.keys()) })

async function useAll(images: ImageStore | undefined): Promise<void> {
  const stream = bandsStream()
  const [task, second] = stream.tasks as [(typeof stream.tasks)[0], (typeof stream.tasks)[0]]
  const data = { train: task.train.dataset, test: task.test.dataset }
  const learner = await tinyLearner({ images })
  await using solver = await Solver.create(stream, { device: 'cpu', images })
  await using classifier = await Classifier.train(data, { epochs: 0.1, device: 'cpu', images })
  await solver.learn(task, null, { epochs: 0.1 })
  await collect(learner.learn(task, finetune(), { steps: 1, batchSize: 2 }))
  const metrics = [frechetDistance(classifier)]
  for (let i = 0; i < 2; i++) await evaluate(learner, stream.seen(second), metrics, { count: 4 })
  await frechetArea(learner, stream.seen(second), classifier, { count: 4, steps: [1, 2] })
}

describe('a store', () => {
  it('brings a data set to a device once for all that share it', async () => {
    const created = counted()
    await useAll(store())
    expect(created).toHaveBeenCalledTimes(2) // train and test
  })

  it('is made by each that is given none', async () => {
    const created = counted()
    await useAll(undefined)
    expect(created).toHaveBeenCalledTimes(6) // two for each of learner, solver and classifier
  })

  it('serves loaded learners and solvers', async () => {
    const stream = bandsStream()
    const task = stream.tasks[0]!
    const folder = await temporaryFolder()
    const first = await tinyLearner()
    await first.save(`${folder}/learner`)
    await using solver = await Solver.create(stream, { device: 'cpu' })
    await solver.save(`${folder}/solver`)
    const images = store()
    const created = counted()
    for (let i = 0; i < 2; i++) {
      await using learner = await Learner.load(`${folder}/learner`, { device: 'cpu', images })
      await learner.denoisingLoss(task.train, { bands: 1 })
      await using loaded = await Solver.load(`${folder}/solver`, { device: 'cpu', images })
      await loaded.accuracy(task.train)
    }
    expect(created).toHaveBeenCalledTimes(1)
  })

  it('that a learner was given outlives it; its own does not', async () => {
    const images = store()
    const task = bandsStream().tasks[0]!
    const learner = await tinyLearner({ images })
    await learner.denoisingLoss(task.train, { bands: 1 })
    const own = await tinyLearner()
    const { store: private_ } = own.images
    await learner.dispose()
    await own.dispose()
    await images.images(task.train.dataset, 'cpu', 8)
    expect(() => private_.images(task.train.dataset, 'cpu', 8)).toThrow(
      expect.objectContaining({ code: 'ERR_DISPOSED' }),
    )
    expect(() => own.images).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }))
  })

  it('once disposed of, is told so by those who use it', async () => {
    const images = new ImageStore()
    const task = bandsStream().tasks[0]!
    const learner = await tinyLearner({ images })
    const coming = images.images(task.train.dataset, 'cpu', 8)
    await images.dispose()
    await images.dispose()
    expect(() => loadAddon().readImages({ count: 0 } as never, Int32Array.of(0))).toThrow(/expected NativeImages/)
    const gone = await coming
    expect(() => loadAddon().readImages(gone, Int32Array.of(0))).toThrow(/was disposed of/)
    expect((await failure(learner.denoisingLoss(task.train))).code).toBe('ERR_DISPOSED')
  })

  it('is checked', async () => {
    const error = await failure(Learner.create({ unet: tinyUNet, images: {} as never }))
    expect(error.code).toBe('ERR_INVALID_ARGUMENT')
    expect(error.message).toContain('images')
  })

  it('brings images once for two that ask at the same time, and again for another size', async () => {
    const { train } = bandsData()
    const images = store()
    const created = counted()
    const [a, b] = await Promise.all([images.images(train, 'cpu', 8), images.images(train, 'cpu', 8)])
    expect(b).toBe(a)
    expect(created).toHaveBeenCalledTimes(1)
    expect(await images.images(train, 'cpu', 4)).not.toBe(a)
    expect(created).toHaveBeenCalledTimes(2)
  })

  it('keeps no failure', async () => {
    const { train } = bandsData()
    const images = store()
    const created = counted()
    created.mockRejectedValueOnce(Object.assign(new Error('full'), { code: 'ERR_OUT_OF_MEMORY' }))
    const both = [images.images(train, 'cpu', 8), images.images(train, 'cpu', 8)]
    for (const one of both) expect((await failure(one)).code).toBe('ERR_OUT_OF_MEMORY')
    expect((await images.images(train, 'cpu', 8)).count).toBe(train.labels.length)
    expect(created).toHaveBeenCalledTimes(2)
  })

  it('brings again what was released', async () => {
    const { train } = bandsData()
    const images = store()
    const first = await images.images(train, 'cpu', 8)
    await images.release(train)
    await images.release(train)
    expect(() => loadAddon().readImages(first, Int32Array.of(0))).toThrow(/was disposed of/)
    expect((await images.images(train, 'cpu', 8)).count).toBe(train.labels.length)
  })

  it('gives back the memory of a data set that the program has dropped', async () => {
    setFlagsFromString('--expose-gc')
    const collectGarbage: () => void = runInNewContext('gc')
    const images = store()
    const bytes = 16 * 2 ** 20
    const external = () => process.memoryUsage().external
    const bring = async () => {
      await images.images(large(bytes / 2 ** 20, 2 ** 10), 'cpu', 2 ** 10)
      return external()
    }
    collectGarbage() // of the data sets of other tests
    const before = external()
    // The data set itself may be gone already.
    expect(await bring()).toBeGreaterThan(before + 0.9 * bytes)
    await vi.waitFor(() => {
      collectGarbage()
      expect(external()).toBeLessThan(before + bytes / 2)
    }, 10_000)
  })
})

describe('images that come in parts', () => {
  it.each([64, 24])('are those that come at once, at %i pixels a side', async (size) => {
    // 1.5 parts.
    const dataset = large(1536, 64)
    const resident = new ResidentImages('cpu', size, store())
    const { images, labels, height, width, channels } = dataset
    const count = labels.length
    const native = await loadAddon().createImages({
      images,
      labels,
      count,
      height,
      width,
      channels,
      size,
      device: 'cpu',
    })
    onTestFinished(() => native.dispose())
    const { indices } = everything(dataset)
    const found = await resident.read({ dataset, indices })
    expect(Buffer.compare(found.data, await loadAddon().readImages(native, indices))).toBe(0)
    if (size === 64) expect(Buffer.compare(found.data, images)).toBe(0)
  })

  it('are refused when their array is given away meanwhile, and come when asked for again', async () => {
    const dataset = large(1536, 64)
    const images = store()
    const coming = images.images(dataset, 'cpu', 64)
    const copy = dataset.images.slice()
    structuredClone(dataset.images.buffer, { transfer: [dataset.images.buffer as ArrayBuffer] })
    const error = await failure(coming)
    expect(error.code).toBe('ERR_BAD_DATA')
    expect(error.message).toBe(
      'large: the images hold no bytes, as their memory was transferred, e.g. to a worker (its buffer is detached); expected ' +
        '1536 × 64 × 64 × 1, as there are 1536 labels',
    )
    expect((await images.images({ ...dataset, images: copy }, 'cpu', 64)).count).toBe(1536)
  })
})

it('a disposed store is refused by all that would use it', async () => {
  const images = new ImageStore()
  await images.dispose()
  for (const making of [
    Learner.create({ unet: tinyUNet, device: 'cpu', images }),
    Solver.create(bandsStream(), { device: 'cpu', images }),
    Classifier.train(bandsData(), { device: 'cpu', images }),
  ]) {
    const { code, message } = await failure(making)
    expect([code, message]).toEqual(['ERR_DISPOSED', 'the image store was disposed; create or load a new one'])
  }
})
