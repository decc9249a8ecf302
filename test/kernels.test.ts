import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { devices } from './support/devices.js'
import { temporaryFolder } from './support/folders.js'
import { build, nativeCheck, plain, run } from './support/native-check.js'

// libtorch takes the variable at its word: on a processor without AVX-512, asking for it ends the process.
const flags = await readFile('/proc/cpuinfo', 'utf8').catch(() => '')
const capabilities = ['avx512', 'avx2', 'default'].filter((name) => name !== 'avx512' || flags.includes('avx512vl'))

describe.each(capabilities)('with ATEN_CPU_CAPABILITY=%s', (capability) => {
  let program: string
  beforeAll(async () => {
    program = await nativeCheck('kernels')
  }, 600_000)

  it('our kernels and their gradients are those of libtorch’s operators in float64', async () => {
    const env = { ...process.env, ATEN_CPU_CAPABILITY: capability }
    const { stdout } = await run(program, { env })
    const lines = stdout.trim().split('\n')
    expect(lines.at(-1)).toBe(`capability ${capability.toUpperCase()}`)
    const errors = lines.slice(0, -1).map((line) => line.split(' ') as [string, string])
    expect(errors).toHaveLength(86)
    for (const [name, error] of errors) {
      expect(Number(error), name).toBeLessThan(name.includes('bfloat16') ? 2 ** -5 : 2e-5)
    }
  })
})

it.skipIf(!devices.includes('cuda'))(
  'on a GPU they are those of libtorch in float64, too',
  async () => {
    const { stdout } = await run(await nativeCheck('kernels'), ['cuda'])
    for (const line of stdout.trim().split('\n').slice(0, -1)) {
      const [name, error] = line.split(' ')
      expect(Number(error), name).toBeLessThan(name?.includes('bfloat16') ? 2 ** -5 : 1e-4)
    }
  },
  600_000,
)

it('all that is compiled is instrumented where a sanitizer is asked for', async () => {
  const { libtorch } = JSON.parse(await readFile(path.join(build, 'engine.json'), 'utf8'))
  const folder = await temporaryFolder()
  const options = [`-DLIBTORCH=${libtorch.path}`, '-DCONTINUAL_DIFFUSION_SANITIZE=undefined']
  await run('cmake', ['-S', path.dirname(build), '-B', folder, ...options], { env: plain })
  const commands: { file: string; command: string }[] = JSON.parse(
    await readFile(path.join(folder, 'compile_commands.json'), 'utf8'),
  )
  const compiled = (which: typeof commands) => which.map(({ file }) => path.relative(path.dirname(build), file))
  expect(compiled(commands)).toContain('test/native/kernels.cc')
  expect(compiled(commands.filter(({ command }) => !command.includes('-fsanitize=undefined,')))).toEqual([])
})
