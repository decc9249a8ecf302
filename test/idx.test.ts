import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { formatIdx, loadIdx, parseIdx, readIdxShape } from '../lib/data/index.js'

/** A header with a payload, as bytes. */
function idx(dtype: number, dims: number[], payload: Uint8Array | number[] = []): Uint8Array {
  const header = Buffer.alloc(4 + 4 * dims.length)
  header[2] = dtype
  header[3] = dims.length
  for (const [i, size] of dims.entries()) header.writeUInt32BE(size, 4 + 4 * i)
  return Buffer.concat([header, Uint8Array.from(payload)])
}

const pixels = Uint8Array.from({ length: 24 }, (_, i) => (i * 37) % 256)
const images = idx(8, [2, 3, 4], pixels)
const bad = (message: RegExp) =>
  expect.objectContaining({ code: 'ERR_BAD_DATA', message: expect.stringMatching(message) })

describe('parseIdx', () => {
  it.each([
    ['plain', images],
    ['gzipped', gzipSync(images)],
    ['in several gzip members', Buffer.concat([gzipSync(images.subarray(0, 9)), gzipSync(images.subarray(9))])],
  ])('reads what another writer wrote, %s', async (_, bytes) => {
    const parsed = await parseIdx(bytes, 'images', 3)
    expect(parsed.shape).toEqual([2, 3, 4])
    expect([...parsed.data]).toEqual([...pixels])
  })

  it('reads what formatIdx writes, at an offset in its buffer too', async () => {
    const bytes = formatIdx({ shape: [2, 3, 4], data: pixels })
    expect(Buffer.compare(bytes, images)).toBe(0)
    const shifted = new Uint8Array(bytes.length + 5)
    shifted.set(bytes, 5)
    expect([...(await parseIdx(shifted.subarray(5), 'images')).data]).toEqual([...pixels])
  })

  it.each([
    ['a truncated file', images.subarray(0, 30), /f: the unpacked length is 30 bytes; expected 40.*2 × 3 × 4/],
    ['a file that is too long', Buffer.concat([images, Buffer.alloc(1)]), /length is 41 bytes; expected 40/],
    ['a truncated header', images.subarray(0, 10), /length is 10 bytes; expected 16 bytes of header/],
    ['an empty file', new Uint8Array(), /length is 0 bytes/],
    ['a wrong magic number', Buffer.from('PK\x03\x04whatever'), /magic number is 0x504b0304/],
    ['an unknown element type', idx(0x0a, [1], [0]), /magic number is 0x00000a01/],
    ['another element type', idx(0x0d, [1], [0, 0, 0, 0]), /element type is float32.*expected uint8/],
    ['no dimensions', idx(8, []), /number of dimensions is 0/],
    ['a gzip file that ends early', gzipSync(images).subarray(0, 30), /f: the gzip data is damaged or ends early/],
    ['a gzip file of something shorter', gzipSync(idx(8, [5], [1, 2])), /length is 10 bytes; expected 13/],
    ['a gzip file of something longer', gzipSync(idx(8, [5], Buffer.alloc(9000))), /length is more than 13 bytes/],
  ])('refuses %s', async (_, bytes, message) => {
    await expect(parseIdx(bytes, 'f')).rejects.toThrow(bad(message))
  })

  it('refuses another number of dimensions', async () => {
    await expect(parseIdx(images, 'f', 1)).rejects.toThrow(bad(/number of dimensions is 3; expected 1/))
    await expect(parseIdx(idx(8, [1], [1]), 'f', [3, 4])).rejects.toThrow(bad(/is 1; expected 3 or 4/))
  })

  it('takes no memory for what a header only claims', async () => {
    const huge = [2 ** 20, 2 ** 20, 2 ** 20]
    const before = process.memoryUsage()
    await expect(parseIdx(idx(8, huge), 'f')).rejects.toThrow(bad(/expected 1152921504606847000, .*1048576 × 1048576/))
    await expect(parseIdx(gzipSync(idx(8, huge)), 'f')).rejects.toThrow(bad(/expected 1152921504606847000/))
    await expect(parseIdx(idx(8, Array(255).fill(2 ** 32 - 1)), 'f')).rejects.toThrow(bad(/expected Infinity/))
    await expect(parseIdx(idx(8, [...Array(254).fill(2 ** 32 - 1), 0]), 'f')).rejects.toThrow(bad(/length/))
    const after = process.memoryUsage()
    expect(after.arrayBuffers + after.external - before.arrayBuffers - before.external).toBeLessThan(2 ** 24)
  })

  it('unpacks no more of a gzip bomb than the header says', async () => {
    const bomb = gzipSync(Buffer.concat([idx(8, [1000]), Buffer.alloc(2 ** 26)]))
    const before = process.memoryUsage().arrayBuffers
    await expect(parseIdx(bomb, 'f')).rejects.toThrow(bad(/more than 1008 bytes/))
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24)
  })
})

