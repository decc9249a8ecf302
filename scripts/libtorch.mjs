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
 * @param {boolean} cuda takes a CUDA build only
 * @returns {{ found?: Libtorch, tried: string[] }}
 * @throws {SetupError} when LIBTORCH names a folder that can't be used: what the user asked for is not passed over
 */
export function findLibtorch(variant = wantedVariant(), cuda = false) {
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
    if (cuda && found.variant === 'cpu') {
      throw new SetupError(
        `LIBTORCH is a CPU build; a CUDA build is wanted.`,
        [`${path}: no lib/libtorch_cuda.so`],
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
    else if (!isSupported(found.version)) {
      tried.push(`${python}: its torch is ${found.version}; ${range} are supported`)
    } else if (cuda && found.variant === 'cpu') tried.push(`${python}: its torch is a CPU build`)
    else return { found: { path, ...found, source: python }, tried }
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
 * @param {boolean} cuda takes a CUDA build only, also where no GPU answers
 * @returns {Promise<Libtorch>}
 * @throws {SetupError}
 */
export async function ensureLibtorch(cuda = false) {
  const variant = cuda ? 'cu130' : wantedVariant()
  const { found, tried } = findLibtorch(variant, cuda)
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
 * What pip is asked for, in order. What the user's pip is configured with comes first; only where that has no such build,
 * PyTorch's own index.
 * @param {'cpu' | 'cu130'} variant
 * @returns {string[][]}
 */
function attempts(variant) {
  const named = `torch==${wantedVersion}+${variant}`
  const pytorch = ['--extra-index-url', `${pytorchIndex}/${variant}`]
  if (variant === 'cpu') return [[named], [named, ...pytorch]].map((wanted) => [...wanted, '--no-deps'])
  // The general index has the CUDA build under its plain version; == would take a +cpu one for newer than that.
  const plain = `torch===${wantedVersion}`
  // NVIDIA's libraries come as packages of their own; so do some of CUDA's headers, which torch itself doesn't ask for.
  return [[named], [plain], [named, ...pytorch]].map((wanted) => [...wanted, 'cuda-toolkit[crt]'])
}

/**
 * Whether what pip brought is what was wanted. A build for another CUDA than the variant's is one too: a plain version
 * doesn't say for which.
 * @param {ReturnType<typeof inspect>} arrived
 * @param {'cpu' | 'cu130'} variant
 */
function fits(arrived, variant) {
  if (typeof arrived === 'string' || arrived.version !== wantedVersion) return false
  return (arrived.variant === 'cpu') === (variant === 'cpu')
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
    const site = join(partial, 'site')
    const base = ['-m', 'pip', 'install', '--target', site, '--no-user', '--no-input', '--progress-bar', 'off']
    const goal = `libtorch ${wantedVersion} (${variant})`
    let failure = ''
    /** @type {ReturnType<typeof inspect>} */
    let arrived = ''
    for (const wanted of attempts(variant)) {
      say(`getting ${goal}, ${variant === 'cpu' ? 'about 200 MB' : 'about 2.5 GB'}: pip install ${wanted.join(' ')}`)
      const lines = /** @type {string[]} */ ([])
      const { ok, reason } = await runProgram(python, [...base, ...wanted], {
        // pip unpacks here first: what it leaves when killed goes with the rest, and moving it costs nothing.
        env: { ...process.env, TMPDIR: join(partial, 'tmp') },
        onLine: (line) => {
          lines.push(line)
          if (/^(Collecting|Downloading|Installing|Successfully)/.test(line.trim())) say(`pip: ${line.trim()}`)
        },
      })
      arrived = ok ? inspect(join(site, 'torch')) : ''
      if (fits(arrived, variant)) break
      rmSync(site, { recursive: true, force: true })
      if (ok) failure = `pip brought something else than ${goal}`
      else failure ||= `pip could not get ${goal}: network, pip's configured index, or no build for this Python`
      const brought = typeof arrived === 'string' ? arrived : `libtorch ${arrived.version} (${arrived.variant})`
      const said = lines.filter((line) => /error/i.test(line)).at(-1) ?? lines.at(-1) ?? reason
      tried.push(`pip install ${wanted.join(' ')}: ${ok ? `brought ${brought}` : said.trim()}`)
    }
    if (typeof arrived === 'string' || !fits(arrived, variant)) {
      throw new SetupError(`${failure}.`, tried, [
        'check the network, `python3 -m pip config list` and `python3 --version`, then install again',
        `python3 -m pip install torch==${wantedVersion}, then install again; or set LIBTORCH to an unpacked libtorch ${range}`,
      ])
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
