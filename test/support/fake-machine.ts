import { spawn } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** This repository. */
export const root = fileURLToPath(new URL('../../', import.meta.url))

/** Files that make a folder look like a libtorch of a version; with `cuda`, like a CUDA build. */
function torchFiles(version: string, cuda: string | null): Record<string, string> {
  const [major, minor, patch] = version.split('.').map(Number)
  const macros = `#define TORCH_VERSION_MAJOR ${major}\n#define TORCH_VERSION_MINOR ${minor}\n#define TORCH_VERSION_PATCH ${patch}\n`
  const old = major! < 2 || (major === 2 && minor! < 10) // pytorch/pytorch#164381 moved the macros
  return {
    'include/ATen/ATen.h': '',
    'include/torch/csrc/api/include/torch/version.h': old ? macros : '#include <torch/headeronly/version.h>\n',
    ...(old ? {} : { 'include/torch/headeronly/version.h': macros }),
    'lib/libc10.so': '',
    'lib/libtorch_cpu.so': '',
    'lib/libtorch.so': '',
    'version.py': `cuda: Optional[str] = ${cuda ? `'${cuda}'` : 'None'}\n`,
    ...(cuda ? { 'lib/libtorch_cuda.so': '' } : {}),
  }
}

/** How a process ended and what it printed. */
export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/**
 * A machine of stand-ins: an empty home, and a PATH on which only the programs exist that a test puts there. The
 * installation's real scripts run on it, in processes of their own.
 */
export class FakeMachine implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'fake-machine-'))
  readonly bin = join(this.folder, 'bin')
  readonly cache = join(this.folder, 'cache', 'continual-diffusion', 'libtorch')
  private readonly pipLog = join(this.folder, 'pip.log')

  constructor() {
    mkdirSync(this.bin)
    writeFileSync(this.pipLog, '')
    symlinkSync(process.execPath, join(this.bin, 'node'))
  }

  /** Puts a shell script on PATH. */
  program(name: string, script: string): void {
    const file = join(this.bin, name)
    writeFileSync(file, `#!/bin/sh\nPATH=/usr/bin:/bin\n${script}\n`)
    chmodSync(file, 0o755)
  }

  /** Compiler, CMake and make that say yes to everything. */
  buildTools(): void {
    this.program('c++', 'exit 0')
    this.program('cmake', 'echo cmake version 3.25.1')
    this.program('make', 'exit 0')
  }

  /** A folder that looks like a libtorch. */
  torch(name: string, version: string, cuda: string | null = null): string {
    const folder = join(this.folder, name)
    for (const [file, text] of Object.entries(torchFiles(version, cuda))) {
      mkdirSync(join(folder, file, '..'), { recursive: true })
      writeFileSync(join(folder, file), text)
    }
    return folder
  }

  /**
   * A python3: `torch` is the folder of its own torch; `brings` is what its pip puts into the target, where `pip` (a shell script
   * that sees pip's arguments in `$*`) lets it get there.
   */
  python({
    torch = '',
    brings = '',
    pip = '',
    version = '3.11',
  }: {
    torch?: string
    brings?: string
    pip?: string
    version?: string
  } = {}): void {
    this.program(
      'python3',
      `case "$*" in
  -c*) echo "${torch}" ;;
  "-m pip --version") echo "pip 24.0 from /usr/lib/pip (python ${version})" ;;
  "-m pip install"*)
    echo "$*" >> "${this.pipLog}"
    ${pip}
    while [ "$1" != --target ]; do shift; done
    mkdir -p "$2" && cp -r "${brings}" "$2/torch" ;;
  *) exit 2 ;;
esac`,
    )
  }

  /** What pip was called with so far. */
  pipCalls(): string[] {
    return readFileSync(this.pipLog, 'utf8').trim().split('\n').filter(Boolean)
  }

  /** A copy of what the set-up needs, so that nothing is built in this repository. */
  copyOfPackage(): string {
    const copy = join(realpathSync(this.folder), 'package')
    mkdirSync(join(copy, 'build'), { recursive: true })
    for (const name of ['scripts', 'package.json', 'CMakeLists.txt'])
      cpSync(join(root, name), join(copy, name), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
    return copy
  }

  private env(extra: Record<string, string>): NodeJS.ProcessEnv {
    return {
      PATH: this.bin,
      HOME: this.folder,
      XDG_CACHE_HOME: join(this.folder, 'cache'),
      TMPDIR: this.folder,
      ...extra,
    }
  }

  /** Starts the installation; `ended` resolves when it has ended, `said` is what it has printed to stderr so far. */
  start(
    script: string[],
    env: Record<string, string> = {},
  ): { pid: number; kill(s: NodeJS.Signals): void; ended: Promise<Ended>; said(): string } {
    const child = spawn(process.execPath, script, { cwd: root, env: this.env(env), stdio: ['ignore', 'pipe', 'pipe'] })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text
    })
    const ended = new Promise<Ended>((resolve) => {
      child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
    })
    return { pid: child.pid as number, kill: (signal) => child.kill(signal), ended, said: () => stderr }
  }

  /** npm's install step as a whole, by default that of this repository. */
  install(env?: Record<string, string>, folder: string = root): Promise<Ended> {
    return this.start([join(folder, 'scripts', 'install.mjs')], env).ended
  }

  /** The step that finds or gets libtorch, alone: prints what it found as JSON, or the error's message. `cuda`: a CUDA build only. */
  startLibtorch(env?: Record<string, string>, cuda = false) {
    const code = `
      process.once('SIGTERM', () => process.exit(1))
      const { ensureLibtorch } = await import(${JSON.stringify(`${root}scripts/libtorch.mjs`)})
      try { console.log(JSON.stringify(await ensureLibtorch(${cuda}))) }
      catch (error) { console.error(error.message); process.exitCode = 1 }`
    return this.start(['--input-type=module', '-e', code], env)
  }

  async libtorch(
    env?: Record<string, string>,
    cuda = false,
  ): Promise<{ path: string; version: string; variant: string; source: string }> {
    const { code, stdout, stderr } = await this.startLibtorch(env, cuda).ended
    if (code !== 0) throw new Error(stderr)
    return JSON.parse(stdout)
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}
