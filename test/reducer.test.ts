import { expect, it } from 'vitest'
import { nativeCheck, run } from './support/native-check.js'

it('a group of any size takes the steps of a single process, up to rounding', async () => {
  const { stdout } = await run(await nativeCheck('reducer'))
  const rows = stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' ').map(Number))
  expect(rows.map(([size]) => size)).toEqual([1, 2, 3])
  for (const [size, far, alike, sums] of rows) {
    expect(alike, `group of ${size}: all ranks have the same weights`).toBe(1)
    // Of how far the steps led; Adam turns rounding of a tiny gradient into a small part of a step.
    expect(far, `group of ${size}`).toBeLessThan(size === 1 ? 1e-12 : 1e-2)
    // The losses with the number of images, and the gradient; nothing where there is nobody to sum with.
    expect(sums, `sums a step in a group of ${size}`).toBe(size === 1 ? 0 : 2)
  }
}, 300_000)
