/**
 * What the installation needs from the machine: running programs, finding the compiler, CMake and pip, locks, and the
 * one message when something is missing. Only Node's own modules: this runs before any package is installed.
 */
import { spawn, spawnSync } from 'node:child_process'
import {
  accessSync,
  constants,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Something that the user can mend. `missing`, `tried` and `mend` are one line each or more. */
export class SetupError extends Error {
  /**
   * @param {string} missing what is missing
   * @param {string[]} tried what was looked at, and what it answered
   * @param {string[]} mend the commands that mend it
   */
  constructor(missing, tried, mend) {
    super(
      [
        `continual-diffusion: ${missing}`,
        ...tried.map((line) => `  tried: ${line}`),
        ...mend.map((line) => `  to mend: ${line}`),
      ].join('\n'),
    )
    this.name = 'SetupError'
  }
}

/** @param {string} text */
export function say(text) {
  process.stderr.write(`continual-diffusion: ${text}\n`)
}

/**
 * The full path of a program on PATH.
 * @param {string} name
 * @returns {string | undefined}
 */
export function which(name) {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const file = join(folder, name)
    try {
      accessSync(file, constants.X_OK)
      if (statSync(file).isFile()) return file
    } catch {
      // not in this folder
    }
  }
  return undefined
}

/**
 * Runs a program to its end and gives what it printed.
 * @param {string} program
 * @param {string[]} args
 * @returns {{ ok: boolean, output: string, stdout: string }} `output`: stdout and stderr, or why it didn't start
 */
export function ask(program, args) {
  const { error, status, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
  })
  if (error) return { ok: false, output: error.message, stdout: '' }
  return { ok: status === 0, output: `${stdout}${stderr}`.trim(), stdout: stdout.trim() }
}

/**
 * What Linux tells of a process, from its state on: state, parent, group, session and so on; nothing of one that is gone.
 * @param {number | string} pid
 */
function statOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ') // the name before may hold spaces
  } catch {
    return []
  }
}

/**
 * Ends a session's processes, and waits for that. Not those of its group only: ninja gives every compiler its own. They are
 * asked first, because make and ninja then remove what is half-written.
 * @param {number | undefined} session
 */
function endSession(session) {
  for (let round = 0; round < 40; round++) {
    const left = readdirSync('/proc').filter((pid) => {
      const stat = /^\d/.test(pid) ? statOf(pid) : []
      return Number(stat[3]) === session && stat[0] !== 'Z'
    })
    if (left.length === 0) return
    for (const pid of round === 0 || round >= 20 ? left : []) {
      try {
        process.kill(Number(pid), round === 0 ? 'SIGTERM' : 'SIGKILL')
      } catch {
        // gone already
      }
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50) // ms; this runs while the process exits
  }
}

/**
 * Runs a program, handing every line it prints to `onLine`. A signal that ends this process ends the program first, with
 * all that it started: make's compilers too.
 * @param {string} program
 * @param {string[]} args
 * @param {{ onLine: (line: string) => void, cwd?: string, env?: NodeJS.ProcessEnv }} options
 * @returns {Promise<{ ok: boolean, reason: string }>} `reason`: how it ended, when not ok
 */
export function runProgram(program, args, { onLine, cwd, env }) {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd,
      env: env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // a session of its own
    })
    const stop = () => endSession(child.pid)
    process.prependOnceListener('exit', stop) // before what it writes to is removed
    for (const stream of [child.stdout, child.stderr]) {
      let rest = ''
      stream.setEncoding('utf8').on('data', (text) => {
        const lines = (rest + text).split(/\r\n|\n|\r/)
        rest = lines.pop() ?? ''
        for (const line of lines) onLine(line)
      })
      stream.on('end', () => rest && onLine(rest))
    }
    /** @param {boolean} ok @param {string} reason */
    const settle = (ok, reason) => {
      process.off('exit', stop)
      resolve({ ok, reason })
    }
    child.on('error', (error) => settle(false, error.message))
    child.on('close', (code, signal) => settle(code === 0, signal ? `ended by ${signal}` : `exit code ${code}`))
  })
}

