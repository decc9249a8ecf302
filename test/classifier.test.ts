import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { call } from '../lib/engine/call.js'
import { readSafetensors, writeSafetensors } from '../lib/files/safetensors.js'
import { averageRatioDeviation, Classifier, classFrequencies, fashionMnist, frechetDistance } from '../lib/index.js'
import { devices } from './support/devices.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { bandsBatch, bandsData, failure } from './support/tiny.js'

const data = bandsData()
const options = { epochs: 40, batchSize: 32, seed: 1, device: 'cpu' } as const
let classifier: Classifier

beforeAll(async () => {
  classifier = await Classifier.train(data, options)
})

afterAll(() => classifier.dispose())

const count = data.test.labels.length

describe('Classifier', () => {
  it('learns to tell classes apart, and says how well', async () => {
    expect(classifier.name).toBe('bands classifier')
    expect(classifier.classes).toEqual(data.train.classes)
    const { images, labels } = bandsBatch(0, count)
    const found = await classifier.classify(images)
    expect(found.features).toHaveLength(count * classifier.dimension)
    expect(found.logits).toHaveLength(count * 4)
    const right = found.labels.filter((label, i) => label === labels[i]).length
    expect(classifier.accuracy).toBe(right / count)
    expect(classifier.accuracy).toBeGreaterThan(0.9)
  })

  it.each(devices)('tells real clothes apart, on %s', async (device) => {
    const clothes = await fashionMnist({ subset: true, size: 16 })
    const trained = await Classifier.train(clothes, { epochs: 3, seed: 1, device })
    onTestFinished(() => trained.dispose())
    expect(trained.name).toMatch(/fashion-mnist.* classifier/)
    expect(trained.accuracy).toBeGreaterThan(0.7)
  })

  it('same seed, same classifier; progress runs to the end', async () => {
    const steps: number[] = []
    const short = {
      ...options,
      epochs: 3,
      onProgress: ({ step, steps: all }: { step: number; steps: number }) => steps.push(step / all),
    }
    const [a, b] = [await Classifier.train(data, short), await Classifier.train(data, short)]
    onTestFinished(async () => {
      await a.dispose()
      await b.dispose()
    })
    const { images } = bandsBatch(0, 4)
    expect(await a.classify(images)).toEqual(await b.classify(images))
    expect(steps.at(-1)).toBe(1)
  })

  it('refuses images of another shape, unknown options and use after dispose', async () => {
    const { images } = bandsBatch(0, 2)
    const wide = await failure(classifier.classify({ ...images, width: 4, height: 16 }))
    expect(wide.message).toMatch(/are 16 × 4 × 1; expected 8 × 8 × 1/)
    const short = await failure(classifier.classify({ ...images, count: 3 }))
    expect(short.message).toMatch(/hold 128 bytes; expected 192/)
    const option = await failure(Classifier.train(data, { epoch: 1 } as never))
    expect(option.message).toMatch(/unknown option 'epoch' \(did you mean 'epochs'\?\)/)
    const gone = await Classifier.train(data, { ...options, epochs: 1 })
    await gone.dispose()
    await gone.dispose()
    expect((await failure(gone.classify(images))).code).toBe('ERR_DISPOSED')
  })

  it('trains at least a step in a call, however short, and how calls are cut changes nothing', async () => {
    const steps = 5
    const weightsAfter = async (milliseconds: number, calls: number) => {
      const { images, labels, height, width, channels } = data.train
      const native = await call((addon) => addon.createClassifier({ channels: 1, classes: 4, device: 'cpu', seed: 3 }))
      onTestFinished(() => native.dispose())
      const shape = { count: labels.length, height, width, channels, size: 0, device: 'cpu' }
      const resident = await call((addon) => addon.createImages({ images, labels, ...shape }))
      onTestFinished(() => resident.dispose())
      const pool = [{ images: resident, indices: Int32Array.from(labels, (_, i) => i) }]
      const how = { pool, batchSize: 16, lr: 1e-3, horizontalFlip: true, shift: 1, dropout: 0.2, milliseconds }
      for (let done = 0; done < steps; calls--) {
        done += (await native.train({ ...how, steps: steps - done }, new Int32Array(1))).steps
      }
      expect(calls).toBe(0)
      return native.read()
    }
    expect(await weightsAfter(0, steps)).toEqual(await weightsAfter(600_000, 1))
  })

  it('aborted, rejects with the reason', async () => {
    const controller = new AbortController()
    const training = Classifier.train(data, { ...options, epochs: 100_000, signal: controller.signal })
    setTimeout(() => controller.abort('enough'), 50)
    await expect(training).rejects.toBe('enough')
  })

  it('spoilt by its only update, whose loss was finite, is not given out or kept', async () => {
    const folder = await temporaryFolder()
    const losses: number[] = []
    const error = await failure(
      Classifier.cached(data, {
        ...options,
        epochs: 1,
        batchSize: data.train.labels.length,
        lr: 1e38,
        folder,
        onProgress: ({ loss }) => losses.push(loss),
      }),
    )
    expect(losses).toEqual([expect.closeTo(Math.log(4), 0)])
    expect(error.code).toBe('ERR_DIVERGED')
    expect(error.message).toMatch(/classifier has logits that are not finite for images of bands\/test.*smaller lr/)
    expect(await readdir(folder)).toEqual([])
  })
})

