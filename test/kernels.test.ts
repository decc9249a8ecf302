import { execFile } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'

const run = promisify(execFile)
const build = fileURLToPath(new URL('../build', import.meta.url))

beforeAll(async () => {
  await run('cmake', ['--build', build, '--target', 'kernels_check'])
}, 300_000)

describe.each(['avx512', 'avx2', 'default'])('with ATEN_CPU_CAPABILITY=%s', (capability) => {
  it('our kernels and their gradients are those of libtorch’s operators in float64', async () => {
    const env = { ...process.env, ATEN_CPU_CAPABILITY: capability }
    const { stdout } = await run(path.join(build, 'kernels_check'), { env })
    const lines = stdout.trim().split('\n')
    // A processor without AVX-512 computes the first with AVX2 once more.
    if (capability !== 'avx512') expect(lines.at(-1)).toBe(`capability ${capability.toUpperCase()}`)
    const errors = lines.slice(0, -1).map((line) => line.split(' ') as [string, string])
    expect(errors).toHaveLength(42)
    for (const [name, error] of errors) {
      expect(Number(error), name).toBeLessThan(name.includes('bfloat16') ? 2 ** -5 : 2e-5)
    }
  })
})
