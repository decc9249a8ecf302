/**
 * npm's `install` step: checks the tools, finds or gets libtorch, builds the addon with cmake-js, and records what it
 * was built against in build/engine.json. Running it again builds only what has changed.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureLibtorch } from './libtorch.mjs'
import { lock, requireBuildTools, runProgram, SetupError, say, writingTo } from './tools.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const build = join(root, 'build')
/** The published package has no lib/. */
const isClone = existsSync(join(root, 'lib'))

for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  process.on(signal, () => process.exit(1)) // so that the exit listeners clean up, which a second one doesn't stop
}

try {
  await install()
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`\n${error.message}\n\n`)
  process.exitCode = 1
}

async function install() {
  const tools = requireBuildTools()
  const libtorch = await ensureLibtorch()
  await writingTo(build, async () => {
    mkdirSync(build, { recursive: true })
    const unlock = await lock(join(build, '.lock'), 'building')
    try {
      await buildAddon(libtorch, tools.compiler)
      if (!isClone) removeIntermediates()
    } finally {
      unlock()
    }
  })
}

/**
 * @param {import('./libtorch.mjs').Libtorch} libtorch
 * @param {string} compiler
 */
async function buildAddon(libtorch, compiler) {
  const record = join(build, 'engine.json')
  const log = join(build, 'build.log')
  const cache = join(build, 'CMakeCache.txt')
  const settings = [`CMAKE_HOME_DIRECTORY:INTERNAL=${root}`]
  const options = /** @type {string[]} */ ([])
  for (const [name, type] of /** @type {const} */ ([
    ['CONTINUAL_DIFFUSION_WERROR', 'BOOL'],
    ['CONTINUAL_DIFFUSION_SANITIZE', 'STRING'],
  ])) {
    const value = process.env[name]
    if (!value) continue // it stays as configured
    settings.push(`${name}:${type}=${value}`)
    options.push(`--CD${name}=${value}`)
  }
  if (!isClone) options.push('--CDCMAKE_UNITY_BUILD=ON') // half the time, for who compiles once
  const configured = existsSync(cache) ? readFileSync(cache, 'utf8').split('\n') : []
  const same =
    settings.every((line) => configured.includes(line)) && readRecord(record)?.libtorch?.path === libtorch.path
  if (!same) {
    // Another libtorch or setting, or a folder that was moved. Should the build stop half-way, no record may vouch for it.
    for (const file of [record, cache, join(build, 'CMakeFiles')]) rmSync(file, { recursive: true, force: true })
  }
  writeFileSync(log, '')

  const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js')
  // libtorch's headers take about 1.5 GB of memory a compiler.
  const memory = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY) // a container's limit
  const jobs = Math.max(1, Math.min(availableParallelism(), Math.floor(memory / 2 ** 31)))
  const common = ['--directory', root, '--out', build, '--log-level', 'error']
  const steps = same ? [] : [['configure', ...common, `--CDLIBTORCH=${libtorch.path}`, ...options]]
  steps.push(['build', ...common, '--parallel', String(jobs)])

  let announced = false
  for (const args of steps) {
    const lines = /** @type {string[]} */ ([])
    const { ok, reason } = await runProgram(process.execPath, [cmakeJs, ...args], {
      cwd: root,
      env: { ...process.env, CXX: compiler },
      onLine: (line) => {
        lines.push(line)
        writeFileSync(log, `${line}\n`, { flag: 'a' })
        // Ninja's [3/40], make's [ 7%]
        const progress = /^\[\s*(\d+\/\d+|\d+%)\] .*?([\w.-]+\.(?:c[cx]+\.o|gch|node))/.exec(line)
        if (!progress) return
        if (!announced)
          say(
            `building the addon against libtorch ${libtorch.version} (${libtorch.variant}) at ${libtorch.path}; on two cores this takes two to three minutes`,
          )
        announced = true
        say(`[${progress[1]}] ${progress[2]?.replace(/\.o$/, '')}`)
      },
    })
    if (!ok) {
      const errors = lines.filter((line) => /error|Error|Killed/.test(line)).slice(0, 12)
      const free = `${(process.availableMemory() / 2 ** 30).toFixed(1)} of ${(memory / 2 ** 30).toFixed(1)} GB memory free`
      throw new SetupError(
        `the addon could not be ${args[0] === 'build' ? 'built' : 'configured'} (${reason}).`,
        [
          `${compiler}, libtorch ${libtorch.version} at ${libtorch.path}, ${jobs} jobs, ${free}`,
          ...(errors.length ? errors : lines.slice(-12)),
        ],
        [`read ${log}; where the compiler is older than GCC 11, use a newer one through CXX; then install again`],
      )
    }
  }
  const partial = `${record}.partial`
  writeFileSync(partial, `${JSON.stringify({ libtorch }, null, 2)}\n`)
  renameSync(partial, record)
  if (announced) say('the addon is built')
}

/** Removes what only the compiler needed: hundreds of MB. */
function removeIntermediates() {
  // The cache first: without it the next build begins anew, even if this is killed half-way.
  rmSync(join(build, 'CMakeCache.txt'), { force: true })
  for (const name of readdirSync(build)) {
    const isKept = ['Release', 'engine.json', 'build.log'].includes(name) || name.startsWith('.lock')
    if (!isKept) rmSync(join(build, name), { recursive: true, force: true })
  }
}

/**
 * @param {string} file
 * @returns {{ libtorch?: { path?: string } } | undefined}
 */
function readRecord(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}
