import { execFile } from 'node:child_process'
import { symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { temporaryFolder } from './support/folders.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../', import.meta.url))

it.each(['esm', 'cjs'])('a copy in a bundle (%s) says that the package must stay outside', async (format) => {
  const folder = await temporaryFolder()
  await symlink(path.join(root, 'node_modules'), path.join(folder, 'node_modules'))
  const main = path.join(folder, 'main.mjs')
  const code = `import { Learner, presets } from ${JSON.stringify(path.join(root, 'dist/index.js'))}
    Learner.create({ unet: presets.demo, device: 'cpu' }).catch(({ code, message }) => console.log(code, message))`
  await writeFile(main, code)
  const bundle = path.join(folder, 'out', `main.${format === 'esm' ? 'mjs' : 'cjs'}`)
  const rolldown = path.join(root, 'node_modules/rolldown/bin/cli.mjs')
  const options = ['--platform', 'node', '--format', format, '--inlineDynamicImports', '--file', bundle]
  await run(process.execPath, [rolldown, main, '--external', 'sharp', ...options])
  const { stdout } = await run(process.execPath, [bundle], { cwd: folder })
  expect(stdout).toMatch(/^ERR_ADDON_NOT_BUILT .*bundled into .*: keep continual-diffusion out of the bundle/)
  expect(stdout).not.toContain('rebuild')
})
