import { inspect } from 'node:util'
import fc from 'fast-check'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { ContinualDiffusionError } from '../lib/errors.js'
import { targets } from './support/fuzz-targets.js'

vi.mock(import('node:fs/promises'), async (original) =>
  (await import('./support/memory-files.js')).withMemoryFiles(await original()),
)

// `npm run fuzz` sets these: many inputs, of one target or of all, from another seed.
const { FUZZ_RUNS, FUZZ_TARGET, FUZZ_SEED } = process.env

/** What a reader may take for inputs of some kilobytes, in bytes, whatever these say of themselves. */
const memory = 2 ** 30

describe.each(Object.keys(targets).filter((name) => FUZZ_TARGET === undefined || name === FUZZ_TARGET))(
  '%s',
  (name) => {
    const opening = targets[name]!()
    afterAll(async () => (await opening).close?.())

    it(
      'reads any input or refuses it with an error that says why, and takes no memory for what is only claimed',
      async () => {
        const { inputs, read, codes, runs } = await opening
        const [before, start] = [process.resourceUsage().maxRSS, performance.now()]
        let [accepted, refused] = [0, 0]
        const property = fc.asyncProperty(inputs, async (input) => {
          try {
            await read(input)
            accepted++
          } catch (error) {
            if (!(error instanceof ContinualDiffusionError) || !codes.includes(error.code)) throw error
            if (error.message.length > 4000) throw new Error(`a message of ${error.message.length} characters`)
            refused++
          }
        })
        const numRuns = FUZZ_RUNS === undefined ? runs : Number(FUZZ_RUNS)
        const seed = FUZZ_SEED === undefined ? 1 : Number(FUZZ_SEED)
        // Not `fc.assert`: it writes inputs out by recursion, and some are nested too deeply for that.
        const { errorInstance, counterexample, counterexamplePath } = await fc.check(property, {
          numRuns,
          seed,
          timeout: 20_000,
        })
        if (errorInstance !== null) {
          const input = inspect(counterexample?.[0], { depth: 5, maxStringLength: 2000, maxArrayLength: 500 })
          throw new Error(`failed with seed ${seed}, path ${counterexamplePath}, on ${input}`, { cause: errorInstance })
        }
        const grown = (process.resourceUsage().maxRSS - before) * 1024
        if (FUZZ_RUNS !== undefined) {
          const seconds = ((performance.now() - start) / 1000).toFixed(0)
          console.log(
            `${name}: ${numRuns} inputs from seed ${seed} in ${seconds} s: ${accepted} accepted, ${refused} refused, ` +
              `the peak of resident memory ${(grown / 2 ** 20).toFixed(0)} MiB higher`,
          )
        }
        expect(accepted).toBeGreaterThan(numRuns / 100)
        expect(refused).toBeGreaterThan(numRuns / 100)
        expect(grown).toBeLessThan(memory)
      },
      FUZZ_RUNS === undefined ? 60_000 : 2 ** 31 - 1,
    )
  },
)
