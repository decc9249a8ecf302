import { mkdir, rm, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadCifar10, loadCifar100 } from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { failure } from './support/tiny.js'

/** The red, green and blue of image n at a row and a column: no two alike nearby. */
const colour = (n: number, row: number, column: number) => [(n * 50 + row) % 256, column * 8, 255 - n - row]

/** Records as the data set's authors describe them: label bytes, then the red, the green and the blue plane, row by row. */
function records(labels: readonly (readonly number[])[]): Buffer {
  return Buffer.concat(
    labels.map((bytes, n) => {
      const planes = [0, 1, 2].flatMap((c) =>
        Array.from({ length: 1024 }, (_, p) => colour(n, Math.floor(p / 32), p % 32)[c] as number),
      )
      return Buffer.from([...bytes, ...planes])
    }),
  )
}

async function cifar10(change: Record<string, Buffer | string> = {}): Promise<string> {
  const folder = await temporaryFolder()
  const files: Record<string, Buffer | string> = {
    'batches.meta.txt': 'airplane\nautomobile\nbird\n\n',
    'test_batch.bin': records([[2]]),
    ...change,
  }
  for (let n = 1; n <= 5; n++) files[`data_batch_${n}.bin`] ??= records([[n % 3], [0]])
  for (const [name, content] of Object.entries(files)) await writeFile(path.join(folder, name), content)
  return folder
}

describe('loadCifar10', () => {
  it('reads planes into pixels, labels and names, the batches in order', async () => {
    const { train, test } = await loadCifar10({ folder: await cifar10(), size: 16 })
    expect(train).toMatchObject({ name: 'cifar-10/train', height: 32, width: 32, channels: 3, size: 16 })
    expect(train.classes).toEqual(['airplane', 'automobile', 'bird'])
    expect([...train.labels]).toEqual([1, 0, 2, 0, 0, 0, 1, 0, 2, 0])
    expect([...test.labels]).toEqual([2])
    const pixel = (n: number, row: number, column: number) => {
      const at = ((n * 32 + row) * 32 + column) * 3
      return [...train.images.subarray(at, at + 3)]
    }
    // Images 0 and 1 of every batch.
    expect(pixel(0, 0, 0)).toEqual(colour(0, 0, 0))
    expect(pixel(0, 31, 7)).toEqual(colour(0, 31, 7))
    expect(pixel(3, 4, 31)).toEqual(colour(1, 4, 31))
    expect(pixel(9, 31, 31)).toEqual(colour(1, 31, 31))
  })

  it('takes given names in place of the file', async () => {
    const folder = await cifar10()
    await rm(path.join(folder, 'batches.meta.txt'))
    const { test } = await loadCifar10({ folder, name: 'mine', classes: ['a', 'b', 'c'] })
    expect(test).toMatchObject({ name: 'mine/test', classes: ['a', 'b', 'c'], size: undefined })
    const missing = await failure(loadCifar10({ folder }))
    expect(missing.code).toBe('ERR_DATA_NOT_FOUND')
    expect(missing.message).toContain(path.join(folder, 'batches.meta.txt'))
  })

  it.each<[string, Record<string, Buffer | string>, RegExp]>([
    [
      'a truncated file',
      { 'data_batch_3.bin': records([[1]]).subarray(0, 3000) },
      /data_batch_3.bin: .* 3000 bytes; expected a multiple of 3073/,
    ],
    ['an empty file', { 'test_batch.bin': '' }, /test_batch.bin: the length is 0 bytes/],
    ['files of CIFAR-100', { 'data_batch_1.bin': records([[1, 2]]) }, /data_batch_1.bin: the length is 3074 bytes/],
    [
      'a label without a class',
      { 'data_batch_2.bin': records([[0], [3]]) },
      /data_batch_2.bin: label 1 is 3; expected a class index, 0 … 2/,
    ],
    ['no class names', { 'batches.meta.txt': '\n' }, /batches.meta.txt: there are no class names/],
    [
      'a list of names that is none',
      { 'batches.meta.txt': Buffer.alloc(70_000) },
      /batches.meta.txt: .*70000 bytes; expected at most/,
    ],
  ])('refuses %s', async (_, change, message) => {
    const error = await failure(loadCifar10({ folder: await cifar10(change) }))
    expect(error.code).toBe('ERR_BAD_DATA')
    expect(error.message).toMatch(message)
  })

  it('takes no memory for a file of a wrong length', async () => {
    const folder = await cifar10()
    // Sparse: the length alone.
    await truncate(path.join(folder, 'data_batch_1.bin'), 2 ** 34 + 1)
    const before = process.memoryUsage().arrayBuffers
    expect((await failure(loadCifar10({ folder }))).message).toMatch(/is 17179869185 bytes/)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24)
  })

  it('names a missing file and a folder in a file’s place, refuses unknown options, and can be aborted', async () => {
    const folder = await cifar10()
    await rm(path.join(folder, 'data_batch_4.bin'))
    const missing = await failure(loadCifar10({ folder }))
    expect([missing.code, missing.message]).toEqual(['ERR_DATA_NOT_FOUND', expect.stringContaining('data_batch_4.bin')])
    await mkdir(path.join(folder, 'data_batch_4.bin'))
    expect((await failure(loadCifar10({ folder }))).message).toMatch(/data_batch_4.bin: it is not a file/)
    expect((await failure(loadCifar10({ foldr: folder } as never))).message).toMatch(/did you mean 'folder'/)
    const reason = new Error('enough')
    await expect(loadCifar10({ folder, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })
})

describe('loadCifar100', () => {
  async function cifar100(): Promise<string> {
    const folder = await temporaryFolder()
    await writeFile(
      path.join(folder, 'train.bin'),
      records([
        [1, 2],
        [0, 3],
        [1, 0],
      ]),
    )
    await writeFile(path.join(folder, 'test.bin'), records([[0, 1]]))
    await writeFile(path.join(folder, 'coarse_label_names.txt'), 'fish\r\nflowers\r\n')
    await writeFile(path.join(folder, 'fine_label_names.txt'), 'ray\nshark\norchid\npoppy\n')
    return folder
  }

  it('reads fine or coarse labels', async () => {
    const folder = await cifar100()
    const fine = await loadCifar100({ folder })
    expect(fine.train.classes).toEqual(['ray', 'shark', 'orchid', 'poppy'])
    expect([...fine.train.labels]).toEqual([2, 3, 0])
    expect([...fine.test.labels]).toEqual([1])
    const coarse = await loadCifar100({ folder, labels: 'coarse' })
    expect(coarse.train.classes).toEqual(['fish', 'flowers'])
    expect([...coarse.train.labels]).toEqual([1, 0, 1])
    expect(coarse.train.images).toEqual(fine.train.images)
    expect([...fine.train.images.subarray(2 * 3072, 2 * 3072 + 6)]).toEqual([...colour(2, 0, 0), ...colour(2, 0, 1)])
    expect((await failure(loadCifar100({ folder, labels: 'both' as never }))).message).toMatch(/labels is 'both'/)
  })
})
