import { execFile } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { lock } from '../../scripts/tools.mjs'

export const run = promisify(execFile)

/** Where the addon is built. */
export const build = fileURLToPath(new URL('../../build', import.meta.url))

/** Where a sanitizer's library is loaded before all others, it is not to be into compilers. */
export const plain = { ...process.env, LD_PRELOAD: '' }

/**
 * Builds a program of test/native; one at a time, as they share a folder with each other and with the addon.
 *
 * @returns its path
 */
export async function nativeCheck(name: string): Promise<string> {
  const unlock = await lock(path.join(build, '.lock'), 'building')
  try {
    await run('cmake', ['--build', build, '--target', `${name}_check`], { env: plain })
  } finally {
    unlock()
  }
  return path.join(build, `${name}_check`)
}
