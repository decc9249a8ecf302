import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, expect, it, vi } from 'vitest'
import { cacheFolder } from '../lib/files/cache-folder.js'

const main = fileURLToPath(new URL('../dist/index.js', import.meta.url))

afterEach(() => vi.unstubAllEnvs())

it('is where the XDG base directory specification has it', () => {
  vi.stubEnv('HOME', '/home/someone')
  for (const none of ['', 'relative']) {
    vi.stubEnv('XDG_CACHE_HOME', none)
    expect(cacheFolder('data')).toBe('/home/someone/.cache/continual-diffusion/data')
  }
  vi.stubEnv('XDG_CACHE_HOME', '/elsewhere')
  expect(cacheFolder('data')).toBe('/elsewhere/continual-diffusion/data')
})

// Another user than root is had by root only. Of user 54321 the system knows no home.
it.each([
  ['HOME is empty', { HOME: '' }, undefined],
  ...(process.geteuid?.() === 0 ? [['the user has none', {}, 54321] as const] : []),
] as const)('there is none where %s, and the package is imported and used all the same', async (_, env, uid) => {
  const code = `import { fashionMnist } from ${JSON.stringify(main)}
      import { cacheFolder } from ${JSON.stringify(main.replace('index.js', 'files/cache-folder.js'))}
      console.log(cacheFolder('data'), (await fashionMnist({ subset: true })).test.labels.length)`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], {
    env,
    uid,
    cwd: '/',
  })
  expect(stdout).toBe('undefined 1000\n')
})
