import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { readSafetensors, type StoredTensor, toFloat32, writeSafetensors } from '../lib/files/safetensors.js'
import { temporaryFolder } from './support/folders.js'
import { goldenPath } from './support/golden.js'
import { failure } from './support/tiny.js'

describe('safetensors', () => {
  const tensors = new Map<string, StoredTensor>([
    ['b', { dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) }],
    ['a', { dtype: 'F16', shape: [3], data: Uint16Array.of(1, 2, 3) }],
    ['c', { dtype: 'I64', shape: [1], data: BigInt64Array.of(-5n) }],
    ['empty', { dtype: 'U8', shape: [0], data: new Uint8Array() }],
    ['scalar', { dtype: 'F64', shape: [], data: Float64Array.of(Math.PI) }],
  ])

  it('round trips every dtype, in an order of its own', async () => {
    const file = path.join(await temporaryFolder(), 'x.safetensors')
    await writeSafetensors(file, tensors, { who: 'us' })
    const read = await readSafetensors(file)
    expect(new Map(read.tensors)).toEqual(tensors)
    expect(read.metadata).toEqual({ who: 'us' })
    const other = path.join(await temporaryFolder(), 'y.safetensors')
    await writeSafetensors(other, new Map([...tensors].reverse()), { who: 'us' })
    expect((await readFile(other)).equals(await readFile(file))).toBe(true)
  })

  it('writes the file that the reference implementation wrote', async () => {
    const original = goldenPath('step/finetune.safetensors')
    const { tensors, metadata } = await readSafetensors(original)
    const file = path.join(await temporaryFolder(), 'x.safetensors')
    await writeSafetensors(file, tensors, metadata)
    expect((await readFile(file)).equals(await readFile(original))).toBe(true)
  })

  it('truncated at any place, is refused', async () => {
    const folder = await temporaryFolder()
    const file = path.join(folder, 'x.safetensors')
    await writeSafetensors(file, tensors)
    const whole = await readFile(file)
    for (let length = 0; length < whole.length; length++) {
      await writeFile(file, whole.subarray(0, length))
      expect((await failure(readSafetensors(file))).code).toBe('ERR_BAD_CHECKPOINT')
    }
    await writeFile(file, Buffer.concat([whole, Buffer.alloc(1)]))
    expect((await failure(readSafetensors(file))).message).toMatch(/the tensors end at byte \d+ of the data, which has/)
  })

  const entry = { dtype: 'F32', shape: [2], data_offsets: [0, 8] }

  it.each<[string, unknown, RegExp]>([
    ['no object', [1], /the header is not an object/],
    ['an unknown dtype', { x: { ...entry, dtype: 'F8' } }, /tensor 'x' has dtype 'F8'/],
    ['a negative size', { x: { ...entry, shape: [-2] } }, /tensor 'x' has shape \[ -2 \]/],
    ['a huge size', { x: { ...entry, shape: [2 ** 40, 2 ** 40] } }, /has 8 bytes; expected/],
    ['offsets that do not fit the shape', { x: { ...entry, shape: [3] } }, /has 8 bytes; expected 12/],
    ['offsets that run backwards', { x: { ...entry, data_offsets: [8, 0] } }, /has -8 bytes; expected 8/],
    ['tensors that overlap', { x: entry, y: entry }, /tensor 'y' begins at byte 0; expected 8/],
    ['a gap', { x: { ...entry, data_offsets: [4, 12] } }, /tensor 'x' begins at byte 4; expected 0/],
    [
      'data beyond the end',
      { x: { ...entry, shape: [200], data_offsets: [0, 800] } },
      /truncated: tensor 'x' ends at byte 800/,
    ],
    ['metadata that is no text', { __metadata__: { a: 1 }, x: entry }, /__metadata__ is not a map of strings/],
  ])('with %s in the header is refused', async (_, header, message) => {
    const file = path.join(await temporaryFolder(), 'x.safetensors')
    const json = Buffer.from(JSON.stringify(header))
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(json.length))
    await writeFile(file, Buffer.concat([length, json, Buffer.alloc(8)]))
    const error = await failure(readSafetensors(file))
    expect(error.code).toBe('ERR_BAD_CHECKPOINT')
    expect(error.message).toMatch(message)
    expect(error.message).toContain(file)
  })

  it('half floats are read as IEEE 754 says', () => {
    const halves = [0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0001, 0x0400, 0x7c00, 0xfc00, 0x7e00, 0x3555]
    const values = toFloat32({ dtype: 'F16', shape: [halves.length], data: Uint16Array.from(halves) })
    const expected = [0, -0, 1, -2, 65504, 2 ** -24, 2 ** -14, Infinity, -Infinity, Number.NaN, 0.333251953125]
    expect([...(values as Float32Array)]).toEqual(expected)
  })
})