describe('Classifier.cached', () => {
  const short = { ...options, epochs: 2 }

  async function cached(
    folder: string,
    change: object = {},
    from = data,
  ): Promise<{ found: Classifier; trained: boolean }> {
    let trained = false
    const onProgress = () => {
      trained = true
    }
    const found = await Classifier.cached(from, { ...short, ...change, folder, onProgress })
    onTestFinished(() => found.dispose())
    return { found, trained }
  }

  it('trains once for the same data and options', async () => {
    const folder = path.join(await temporaryFolder(), 'new', 'cache')
    const one = await cached(folder)
    const two = await cached(folder)
    expect([one.trained, two.trained]).toEqual([true, false])
    const { images } = bandsBatch(0, 8)
    expect(await two.found.classify(images)).toEqual(await one.found.classify(images))
    expect(two.found).toMatchObject({ name: one.found.name, accuracy: one.found.accuracy, classes: one.found.classes })
    expect(await readdir(folder)).toHaveLength(1)
  })

  it('trains again for other options or other data', async () => {
    const folder = await temporaryFolder()
    const images = data.train.images.slice()
    images[0] = (images[0] as number) ^ 1
    const other = { ...data, train: { ...data.train, images } }
    for (const { trained } of [
      await cached(folder),
      await cached(folder, { seed: 2 }),
      await cached(folder, { lr: 3e-3 }),
      await cached(folder, {}, other),
    ]) {
      expect(trained).toBe(true)
    }
    expect(await readdir(folder)).toHaveLength(4)
  })

  it('is trained and used where the cache cannot be written, with a warning', async () => {
    const file = path.join(await temporaryFolder(), 'no-folder')
    await writeFile(file, '')
    const warned = new Promise<NodeJS.ErrnoException>((resolve) => process.once('warning', resolve))
    const { found } = await cached(path.join(file, 'cache'))
    expect(found.accuracy).toBeGreaterThan(0)
    expect(await warned).toMatchObject({ code: 'CONTINUAL_DIFFUSION_NO_CACHE', message: expect.stringContaining(file) })
  })

  it.each<[string, (file: string) => Promise<void>]>([
    ['truncated', async (file) => writeFile(file, (await readFile(file)).subarray(0, 1000))],
    [
      'with other weights',
      async (file) => {
        const { tensors, metadata } = await readSafetensors(file)
        for (const { data } of tensors.values()) data.fill(0.01 as never)
        await writeSafetensors(file, tensors, metadata)
      },
    ],
    [
      'with another accuracy',
      async (file) => {
        const { tensors, metadata } = await readSafetensors(file)
        await writeSafetensors(file, tensors, { ...metadata, accuracy: '0.5' })
      },
    ],
  ])('trains again what is %s, and says so', async (_, spoil) => {
    const folder = await temporaryFolder()
    const { found: before } = await cached(folder)
    const file = path.join(folder, (await readdir(folder))[0] as string)
    await spoil(file)
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
    const { found, trained } = await cached(folder)
    expect(trained).toBe(true)
    expect((await warned).message).toMatch(new RegExp(`${file}: .*the classifier is trained again`))
    const { images } = bandsBatch(0, 8)
    expect(await found.classify(images)).toEqual(await before.classify(images))
    expect((await cached(folder)).trained).toBe(false)
  })
})

