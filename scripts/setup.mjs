/**
 * Makes a clone ready to run: packages where they are missing or older than the lockfile, the addon, dist/. Each part
 * that is up to date is passed over.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { lock, SetupError, say, writingTo } from './tools.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const installed = join(root, 'node_modules', '.package-lock.json')
const build = join(root, 'build')

/** @type {import('node:child_process').ChildProcess | undefined} */
let child
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  process.on(signal, () => {
    if (!child?.kill(signal)) process.exit(1) // else the step cleans up, and its end ends this
  })
}

/**
 * Runs a step to its end; where it fails, that is the end of this process too.
 * @param {string} program
 * @param {string[]} args
 * @returns {Promise<void>}
 */
function run(program, args) {
  return new Promise((resolve, reject) => {
    child = spawn(program, args, { cwd: root, stdio: 'inherit' })
    child.on('error', reject)
    child.on('exit', (code) => (code === 0 ? resolve() : process.exit(code ?? 1)))
  })
}

try {
  // One at a time: what two set-ups at once in a fresh clone write would be mixed.
  const unlock = await writingTo(build, () => {
    mkdirSync(build, { recursive: true })
    return lock(join(build, '.setup-lock'), 'setting up')
  })
  if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(join(root, 'package-lock.json')).mtimeMs) {
    say('installing packages')
    const args = ['ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund']
    const npm = process.env.npm_execpath
    if (npm) await run(process.execPath, [npm, ...args])
    else await run('npm', args)
  }
  await run(process.execPath, [join(root, 'scripts', 'install.mjs')])
  await run(process.execPath, [join(root, 'scripts', 'compile.mjs'), '--if-stale'])
  unlock()
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`\n${error.message}\n\n`)
  process.exitCode = 1
}
