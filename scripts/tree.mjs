import { cpSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** All that building the addon, compiling and the tests of the native part need. */
const parts = ['CMakeLists.txt', 'data', 'lib', 'native', 'package.json', 'scripts', 'test', 'tsconfig.json']

/**
 * Copies the sources to `build-<name>/`, whose own `build/` can then hold another addon: programs and tests that run
 * there find it where an addon always is. What was built there stays, and only what has changed is built again.
 * @param {string} name
 * @returns {string} the folder
 */
export function copySources(name) {
  const tree = join(root, `build-${name}`)
  for (const part of parts) {
    rmSync(join(tree, part), { recursive: true, force: true })
    cpSync(join(root, part), join(tree, part), { recursive: true, preserveTimestamps: true })
  }
  return tree
}