describe('loadIdx', () => {
  it.each<[unknown, RegExp]>([
    [undefined, /^loadIdx: the value is missing/],
    [{ name: 'mine' }, /train is missing.*test is missing/],
    [
      { name: 'mine', train: { images: 'a', label: 'b' }, test: { images: 'a', labels: 'b' } },
      /unknown option 'label' .*in train/,
    ],
    [
      { name: 'mine', train: { images: 'a', labels: 'b' }, test: { images: 'a', labels: 'b' }, sise: 8 },
      /unknown option 'sise'/,
    ],
  ])('refuses %j', async (options, message) => {
    await expect(loadIdx(options as never)).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', message: expect.stringMatching(message) }),
    )
  })

  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'idx-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  async function write(parts: { labels?: Uint8Array; testImages?: Uint8Array } = {}) {
    const paths = Object.fromEntries(['ti', 'tl', 'vi', 'vl'].map((name) => [name, join(folder, name)])) as {
      [key in 'ti' | 'tl' | 'vi' | 'vl']: string
    }
    await writeFile(paths.ti, gzipSync(images))
    await writeFile(paths.tl, parts.labels ?? idx(8, [2], [2, 0]))
    await writeFile(paths.vi, parts.testImages ?? idx(8, [1, 3, 4], pixels.subarray(0, 12)))
    await writeFile(paths.vl, idx(8, [1], [3]))
    return { train: { images: paths.ti, labels: paths.tl }, test: { images: paths.vi, labels: paths.vl } }
  }

  it('loads images with their labels, and numbers the classes', async () => {
    const files = await write()
    const { train, test } = await loadIdx({ name: 'mine', ...files, size: 8 })
    expect(train).toMatchObject({ name: 'mine/train', height: 3, width: 4, channels: 1, size: 8 })
    expect(train.classes).toEqual(['0', '1', '2', '3'])
    expect([...train.images]).toEqual([...pixels])
    expect([...train.labels]).toEqual([2, 0])
    expect([...test.labels]).toEqual([3])
    expect(await readIdxShape(files.train.images)).toEqual([2, 3, 4])
  })

  it('loads colour images', async () => {
    const { train, test, ...rest } = await write({ testImages: idx(8, [1, 2, 2, 3], pixels.subarray(0, 12)) })
    const loaded = await loadIdx({ name: 'mine', train: test, test, ...rest })
    expect(loaded.train).toMatchObject({ height: 2, width: 2, channels: 3 })
    expect(train.images).not.toBe(test.images)
  })

  it('refuses labels out of range, too few labels, and tests of another shape', async () => {
    const classes = ['a', 'b', 'c']
    await expect(loadIdx({ name: 'mine', ...(await write()), classes })).rejects.toThrow(
      bad(/mine\/test: label 0 is 3; expected a class index, 0 … 2/),
    )
    await expect(loadIdx({ name: 'mine', ...(await write({ labels: idx(8, [3], [0, 1, 2]) })) })).rejects.toThrow(
      bad(/mine\/train: the images hold 24 bytes, that is 2 images of 3 × 4 × 1; expected 36 bytes.*3 labels/),
    )
    await expect(
      loadIdx({ name: 'mine', ...(await write({ testImages: idx(8, [1, 4, 3], pixels.subarray(0, 12)) })) }),
    ).rejects.toThrow(bad(/mine\/test: the height is 4; expected 3, as in mine\/train/))
  })

  it('names a missing file', async () => {
    const files = await write()
    await rm(files.test.labels)
    await expect(loadIdx({ name: 'mine', ...files })).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_DATA_NOT_FOUND', message: expect.stringContaining(files.test.labels) }),
    )
  })

  it('rejects with the reason of the signal', async () => {
    const reason = new Error('enough')
    const files = await write()
    await expect(loadIdx({ name: 'mine', ...files, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })
})
