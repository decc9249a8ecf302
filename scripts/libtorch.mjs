/**
 * Finds libtorch, or gets it. In this order: LIBTORCH; python3's own torch, when its version is supported; the per-user
 * cache; else pip, which puts it into that cache.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { homedir, hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { ask, findPip, installHint, isAlive, runProgram, SetupError, say, which } from './tools.mjs'

/** The version that is got when there is none. */
export const wantedVersion = '2.13.0'
const supported = { major: 2, minor: { from: 11, to: 14 } }
const range = `${supported.major}.${supported.minor.from} to ${supported.major}.${supported.minor.to}`

// PyTorch's own indexes, documented at its "Get started" page, for the variants that the general index doesn't have.
const pytorchIndex = 'https://download.pytorch.org/whl'

/**
 * @typedef {object} Libtorch
 * @property {string} path the folder with include/ and lib/
 * @property {string} version such as 2.13.0
 * @property {string} variant `cpu`, or `cu130` and the like
 * @property {string} source where it was found
 */

/** @param {string} file */
function read(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/**
 * What lies in a folder.
 * @param {string} path
 * @returns {{ version: string, variant: string } | string} the reason why it is no libtorch, as text
 */
export function inspect(path) {
  for (const part of ['include/ATen/ATen.h', 'lib/libc10.so', 'lib/libtorch_cpu.so', 'lib/libtorch.so']) {
    if (!existsSync(join(path, part))) return `no ${part} below it`
  }
  // The second is where it was before 2.10; since then it includes the first.
  const headers = ['include/torch/headeronly/version.h', 'include/torch/csrc/api/include/torch/version.h']
  const header = headers.map((file) => read(join(path, file))).join('\n')
  const [major, minor, patch] = ['MAJOR', 'MINOR', 'PATCH'].map(
    (name) => new RegExp(`TORCH_VERSION_${name} +(\\d+)`).exec(header)?.[1],
  )
  if (!major || !minor || !patch) return `no version in ${headers.join(' or ')}`
  if (!existsSync(join(path, 'lib/libtorch_cuda.so'))) return { version: `${major}.${minor}.${patch}`, variant: 'cpu' }
  const cuda =
    /^cuda[^=\n]*= *'([\d.]+)'/m.exec(read(join(path, 'version.py')))?.[1] ??
    /\+cu(\d+)/.exec(read(join(path, 'build-version')))?.[1] ??
    ''
  return { version: `${major}.${minor}.${patch}`, variant: `cu${cuda.replaceAll('.', '')}` }
}

/** @param {string} version */
export function isSupported(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major === supported.major && minor >= supported.minor.from && minor <= supported.minor.to
}

/** The folder of the per-user cache, one folder below it for each version and variant. */
export function cacheFolder() {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'continual-diffusion', 'libtorch')
}

/**
 * `cu130` when an NVIDIA GPU answers, else `cpu`.
 * @returns {'cpu' | 'cu130'}
 */
export function wantedVariant() {
  const smi = which('nvidia-smi')
  return smi && /^GPU \d/m.test(ask(smi, ['-L']).stdout) ? 'cu130' : 'cpu'
}

/**
 * Looks without getting anything.
 * @param {'cpu' | 'cu130'} variant the one wanted of the cache
 * @returns {{ found?: Libtorch, tried: string[] }}
 * @throws {SetupError} when LIBTORCH names a folder that can't be used: what the user asked for is not passed over
 */
export function findLibtorch(variant = wantedVariant()) {
  const tried = /** @type {string[]} */ ([])
  const named = process.env.LIBTORCH
  if (named) {
    const path = resolve(named)
    const found = inspect(path)
    const mend = [
      `set LIBTORCH to the folder with include/ and lib/ of an unpacked libtorch (or site-packages/torch) ${range}, or unset it`,
    ]
    if (typeof found === 'string') throw new SetupError(`LIBTORCH is no libtorch.`, [`${path}: ${found}`], mend)
    if (!isSupported(found.version)) {
      throw new SetupError(
        `LIBTORCH is libtorch ${found.version}, which is not supported; ${range} are.`,
        [`${path}: version ${found.version}`],
        mend,
      )
    }
    return { found: { path, ...found, source: 'LIBTORCH' }, tried }
  }
  tried.push('LIBTORCH: not set')

  const python = which('python3')
  if (python) {
    // Importing torch would take seconds, and its folder is all that is wanted.
    const code = [
      'import sys, importlib.util as u',
      'sys.path = [p for p in sys.path if p]', // not a folder that happens to be called torch here
      's = u.find_spec("torch")',
      'print(s.submodule_search_locations[0] if s else "")',
    ].join('\n')
    const path = ask(python, ['-c', code]).stdout
    const found = path ? inspect(path) : 'has no torch'
    if (typeof found === 'string') tried.push(`${python}: ${path ? `its torch at ${path}: ` : ''}${found}`)
    else if (isSupported(found.version)) return { found: { path, ...found, source: python }, tried }
    else tried.push(`${python}: its torch is ${found.version}; ${range} are supported`)
  } else {
    tried.push('python3: not on PATH')
  }

  const folder = join(cacheFolder(), `${wantedVersion}-${variant}`)
  const cached = inspect(join(folder, 'torch'))
  if (typeof cached !== 'string') return { found: { path: join(folder, 'torch'), ...cached, source: 'cache' }, tried }
  tried.push(`${folder}: ${existsSync(folder) ? cached : 'not there'}`)
  return { tried }
}

