import { expect, it } from 'vitest'
import { nativeCheck, run } from './support/native-check.js'

it('large tensors of several threads neither overlap nor leave gaps that grow, and what is free goes back', async () => {
  const { stdout } = await run(await nativeCheck('tensor_memory'))
  const { tensors, misaligned, damaged, mostLive, grown, grownLater, residentAfter } = JSON.parse(stdout)
  expect(tensors).toBeGreaterThan(10_000)
  expect({ misaligned, damaged }).toEqual({ misaligned: 0, damaged: 0 })
  // Addresses; malloc takes 64 MiB of them for each of four threads.
  expect(grown).toBeLessThan(2 * mostLive + 256)
  expect(grownLater).toBeLessThan(2 * mostLive + 256)
  expect(residentAfter).toBeLessThan(16)
}, 300_000)