describe('metrics', () => {
  it('the Fréchet distance is 0 between the same images and grows with their difference', async () => {
    const { images } = bandsBatch(0, count)
    const distance = async (change: (byte: number) => number) => {
      const run = frechetDistance(classifier).start()
      await run.add(images, 'real')
      await run.add({ ...images, data: images.data.map(change) }, 'generated')
      return run.finish()
    }
    const same = await distance((byte) => byte)
    expect(same.value).toBeCloseTo(0, 4)
    expect(same).toMatchObject({ real: count, generated: count })
    const near = await distance((byte) => Math.min(255, byte + 10))
    const far = await distance((byte) => 255 - byte)
    expect(near.value).toBeGreaterThan(same.value)
    expect(far.value).toBeGreaterThan(near.value)
  })

  it('the Fréchet distance says which side has too few images', async () => {
    const run = frechetDistance(classifier).start()
    await run.add(bandsBatch(0, 10).images, 'real')
    await run.add(bandsBatch(10, 30).images, 'generated')
    const { note } = await run.finish()
    expect(note).toBe(
      `rank-deficient covariance: only 10 real and 20 generated images for ${classifier.dimension} features`,
    )
    const lone = frechetDistance(classifier).start()
    await lone.add(bandsBatch(0, 10).images, 'real')
    expect((await failure(lone.finish())).message).toMatch(/0 generated images; expected at least 2/)
  })

  it('names its features and never calls itself FID', () => {
    const { name, title } = frechetDistance(classifier)
    expect(name).toBe('frechetDistance')
    expect(title).toBe(`Fréchet distance (bands classifier, ${classifier.dimension} features)`)
  })

  it('class frequencies compare true labels with those that the classifier sees', async () => {
    const run = classFrequencies(classifier).start()
    const real = bandsBatch(0, 16)
    await run.add(real.images, 'real', real.labels)
    // Every fourth image is of the first class.
    const firsts = new Uint8Array(4 * 64)
    for (let i = 0; i < 4; i++) firsts.set(data.test.images.subarray(4 * i * 64, (4 * i + 1) * 64), i * 64)
    await run.add({ ...real.images, data: firsts, count: 4 }, 'generated')
    const { value, detail, ...counts } = await run.finish()
    expect(counts).toEqual({ real: 16, generated: 4 })
    expect(detail?.real).toEqual([0.25, 0.25, 0.25, 0.25])
    expect(detail?.generated).toEqual([1, 0, 0, 0])
    expect(detail?.ard).toEqual([0.75])
    expectClose([value], [0.25 * Math.log(0.25) + 0.75 * Math.log(0.25 / 1e-8)], 1e-6)
  })

  it('the average ratio deviation is a metric of its own', async () => {
    const run = averageRatioDeviation(classifier).start()
    const real = bandsBatch(0, 16)
    await run.add(real.images, 'real', real.labels)
    await run.add({ ...real.images, data: real.images.data.slice(0, 64), count: 1 }, 'generated')
    const first = { real: [0.25, 0.25, 0.25, 0.25], generated: [1, 0, 0, 0] }
    expect(await run.finish()).toEqual({ value: 0.75, real: 16, generated: 1, detail: first })
  })

  it('class frequencies need the labels of real images', async () => {
    const run = classFrequencies(classifier).start()
    const { images, labels } = bandsBatch(0, 4)
    expect((await failure(run.add(images, 'real'))).message).toMatch(/no labels for 4 real images/)
    expect((await failure(run.add(images, 'real', labels.subarray(1)))).message).toMatch(/3 labels for 4 real images/)
    expect((await failure(run.add(images, 'real', Int32Array.of(0, 1, 2, 9)))).message).toMatch(/label 9/)
    expect((await failure(run.finish())).message).toMatch(/0 real images; expected at least 1/)
  })
})
