import { expect, it } from 'vitest'
import { nativeCheck, run } from './support/native-check.js'

it('the generator is Philox4x32-10, by its published vectors', async () => {
  const { stdout } = await run(await nativeCheck('random'))
  // Of the authors' library Random123, kat_vectors: key and counter of zeros, of ones, and of digits of π.
  const published = [
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ]
  const found = stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' ').map(Number))
  expect(found).toEqual(published.map((words) => words.map((word) => word >>> 8)))
}, 300_000)