const packages = {
  'apt-get': { compiler: 'g++', cmake: 'cmake', make: 'make', pip: 'python3 python3-pip' },
  dnf: { compiler: 'gcc-c++', cmake: 'cmake', make: 'make', pip: 'python3 python3-pip' },
  pacman: { compiler: 'gcc', cmake: 'cmake', make: 'make', pip: 'python python-pip' },
  zypper: { compiler: 'gcc-c++', cmake: 'cmake', make: 'make', pip: 'python3 python3-pip' },
}
const installCommand = {
  'apt-get': 'sudo apt-get install -y',
  dnf: 'sudo dnf install -y',
  pacman: 'sudo pacman -S --noconfirm',
  zypper: 'sudo zypper install -y',
}

/**
 * The command of this machine's package manager that installs the given tools.
 * @param {('compiler' | 'cmake' | 'make' | 'pip')[]} tools
 */
export function installHint(tools) {
  const managers = /** @type {(keyof typeof packages)[]} */ (Object.keys(packages))
  const manager = managers.find((name) => which(name))
  if (manager) return `${installCommand[manager]} ${tools.map((tool) => packages[manager][tool]).join(' ')}`
  const names = {
    compiler: 'GCC 11 or newer (g++)',
    cmake: 'CMake 3.18 or newer',
    make: 'make or ninja',
    pip: 'Python 3.10 or newer with pip',
  }
  return `install ${tools.map((tool) => names[tool]).join(', ')} with your system's package manager`
}

// Headers and language that a compiler without C++20 doesn't have.
const probe = `#include <concepts>
#include <span>
template <std::integral T> constexpr T twice(T x) { return x + x; }
int main() { int a[] = {twice(2)}; return static_cast<int>(std::span<int>(a).size()) - 1; }
`

/**
 * A C++20 compiler: $CXX, else the first of c++, g++, clang++ that compiles and links a few lines of C++20.
 * @returns {{ path?: string, version: string, tried: string[] }} without `path` when there is none
 */
export function findCompiler() {
  const folder = mkdtempSync(join(tmpdir(), 'continual-diffusion-'))
  const tried = []
  try {
    const source = join(folder, 'probe.cc')
    writeFileSync(source, probe)
    for (const name of process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++']) {
      const path = which(name) ?? (name.includes('/') ? name : undefined)
      if (path === undefined) {
        tried.push(`${name}: not on PATH`)
        continue
      }
      const { ok, output } = ask(path, ['-std=c++20', source, '-o', join(folder, 'probe')])
      if (ok) return { path, version: ask(path, ['--version']).output.split('\n')[0] ?? '', tried }
      tried.push(
        `${name} -std=c++20: ${output.split('\n').find((line) => /error/i.test(line)) ?? output.split('\n')[0]}`,
      )
    }
    return { version: '', tried }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * CMake ≥ 3.18.
 * @returns {{ path?: string, version: string, tried: string[] }} without `path` when there is none that is new enough
 */
export function findCMake() {
  const path = which('cmake')
  if (path === undefined) return { version: '', tried: ['cmake: not on PATH'] }
  const version = /(\d+)\.(\d+)[.\d]*/.exec(ask(path, ['--version']).output)
  if (!version) return { version: '', tried: [`${path} --version: printed no version`] }
  const [text, major, minor] = version
  const enough = Number(major) > 3 || (Number(major) === 3 && Number(minor) >= 18)
  return enough
    ? { path, version: text, tried: [] }
    : { version: text, tried: [`${path}: version ${text}; 3.18 or newer is needed`] }
}

/**
 * What CMake builds with: Ninja where there is one, else make.
 * @returns {{ path?: string, version: string, tried: string[] }} without `path` when there is none
 */
export function findBuilder() {
  for (const name of ['ninja', 'make']) {
    const path = which(name)
    if (path === undefined) continue
    const version = ask(path, ['--version']).output.split('\n')[0] ?? ''
    return { path, version: name === 'ninja' ? `Ninja ${version}` : version, tried: [] }
  }
  return { version: '', tried: ['ninja, make: not on PATH'] }
}

/**
 * Python ≥ 3.10, which libtorch's wheels ask for, with pip.
 * @returns {{ path?: string, version: string, tried: string[] }} without `path` when there is none
 */
export function findPip() {
  const path = which('python3')
  if (path === undefined) return { version: '', tried: ['python3: not on PATH'] }
  const { ok, output } = ask(path, ['-m', 'pip', '--version'])
  if (!ok) return { version: '', tried: [`${path} -m pip: ${output.split('\n').at(-1)}`] }
  const [python, major, minor] = /\bpython (\d+)\.(\d+)/.exec(output) ?? []
  if (Number(major) < 3 || (Number(major) === 3 && Number(minor) < 10)) {
    return { version: '', tried: [`${path}: ${python}; 3.10 or newer is needed`] }
  }
  return { path, version: output.split('\n')[0] ?? '', tried: [] }
}

/**
 * The tools that the build needs, all of them checked before the first is complained about.
 * @returns {{ compiler: string, cmake: string }}
 * @throws {SetupError}
 */
export function requireBuildTools() {
  const compiler = findCompiler()
  const cmake = findCMake()
  /** @type {('compiler' | 'cmake' | 'make')[]} */
  const tools = []
  const missing = []
  const tried = []
  if (!compiler.path) {
    tools.push('compiler')
    missing.push('a C++20 compiler')
    tried.push(...compiler.tried)
  }
  if (!cmake.path) {
    tools.push('cmake')
    missing.push('CMake 3.18 or newer')
    tried.push(...cmake.tried)
  }
  const builder = findBuilder()
  if (!builder.path) {
    tools.push('make')
    missing.push('make or ninja')
    tried.push(...builder.tried)
  }
  if (!compiler.path || !cmake.path || tools.length > 0) {
    throw new SetupError(`its native engine can't be built without ${missing.join(' and ')}.`, tried, [
      installHint(tools),
    ])
  }
  return { compiler: compiler.path, cmake: cmake.path }
}

/** @param {number} pid */
export function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM'
  }
}

