import { createHash } from 'node:crypto'
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import { inceptionFile } from '../lib/evaluation/inception-file.js'
import { splitScores } from '../lib/evaluation/inception-metrics.js'
import { runExperiment } from '../lib/experiment/index.js'
import { fid, type ImageBatch, InceptionV3, inceptionScore, kid, type Metric } from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose, goldenJson } from './support/golden.js'
import { failure } from './support/tiny.js'
import { tinyExperiment } from './support/tiny-experiment.js'

// The standard file is not here: another network with its interface stands for it, and its SHA-256 for that file's.
vi.mock('../lib/evaluation/inception-file.js', async () => {
  const { createHash } = await import('node:crypto')
  const { readFileSync } = await import('node:fs')
  const sha256 = createHash('sha256')
    .update(readFileSync(new URL('./fixtures/torchscript/inception.pt', import.meta.url)))
    .digest('hex')
  const nowhere = 'http://127.0.0.1:9/inception-2015-12-05.pt'
  return { inceptionFile: { name: 'inception-2015-12-05.pt', url: nowhere, sha256, mostBytes: 2 ** 20 } }
})

const standIn = fixture('inception')

function fixture(name: string): string {
  return fileURLToPath(new URL(`./fixtures/torchscript/${name}.pt`, import.meta.url))
}

let cache: string
beforeEach(async () => {
  cache = await temporaryFolder()
  vi.stubEnv('XDG_CACHE_HOME', cache)
  vi.stubEnv('CONTINUAL_DIFFUSION_DATA_URL', '')
})
const networks = () => path.join(cache, 'continual-diffusion', 'networks')

interface Expected {
  features: number[]
  greyFeatures: number[]
  fid: number
  fidBySqrtm: number
  kid: number
  inceptionScore: number
  inceptionScoreStd: number
  inceptionScoreOneSplit: number
}
const expected = goldenJson<Expected>('metrics/inception.json')

function images(count: number, factor: number, shift: number, channels = 3): ImageBatch {
  const length = count * 144 * channels
  const data = Uint8Array.from({ length }, (_, i) => (i * factor + (i >> 4) * 11 + shift) % 256)
  return { data, count, height: 12, width: 12, channels }
}

function some({ data, ...shape }: ImageBatch, from: number, to: number): ImageBatch {
  const each = data.length / shape.count
  return { ...shape, data: data.slice(from * each, to * each), count: to - from }
}

const real = images(60, 37, 0)
const generated = images(50, 53, 7)

async function load(options = {}): Promise<InceptionV3> {
  const inception = await InceptionV3.load({ file: standIn, device: 'cpu', ...options })
  onTestFinished(() => inception.dispose())
  return inception
}

async function resultOf(metric: Metric, of: ImageBatch = real) {
  const run = metric.start()
  await run.add(some(of, 0, 7), 'real')
  await run.add(some(of, 7, of.count), 'real')
  await run.add(some(generated, 0, 33), 'generated')
  await run.add(some(generated, 33, 50), 'generated')
  return run.finish()
}

