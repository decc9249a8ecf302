import { fileURLToPath } from 'node:url'
import { beforeAll, expect, it } from 'vitest'
import { mpirun, runGroup } from './support/mpi.js'
import { compile, run } from './support/processes.js'

const program = fileURLToPath(new URL('support/group-program.mjs', import.meta.url))

interface Found {
  readonly size: number
  readonly losses: Readonly<Record<string, readonly (readonly number[])[]>>
  readonly images: readonly string[]
  readonly values: unknown
}

let alone: Found

beforeAll(async () => {
  await compile()
  await mpirun()
  const { stdout, stderr } = await run([program])
  expect(stderr).toBe('')
  alone = JSON.parse(stdout)
}, 300_000)

/** Three have unequal shares; `RANKS=4 npx vitest run test/group.test.ts` tries four. Other tests of groups have two. */
const sizes = process.env.RANKS ? [Number(process.env.RANKS)] : [3]

it.each(sizes)(
  '%i processes take the steps of one, and generate its images',
  async (size) => {
    const { code, stdout, stderr } = await runGroup(size, [program])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const found: Found = JSON.parse(stdout)
    expect(found.size).toBe(size)
    expect(found.images).toEqual(alone.images)
    expect(found.values).toEqual(alone.values)
    for (const [name, steps] of Object.entries(alone.losses)) {
      expect(steps.length, name).toBe(24)
      // Of the whole loss: while the student is the teacher still, a term alone is no more than rounding.
      const far = Math.max(
        ...steps.flatMap((of, i) => of.map((value, n) => Math.abs(value - found.losses[name]![i]![n]!) / of[0]!)),
      )
      // A teacher's last bits may change a pixel of a pool, whose images are bytes; and the factor of rank-1 EWC is a quotient of small sums.
      expect(far, name).toBeLessThan(/ pool$|^rank-1/.test(name) ? 1e-4 : 1e-5)
    }
  },
  300_000,
)
