import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { temporaryFolder } from './support/folders.js'

const run = promisify(execFile)
const load = fileURLToPath(new URL('../dist/engine/load.js', import.meta.url))

it("another torch's libraries in LD_LIBRARY_PATH do not take the place of those that the addon was built against", async () => {
  const folder = await temporaryFolder()
  const source = path.join(folder, 'empty.c')
  await writeFile(source, '')
  for (const name of ['libc10.so', 'libtorch_cpu.so', 'libtorch.so']) {
    await run(process.env.CXX ?? 'c++', [
      '-shared',
      `-Wl,-soname,${name}`,
      '-o',
      path.join(folder, name),
      '-x',
      'c',
      source,
    ])
  }
  const code = `import { loadAddon } from ${JSON.stringify(load)}; console.log(typeof loadAddon().close)`
  const env = { ...process.env, LD_LIBRARY_PATH: folder }
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], { env })
  expect(stdout).toBe('function\n')
})
