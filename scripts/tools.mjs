/**
 * What the installation needs from the machine: running programs, finding the compiler, CMake and pip, and the one
 * message when something is missing. Only Node's own modules: this runs before any package is installed.
 */
import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

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
 * Runs a program, handing every line it prints to `onLine`. A signal that ends this process ends the program first.
 * @param {string} program
 * @param {string[]} args
 * @param {{ onLine: (line: string) => void, cwd?: string, env?: NodeJS.ProcessEnv }} options
 * @returns {Promise<{ ok: boolean, reason: string }>} `reason`: how it ended, when not ok
 */
export function runProgram(program, args, { onLine, cwd, env }) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd, env: env ?? process.env, stdio: ['ignore', 'pipe', 'pipe'] })
    const stop = () => child.kill('SIGKILL')
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
    pip: 'Python 3 with pip',
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
 * python3 with pip.
 * @returns {{ path?: string, version: string, tried: string[] }} without `path` when python3 or its pip is missing
 */
export function findPip() {
  const path = which('python3')
  if (path === undefined) return { version: '', tried: ['python3: not on PATH'] }
  const { ok, output } = ask(path, ['-m', 'pip', '--version'])
  if (!ok) return { version: '', tried: [`${path} -m pip: ${output.split('\n').at(-1)}`] }
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
  if (!which('ninja') && !which('make')) {
    tools.push('make')
    missing.push('make or ninja')
    tried.push('ninja, make: not on PATH')
  }
  if (!compiler.path || !cmake.path || tools.length > 0) {
    throw new SetupError(`its native engine can't be built without ${missing.join(' and ')}.`, tried, [
      installHint(tools),
    ])
  }
  return { compiler: compiler.path, cmake: cmake.path }
}