/**
 * When a process started, in clock ticks since the machine did: a number that is used again has another.
 * @param {number} pid
 */
const startOf = (pid) => statOf(pid)[19] ?? ''

/**
 * Holds a lock file until the function returned is called, or this process ends. Waits for another process that holds it;
 * the lock of a process of this machine that is gone is taken over.
 * @param {string} file
 * @param {string} doing what the holder is doing, for who waits
 * @returns {Promise<() => void>}
 */
export async function lock(file, doing) {
  const mine = `${hostname()} ${process.pid} ${startOf(process.pid)}`
  const own = `${file}-${hostname()}-${process.pid}`
  for (let waited = false; ; ) {
    try {
      // Linked, so that the file is never there without the holder in it.
      writeFileSync(own, mine)
      try {
        linkSync(own, file)
      } finally {
        rmSync(own)
      }
      const unlock = () => {
        process.off('exit', unlock)
        rmSync(file, { force: true })
      }
      process.once('exit', unlock)
      return unlock
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error
    }
    try {
      const holder = readFileSync(file, 'utf8')
      const [host, pid, start] = holder.split(' ')
      if (host === hostname() && !(isAlive(Number(pid)) && startOf(Number(pid)) === start)) {
        // Set aside before it is removed: where another was faster, what lies there now is that one's, and goes back.
        renameSync(file, own)
        if (readFileSync(own, 'utf8') !== holder) linkSync(own, file)
        rmSync(own)
        continue
      }
      if (!waited) say(`process ${pid} on ${host} is ${doing} here; waiting for it (if it is gone, remove ${file})`)
      waited = true
    } catch (error) {
      const { code } = /** @type {NodeJS.ErrnoException} */ (error)
      if (code !== 'ENOENT' && code !== 'EEXIST') throw error
      continue // just released
    }
    await sleep(500)
  }
}

/**
 * Does something that writes below a folder; where the system doesn't let it, the error is one for the user.
 * @template T
 * @param {string} folder
 * @param {() => T | Promise<T>} action
 * @returns {Promise<T>}
 * @throws {SetupError}
 */
export async function writingTo(folder, action) {
  try {
    return await action()
  } catch (error) {
    const { path, message } = /** @type {NodeJS.ErrnoException} */ (error)
    if (!path?.startsWith(folder)) throw error
    throw new SetupError(
      `the folder ${folder} can't be written.`,
      [message],
      ['see to it that it is a folder in which this user can write, on a disk with space left, then install again'],
    )
  }
}