/**
 * Removes what installations of this machine that were killed left behind.
 * @param {string} cache
 */
function removeRemains(cache) {
  for (const name of readdirSync(cache)) {
    const [, host, pid] = /\.partial-(.+)-(\d+)$/.exec(name) ?? []
    if (host === hostname() && !isAlive(Number(pid))) rmSync(join(cache, name), { recursive: true, force: true })
  }
}

/**
 * Finds libtorch as `findLibtorch` does, and gets it with pip where there is none.
 * @returns {Promise<Libtorch>}
 * @throws {SetupError}
 */
export async function ensureLibtorch() {
  const variant = wantedVariant()
  const { found, tried } = findLibtorch(variant)
  if (found) return found
  const pip = findPip()
  if (!pip.path) {
    throw new SetupError(
      `there is no libtorch ${range}, and getting it needs Python 3.10 or newer with pip.`,
      [...tried, ...pip.tried],
      [installHint(['pip']), 'or set LIBTORCH to an unpacked libtorch'],
    )
  }
  return await getLibtorch(variant, pip.path, tried)
}

/**
 * @param {'cpu' | 'cu130'} variant
 * @param {string} python
 * @param {string[]} tried
 * @returns {Promise<Libtorch>}
 */
async function getLibtorch(variant, python, tried) {
  const cache = cacheFolder()
  const folder = join(cache, `${wantedVersion}-${variant}`)
  const partial = `${folder}.partial-${hostname()}-${process.pid}`
  const remove = () => rmSync(partial, { recursive: true, force: true })
  try {
    mkdirSync(cache, { recursive: true })
    removeRemains(cache)
    remove()
    mkdirSync(join(partial, 'tmp'), { recursive: true })
  } catch (error) {
    throw new SetupError(
      `the cache folder for libtorch can't be written.`,
      [`${cache}: ${/** @type {Error} */ (error).message}`],
      ['set XDG_CACHE_HOME to a folder that can be written, or LIBTORCH to an unpacked libtorch'],
    )
  }
  process.once('exit', remove)
  try {
    const wheel = `torch==${wantedVersion}+${variant}`
    // A CPU build carries all it needs; a CUDA build needs NVIDIA's libraries, which are packages of their own.
    const site = join(partial, 'site')
    const base = ['-m', 'pip', 'install', wheel, '--target', site, '--no-user', '--no-input', '--progress-bar', 'off']
    if (variant === 'cpu') base.push('--no-deps')
    const size = variant === 'cpu' ? 'about 200 MB' : 'about 2.5 GB'
    // What the user's pip is configured with comes first; only where that has no such build, PyTorch's own index.
    let failure = ''
    for (const extra of [[], ['--extra-index-url', `${pytorchIndex}/${variant}`]]) {
      say(
        `getting libtorch ${wantedVersion} (${variant}, ${size}) with pip${extra.length ? ` from ${extra[1]} too` : ''}`,
      )
      const lines = /** @type {string[]} */ ([])
      const { ok, reason } = await runProgram(python, [...base, ...extra], {
        // pip unpacks here first: what it leaves when killed goes with the rest, and moving it costs nothing.
        env: { ...process.env, TMPDIR: join(partial, 'tmp') },
        onLine: (line) => {
          lines.push(line)
          if (/^(Collecting|Downloading|Installing|Successfully)/.test(line.trim())) say(`pip: ${line.trim()}`)
        },
      })
      failure = ok ? '' : (lines.filter((line) => /error/i.test(line)).at(-1) ?? lines.at(-1) ?? reason)
      if (ok) break
      tried.push(`pip install ${wheel}${extra.length ? ` ${extra.join(' ')}` : ''}: ${failure.trim()}`)
    }
    const mend = [
      `python3 -m pip install torch==${wantedVersion}, then install again; or set LIBTORCH to an unpacked libtorch ${range}`,
    ]
    if (failure) {
      throw new SetupError(
        `pip could not get libtorch ${wantedVersion} (${variant}): network, pip's configured index, or no build for this Python.`,
        tried,
        ['check the network, `python3 -m pip config list` and `python3 --version`, then install again', ...mend],
      )
    }
    const arrived = inspect(join(site, 'torch'))
    if (typeof arrived === 'string' || arrived.variant !== variant || arrived.version !== wantedVersion) {
      const what = typeof arrived === 'string' ? arrived : `libtorch ${arrived.version} (${arrived.variant})`
      throw new SetupError(
        `pip brought something else than libtorch ${wantedVersion} (${variant}).`,
        [...tried, `${wheel}: ${what}`],
        mend,
      )
    }
    const whole = () => typeof inspect(join(folder, 'torch')) !== 'string'
    if (!whole()) {
      rmSync(folder, { recursive: true, force: true }) // somebody removed parts of it
      try {
        renameSync(site, folder)
      } catch (error) {
        if (!whole()) throw error // else another installation was faster, and its folder is as good
      }
    }
    return { path: join(folder, 'torch'), ...arrived, source: 'pip' }
  } finally {
    remove()
    process.off('exit', remove)
  }
}