/** Serves a file: of the first responses so many bytes each, and then nothing until `drop` breaks the connection. */
async function serve(file: Uint8Array, breaks: number[] = []) {
  const ranges: (string | undefined)[] = []
  let open: ServerResponse | undefined
  const server = createServer((request, response) => {
    ranges.push(request.headers.range)
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
    if (from > 0 && from >= file.length) return response.writeHead(416).end()
    const body = file.subarray(from)
    response.writeHead(from > 0 ? 206 : 200, {
      'content-length': body.length,
      ...(from > 0 && { 'content-range': `bytes ${from}-${file.length - 1}/${file.length}` }),
    })
    const broken = breaks.shift()
    if (broken === undefined) return response.end(body)
    open = response
    response.write(body.subarray(0, broken))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  onTestFinished(async () => {
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/inception.pt`,
    ranges,
    drop: () => void open?.destroy(),
  }
}

it('features are the network’s on images of any size, and grey images are repeated', async () => {
  const inception = await load()
  expect(inception).toMatchObject({ dimension: 2048, inceptionV3: true, classes: 5 })
  expectClose((await inception.features(real)).subarray(3 * 2048, 3 * 2048 + 16), expected.features, 1e-5)
  const grey = await inception.features(images(20, 37, 0, 1))
  expectClose(grey.subarray(3 * 2048, 3 * 2048 + 16), expected.greyFeatures, 1e-5)
  const other = await inception.features({
    data: new Uint8Array(32 * 32 * 3),
    count: 1,
    height: 32,
    width: 32,
    channels: 3,
  })
  expect(other).toHaveLength(2048)
})

it('FID, KID and inception score are those of the published code', async () => {
  const inception = await load()
  const distance = fid(inception)
  expect(distance).toMatchObject({
    name: 'fid',
    title: `FID (Inception-v3, sha256 ${inceptionFile.sha256.slice(0, 12)}…, 2048 features)`,
  })
  const { value, note } = await resultOf(distance)
  // Both of them lose digits to a singular product.
  expectClose([value, value], [expected.fid, expected.fidBySqrtm], 1e-6)
  expect(note).toMatch(/rank-deficient covariance: only 60 real and 50 generated images for 2048 features/)

  const kernel = kid(inception, { subsets: { count: 3 } })
  expect(kernel).toMatchObject({ name: 'kid', title: expect.stringMatching(/^KID, 3 subsets of 1000 \(Inception-v3/) })
  const found = await resultOf(kernel, some(real, 0, 50))
  expectClose([found.value], [expected.kid], 1e-6)
  expectClose(found.detail!.subsets!, [expected.kid, expected.kid, expected.kid], 1e-6)
  expect(found.note).toBe('subsets of 50: there are 50 real and 50 generated images, fewer than 1000')

  const score = await resultOf(inceptionScore(inception))
  expectClose([score.value], [expected.inceptionScore], 1e-6)
  const mean = score.value
  const std = Math.sqrt(score.detail!.splits!.reduce((sum, one) => sum + (one - mean) ** 2 / 10, 0))
  expectClose([std], [expected.inceptionScoreStd], 1e-4)
  expectClose(
    [(await resultOf(inceptionScore(inception, { splits: 1 }))).value],
    [expected.inceptionScoreOneSplit],
    1e-6,
  )
})

it('subsets of a KID differ, are a function of the seed, and have the mean of all images', async () => {
  const inception = await load()
  const of = async (subsets: object) => (await resultOf(kid(inception, { subsets }))).detail!.subsets!
  const subsets = await of({ count: 200, size: 20 })
  expect(new Set(subsets).size).toBe(200)
  expect(await of({ count: 3, size: 20 })).toEqual(subsets.slice(0, 3))
  expect(await of({ count: 3, size: 20, seed: 1 })).not.toEqual(subsets.slice(0, 3))
  const mean = subsets.reduce((sum, one) => sum + one, 0) / 200
  const error = Math.sqrt(subsets.reduce((sum, one) => sum + (one - mean) ** 2, 0) / 200 / 199)
  const { kernelDistance } = await import('../lib/index.js')
  const whole = (await resultOf(kernelDistance(inception))).value
  expect(Math.abs(mean - whole)).toBeLessThan(4 * error)
})

it('a class that an image can not be of adds nothing to the score', async () => {
  // Two kinds of images, each surely of a class of its own: exp(log 2).
  expectClose(await splitScores([Float32Array.from([1, 0, 0, 0, 1, 0])], 3, 1), [2], 1e-12)
})

it('what is no probability, and no file of this interface, is told with what it gave', async () => {
  inceptionFile.sha256 = createHash('sha256')
    .update(await readFile(fixture('logits')))
    .digest('hex')
  onTestFinished(async () => {
    inceptionFile.sha256 = createHash('sha256')
      .update(await readFile(standIn))
      .digest('hex')
  })
  const inception = await load({ file: fixture('logits') })
  const failed = await failure(resultOf(inceptionScore(inception)))
  expect(failed).toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
    message: expect.stringMatching(/it gives 3 numbers with the sum .*; expected the probabilities of classes/),
  })
  inceptionFile.sha256 = createHash('sha256')
    .update(await readFile(fixture('channels')))
    .digest('hex')
  const other = await failure(InceptionV3.load({ file: fixture('channels'), device: 'cpu' }))
  expect(other).toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
    message: expect.stringMatching(/channels\.pt.*return_features/s),
  })
})

it('a file with another SHA-256 is refused, and none that is there', async () => {
  const failed = await failure(InceptionV3.load({ file: fixture('wide') }))
  expect(failed.code).toBe('ERR_BAD_DATA')
  expect(failed.message).toMatch(
    /wide\.pt: the SHA-256 is [0-9a-f]{64}; expected [0-9a-f]{64}, that of inception-2015-12-05\.pt/,
  )
  const none = await failure(InceptionV3.load({ file: path.join(cache, 'none.pt') }))
  expect(none).toMatchObject({ code: 'ERR_BAD_DATA', message: expect.stringContaining("none.pt can't be read") })
  expect(() => fid({ ...failed } as never)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }))
})

it('is downloaded once, goes on where it broke off, and tells its progress', async () => {
  const file = await readFile(standIn)
  const { url, ranges, drop } = await serve(file, [500, 600])
  const progress: [string, number, number][] = []
  const onProgress = (...one: [string, number, number]) => {
    progress.push(one)
    if (one[1] === 500 || one[1] === 1100) drop()
  }
  await load({ file: undefined, url, onProgress })
  expect(ranges).toEqual([undefined, 'bytes=500-', 'bytes=1100-'])
  expect(progress.at(-1)).toEqual(['inception-2015-12-05.pt', file.length, file.length])
  expect(progress.every(([, done], i) => i === 0 || done > progress[i - 1]![1])).toBe(true)
  expect(await readdir(networks())).toEqual(['inception-2015-12-05.pt'])
  await load({ file: undefined, url })
  expect(ranges).toHaveLength(3)
})

it('an abort leaves what has come for the next download', async () => {
  const file = await readFile(standIn)
  const { url, ranges } = await serve(file, [700])
  const controller = new AbortController()
  const reason = new Error('enough')
  const options = { url, device: 'cpu', signal: controller.signal, onProgress: () => controller.abort(reason) } as const
  await expect(InceptionV3.load(options)).rejects.toBe(reason)
  expect(await readdir(networks())).toEqual(['inception-2015-12-05.pt.part'])
  await load({ file: undefined, url })
  expect(ranges).toEqual([undefined, 'bytes=700-'])
  expect(await readFile(path.join(networks(), 'inception-2015-12-05.pt'))).toEqual(file)
})

it('what was left of another file is got anew, and another file in the cache is replaced with a warning', async () => {
  const file = await readFile(standIn)
  const { url, ranges } = await serve(file)
  await mkdir(networks(), { recursive: true })
  await writeFile(path.join(networks(), 'inception-2015-12-05.pt.part'), Buffer.alloc(900, 'x'))
  await load({ file: undefined, url })
  expect(ranges).toEqual(['bytes=900-', undefined])

  await copyFile(fixture('wide'), path.join(networks(), 'inception-2015-12-05.pt'))
  await writeFile(path.join(networks(), 'inception-2015-12-05.pt.part'), Buffer.alloc(9000, 'x'))
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
  await load({ file: undefined, url })
  expect((await warned).message).toMatch(/is damaged or another file: its SHA-256 is/)
  expect(await readFile(path.join(networks(), 'inception-2015-12-05.pt'))).toEqual(file)
})

it('another file at the address is no Inception-v3', async () => {
  const { url } = await serve(await readFile(fixture('wide')))
  const failed = await failure(InceptionV3.load({ url }))
  expect(failed).toMatchObject({
    code: 'ERR_DOWNLOAD_FAILED',
    message: expect.stringMatching(/the SHA-256 of its \d+ bytes is/),
  })
  expect(await readdir(networks())).toEqual([])
})

it('another file that breaks off each time is not got for ever', async () => {
  const { url, ranges, drop } = await serve(await readFile(fixture('wide')), Array(3).fill([500, undefined]).flat())
  const onProgress = (_: string, done: number) => done === 500 && drop()
  expect(await failure(InceptionV3.load({ url, onProgress }))).toMatchObject({ code: 'ERR_DOWNLOAD_FAILED' })
  expect(ranges).toEqual([undefined, 'bytes=500-', undefined, 'bytes=500-'])
  expect(await readdir(networks())).toEqual([])
})

it('without a cache that can be written it is used for this once, with a warning', async () => {
  const { url } = await serve(await readFile(standIn))
  const blocked = path.join(cache, 'file')
  await writeFile(blocked, '')
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
  await load({ file: undefined, url, cacheFolder: path.join(blocked, 'x') })
  expect((await warned).message).toMatch(/inception-2015-12-05\.pt is used but not kept for the next time/)
})

it('an experiment measures FID, KID and inception score', async () => {
  const metrics = ['fid', 'kid', 'inceptionScore'] as const
  const { results } = await runExperiment({
    ...tinyExperiment,
    methods: ['finetune'],
    evaluation: { count: 10, metrics: [...metrics], inception: { file: standIn }, perTask: false, after: 'last' },
    out: path.join(await temporaryFolder(), 'run'),
  })
  const values = results.runs[0]!.tasks.at(-1)!.metrics
  expect(Object.keys(values)).toEqual(metrics)
  expect(values.fid).toMatchObject({ generated: 10, reference: expect.any(Number) })
  expect(results.metrics.fid!.title).toMatch(/^FID \(Inception-v3/)
  // Of the test images, and of training images for the reference.
  expect(await readdir(path.join(cache, 'continual-diffusion', 'statistics'))).toHaveLength(2)
}, 120_000)
