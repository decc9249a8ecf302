import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import { evaluate, frechetDistance, type ImageBatch, single, TorchScriptFeatures } from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { bandsData, tinyLearner } from './support/tiny.js'

const file = fileURLToPath(new URL('./fixtures/torchscript/channels.pt', import.meta.url))

let cache: string
beforeEach(async () => {
  cache = await temporaryFolder()
  vi.stubEnv('XDG_CACHE_HOME', cache)
})
const statistics = () => path.join(cache, 'continual-diffusion', 'statistics')

function warnings(): string[] {
  const found: string[] = []
  const listener = ({ message }: Error) => found.push(message)
  process.on('warning', listener)
  onTestFinished(() => void process.off('warning', listener))
  return found
}

/** The distance by a network that was opened anew, and how many images it was asked about. */
async function distance(options: { data?: ReturnType<typeof bandsData>; size?: number } = {}) {
  const { data = bandsData(), size = 4 } = options
  const learner = await tinyLearner({ sampler: { steps: 1 } })
  await using network = await TorchScriptFeatures.load(file, { size, device: 'cpu' })
  let asked = 0
  const features = network.features.bind(network)
  network.features = async (images: ImageBatch) => {
    asked += images.count
    return features(images)
  }
  const stream = single(data)
  const { values } = await evaluate(learner, stream.seen(stream.tasks[0]!), [frechetDistance(network)], { count: 8 })
  return { value: values.frechetDistance!.value, asked }
}

it('statistics of real images are computed once, and are the same to the bit', async () => {
  const real = bandsData().test.labels.length
  const first = await distance()
  expect(first.asked).toBe(real + 8)
  const second = await distance()
  expect(second).toEqual({ value: first.value, asked: 8 })
  expect(await readdir(statistics())).toHaveLength(1)

  // Other images and another use of the network have statistics of their own.
  const other = bandsData()
  other.test.images[0]! ^= 1
  expect((await distance({ data: other })).asked).toBe(real + 8)
  expect((await distance({ size: 8 })).asked).toBe(real + 8)
  expect(await readdir(statistics())).toHaveLength(3)
})

it('a damaged file is told of, and computed again', async () => {
  const first = await distance()
  const [name] = await readdir(statistics())
  const kept = path.join(statistics(), name!)
  const whole = await readFile(kept)
  const real = first.asked
  const told = warnings()
  for (const damage of [
    (bytes: Buffer) => (bytes[bytes.length - 3]! ^= 1),
    (bytes: Buffer) => bytes.write('count":"2', bytes.indexOf('count":"')),
    (bytes: Buffer) => bytes.fill(0, 0, 20),
  ]) {
    const bytes = Buffer.from(whole)
    damage(bytes)
    await writeFile(kept, bytes)
    expect(await distance()).toEqual({ value: first.value, asked: real })
    expect(await readFile(kept)).toEqual(whole)
  }
  expect(told).toHaveLength(3)
  for (const message of told) expect(message).toMatch(/\.safetensors: .*; the statistics are computed again$/)
})

it('where the cache can not be written, there is a warning', async () => {
  const told = warnings()
  await writeFile(path.join(cache, 'continual-diffusion'), '')
  expect((await distance()).asked).toBeGreaterThan(8)
  expect(told).toEqual([expect.stringMatching(/what was measured of the real images is used but not kept/)])
})
