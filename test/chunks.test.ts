import fc from 'fast-check'
import { expect, it } from 'vitest'
import { nextChunk } from '../lib/engine/chunks.js'

it('a call of steps as fast as the last ones lasts about 200 ms, however many of them are prepared together', () => {
  const anyCall = [fc.integer({ min: 1, max: 1e6 }), fc.double({ min: 0, max: 1e6, noNaN: true })] as const
  fc.assert(
    fc.property(...anyCall, fc.integer({ min: 1, max: 8 }), (steps, milliseconds, atOnce) => {
      const chunk = nextChunk(steps, milliseconds, atOnce)
      expect(chunk % atOnce).toBe(0)
      expect(chunk).toBeGreaterThan(0)
      // The first calls are too short to judge the speed by.
      expect(chunk).toBeLessThan(4 * steps + atOnce)
      const expected = (chunk / steps) * milliseconds
      if (chunk > atOnce) expect(expected).toBeLessThan(200 + ((atOnce + 1) / steps) * milliseconds)
      if (chunk < 4 * steps) expect(expected).toBeGreaterThan(200 - (1 / steps) * milliseconds)
    }),
  )
})

it('grows fourfold until the calls are long enough', () => {
  expect([nextChunk(1, 0), nextChunk(1, 1), nextChunk(16, 16), nextChunk(64, 64)]).toEqual([4, 4, 64, 200])
  expect([nextChunk(8, 8, 8), nextChunk(100, 100, 8), nextChunk(8, 4000, 8)]).toEqual([32, 200, 8])
})
