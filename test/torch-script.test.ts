import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { frechetDistance, type ImageBatch, TorchScriptFeatures, type TorchScriptOptions } from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose } from './support/golden.js'
import { failure } from './support/tiny.js'

/** A file that Python's PyTorch wrote, see make.py there. */
function fixture(name: string): string {
  return fileURLToPath(new URL(`./fixtures/torchscript/${name}.pt`, import.meta.url))
}

async function load(name: string, options: Partial<TorchScriptOptions> = {}): Promise<TorchScriptFeatures> {
  const network = await TorchScriptFeatures.load(fixture(name), { size: 4, device: 'cpu', ...options })
  onTestFinished(() => network.dispose())
  return network
}

async function featuresOf(file: string, images: ImageBatch): Promise<Float32Array> {
  await using network = await TorchScriptFeatures.load(file, { size: 4, device: 'cpu' })
  return await network.features(images)
}

function batch(count: number, side: number, channels: number): ImageBatch {
  const data = Uint8Array.from({ length: count * side * side * channels }, (_, i) => (i * 37 + (i >> 4) * 11) % 256)
  return { data, count, height: side, width: side, channels }
}

/** What the network of channels.pt computes: weighted means of the channels, then means of their squares. */
function expected({ data, count, height, width, channels }: ImageBatch, scale: (byte: number) => number): number[] {
  const pixels = height * width
  return Array.from({ length: count }, (_, i) => {
    const of = (channel: number) =>
      Array.from({ length: pixels }, (_, p) =>
        scale(data[(i * pixels + p) * channels + (channel % channels)] as number),
      )
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / pixels
    return [
      ...[1, 2, 4].map((weight, c) => weight * mean(of(c))),
      ...[0, 1, 2].map((c) => mean(of(c).map((x) => x * x))),
    ]
  }).flat()
}

it.each([
  [undefined, (byte: number) => byte / 255],
  [[-1, 1] as const, (byte: number) => byte / 127.5 - 1],
  [[0, 255] as const, (byte: number) => byte],
])('features in the range %j are those of the network, of coloured and of grey images', async (range, scale) => {
  const network = await load('channels', { range })
  expect(network).toMatchObject({ name: 'channels.pt', dimension: 6, inceptionV3: false })
  const coloured = batch(70, 4, 3)
  expectClose(await network.features(coloured), expected(coloured, scale), 1e-5)
  const grey = batch(3, 4, 1)
  expectClose(await network.features(grey), expected(grey, scale), 1e-5)
})

it('images of another size are resized to the given one', async () => {
  const flat = await load('named', { size: 4, output: 'flat', channels: 1 })
  expect(flat.dimension).toBe(16)
  const step = Uint8Array.from({ length: 64 }, (_, i) => (i % 8 < 4 ? 0 : 255))
  const features = await flat.features({ data: step, count: 1, height: 8, width: 8, channels: 1 })
  // A triangle over twice the new pixel: weights 1/8, 3/8, 3/8, 1/8.
  const row = [0, 1 / 8, 7 / 8, 1]
  expectClose(features, [...row, ...row, ...row, ...row], 1e-6)
})

it('arguments reach the network, and a part of a tuple or a dictionary can be taken', async () => {
  const images = batch(5, 4, 3)
  const plain = await (await load('channels')).features(images)
  const changed = await load('channels', { arguments: { factor: 2, repeat: 2, negate: true } })
  expect(changed.dimension).toBe(12)
  const twice = Array.from({ length: 5 }, (_, i) => {
    const row = [...plain.subarray(6 * i, 6 * i + 6)].map((x) => -2 * x)
    return [...row, ...row]
  }).flat()
  expectClose(await changed.features(images), twice, 1e-6)

  const whole = await load('several', { output: 0 })
  const means = await load('several', { output: 1 })
  const named = await load('named', { output: 'mean' })
  expect([whole.dimension, means.dimension, named.dimension]).toEqual([1, 3, 3])
  const byChannel = await means.features(images)
  expect(await named.features(images)).toEqual(byChannel)
  expectClose(
    await whole.features(images),
    Array.from({ length: 5 }, (_, i) => [...byChannel.subarray(3 * i, 3 * i + 3)].reduce((a, b) => a + b, 0) / 3),
    1e-6,
  )
})

it('computes once for a batch object, and metrics name its features', async () => {
  const network = await load('channels')
  const images = batch(4, 4, 3)
  expect(await network.features(images)).toBe(await network.features(images))
  const metric = frechetDistance(network)
  expect(metric.title).toBe('Fréchet distance (channels.pt, 6 features)')
  const run = metric.start()
  await run.add(images, 'real')
  await run.add(images, 'generated')
  const { value, note } = await run.finish()
  expect(value).toBeCloseTo(0, 5)
  expect(note).toMatch(/rank-deficient covariance: only 4 real and 4 generated images for 6 features/)
})

it('is called FID only where it is said to be Inception-v3 and has 2048 features, and then shows its SHA-256', async () => {
  const wide = await load('wide')
  expect(wide.dimension).toBe(2048)
  expect(frechetDistance(wide)).toMatchObject({
    name: 'frechetDistance',
    title: 'Fréchet distance (wide.pt, 2048 features)',
  })
  const said = await load('wide', { inceptionV3: true })
  const sha256 = createHash('sha256')
    .update(await readFile(fixture('wide')))
    .digest('hex')
  expect(said.sha256).toBe(sha256)
  expect(frechetDistance(said)).toMatchObject({
    name: 'fid',
    title: `FID (Inception-v3, sha256 ${sha256.slice(0, 12)}…, 2048 features)`,
  })
  for (const [name, options] of [
    ['channels', {}],
    ['wide', { channels: 1 }],
  ] as const) {
    const failed = await failure(load(name, { inceptionV3: true, ...options }))
    expect(failed.code).toBe('ERR_INVALID_ARGUMENT')
    expect(failed.message).toContain(`${fixture(name)}: inceptionV3 is true, but the network's output is`)
  }
})

