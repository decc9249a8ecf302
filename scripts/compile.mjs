/**
 * Compiles lib/ to dist/. With `--if-stale`, only when something in lib/ is newer. dist/ is replaced as a whole, so that
 * files of deleted sources don't stay and a failed compilation leaves the old one.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { say } from './tools.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const dist = join(root, 'dist')

/**
 * The latest change below a path; folders count, because a deleted file changes its folder.
 * @param {string} path
 * @returns {number}
 */
function latest(path) {
  const stat = statSync(path)
  if (!stat.isDirectory()) return stat.mtimeMs
  return Math.max(stat.mtimeMs, ...readdirSync(path).map((name) => latest(join(path, name))))
}

const sources = ['lib', 'tsconfig.json'].map((name) => join(root, name))
const changed = Math.ceil(Math.max(...sources.map(latest)))
const fresh = existsSync(dist) && statSync(dist).mtimeMs >= changed
if (!(fresh && process.argv.includes('--if-stale'))) {
  say('compiling TypeScript')
  const partial = `${dist}.partial-${process.pid}`
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  // The live page's script is the browser's, and knows other globals.
  const projects = [root, join(root, 'lib', 'report', 'live', 'page')]
  const compiles = (/** @type {string} */ project) =>
    spawnSync(process.execPath, [tsc, '-p', project, '--outDir', partial], { stdio: 'inherit' }).status === 0
  if (!projects.every(compiles)) {
    rmSync(partial, { recursive: true, force: true })
    process.exit(1)
  }
  const schema = join(partial, 'experiment', 'json-schema.js')
  if (existsSync(schema)) {
    const { experimentJsonSchema } = await import(pathToFileURL(schema).href)
    writeFileSync(join(partial, 'experiment.schema.json'), `${JSON.stringify(experimentJsonSchema(), null, 2)}\n`)
  }
  const main = join(partial, 'cli', 'main.js')
  if (existsSync(main)) chmodSync(main, 0o755)
  // Times are set as seconds in floating point, and half of all milliseconds come back a little shorter: one more, lest
  // the sources be newer for ever.
  utimesSync(partial, new Date(), new Date(changed + 1))
  rmSync(dist, { recursive: true, force: true })
  renameSync(partial, dist)
}