it('a file that is missing, or no TorchScript, is ERR_BAD_CHECKPOINT and named', async () => {
  const folder = await temporaryFolder()
  const text = path.join(folder, 'text.pt')
  await writeFile(text, 'not a network')
  const cut = path.join(folder, 'cut.pt')
  await writeFile(cut, (await readFile(fixture('channels'))).subarray(0, 700))
  await mkdir(path.join(folder, 'folder.pt'))
  for (const file of [text, cut, path.join(folder, 'folder.pt'), path.join(folder, 'none.pt')]) {
    const failed = await failure(TorchScriptFeatures.load(file, { size: 4, device: 'cpu' }))
    expect(failed.code).toBe('ERR_BAD_CHECKPOINT')
    expect(failed.message).toContain(file)
    expect(failed.message).toContain('torch.jit.save')
  }
})

it('of a file with any one byte changed, either the damage is noticed or the features are the same', async () => {
  const [valid, folder, images] = [await readFile(fixture('channels')), await temporaryFolder(), batch(2, 4, 3)]
  const features = await (await load('channels')).features(images)
  const file = path.join(folder, 'network.pt')
  let noticed = 0
  for (let at = 0; at < valid.length; at++) {
    const damaged = Uint8Array.from(valid)
    damaged[at] = (damaged[at] as number) ^ (at % 2 ? 0xff : 1 << (at % 8))
    await writeFile(file, damaged)
    const found = await featuresOf(file, images).catch((error: unknown) => error)
    if (found instanceof Float32Array) {
      expect(found, `byte ${at}`).toEqual(features)
    } else {
      expect(found, `byte ${at}`).toMatchObject({ code: 'ERR_BAD_CHECKPOINT' })
      noticed++
    }
  }
  // Most of the file is records; of their headers, much is dates and sizes that nobody reads.
  expect(noticed).toBeGreaterThan(valid.length / 2)
})

it.each([
  // Fuzzing found them: libtorch reads past the end of the first's tensor, and takes 4 GiB for a string of the second.
  ['channels', 1073, [255, 0, 0, 0, 0, 0, 0, 0], 'the CRC-32 of its record "archive/data/0" is 00000000, not fff441ff'],
  ['named', 90, [255, 255, 255, 255, 0, 0, 0, 0], 'the CRC-32 of its record "archive/data.pkl" is 22ea05d8'],
] as const)('%s, damaged from byte %d on, is refused before libtorch sees it', async (name, at, bytes, message) => {
  const file = path.join(await temporaryFolder(), 'network.pt')
  const damaged = await readFile(fixture(name))
  damaged.set(bytes, at)
  await writeFile(file, damaged)
  const failed = await failure(TorchScriptFeatures.load(file, { size: 4, device: 'cpu' }))
  expect(failed).toMatchObject({ code: 'ERR_BAD_CHECKPOINT', message: expect.stringContaining(message) })
})

it.each([
  ['channels', { channels: 2 }, /the network failed on images of 1 × 2 × 4 × 4/],
  ['channels', { arguments: { brokn: 1 } }, /brokn/],
  ['channels', { arguments: { broken: 1 } }, /broken on purpose/],
  ['channels', { arguments: { broken: 2 } }, /some of the features are not finite/],
  ['several', {}, /the network's output is a Tuple; expected a tensor: the option output/],
  ['several', { output: 4 }, /the network's output has 4 parts; expected more than the option output, which is 4/],
  ['several', { output: 2 }, /the network's output is a GenericDict; expected a tensor/],
  ['several', { output: 3 }, /the shape \[1, 3, 4, 4\]; expected 1 rows of features/],
  ['several', { output: 'mean' }, /the network's output is a Tuple; expected a dictionary with the key 'mean'/],
  ['named', { output: 'none' }, /the network's output is a GenericDict; expected a dictionary with the key 'none'/],
  ['named', { output: 0 }, /the network's output is a GenericDict; expected a tuple or a list/],
] as const)('%s with %j: the error names the file and says what was wrong', async (name, options, message) => {
  const failed = await failure(load(name, options))
  expect(failed.code).toBe('ERR_INVALID_ARGUMENT')
  expect(failed.message).toContain(fixture(name))
  expect(failed.message).toMatch(message)
})

it('refuses images that do not fit, unknown options, and use after dispose', async () => {
  const network = await load('channels')
  expect((await failure(network.features(batch(2, 4, 4)))).message).toMatch(
    /have 4 channels; expected 1, or the network's 3/,
  )
  expect((await failure(network.features({ ...batch(2, 4, 3), count: 3 }))).message).toMatch(/3 × 4 × 4 × 3; found 96/)
  const unknown = await failure(load('channels', { chanels: 3 } as never))
  expect(unknown.message).toMatch(/unknown option 'chanels' \(did you mean 'channels'\?\)/)
  await network.dispose()
  await network.dispose()
  expect((await failure(network.features(batch(1, 4, 3)))).code).toBe('ERR_DISPOSED')
})
