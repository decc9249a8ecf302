import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { FakeMachine } from './support/fake-machine.js'

const root = fileURLToPath(new URL('../', import.meta.url))
let machine: FakeMachine

beforeEach(() => {
  machine = new FakeMachine()
})
afterEach(() => {
  machine[Symbol.dispose]()
})

const pipCalls = () => readFileSync(machine.pipLog, 'utf8').trim().split('\n').filter(Boolean)
const untilPipRuns = async () => {
  while (pipCalls().length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
}

/** A copy of what the set-up needs, so that nothing is built in this clone. */
function copyOfPackage(): string {
  const copy = join(realpathSync(machine.folder), 'package')
  mkdirSync(join(copy, 'build'), { recursive: true })
  for (const name of ['scripts', 'package.json', 'CMakeLists.txt'])
    cpSync(join(root, name), join(copy, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  return copy
}

/** Whether a process still does something: one that ended and that nobody has asked after doesn't. */
function runs(pid: string): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid.trim()}/stat`, 'utf8'))
  } catch {
    return false
  }
}

describe('libtorch is looked for in order', () => {
  test('LIBTORCH, then python3, then the cache, then pip', async () => {
    const named = machine.torch('named', '2.12.1')
    const own = machine.torch('own', '2.11.0')
    machine.python({ torch: own, brings: machine.torch('wheel', '2.13.0') })

    expect(await machine.libtorch({ LIBTORCH: named })).toMatchObject({
      path: named,
      version: '2.12.1',
      source: 'LIBTORCH',
    })
    expect(await machine.libtorch()).toMatchObject({ path: own, version: '2.11.0', variant: 'cpu' })
    expect(pipCalls()).toEqual([])

    machine.python({ brings: machine.torch('wheel', '2.13.0') })
    const cached = join(machine.cache, '2.13.0-cpu', 'torch')
    expect(await machine.libtorch()).toMatchObject({ path: cached, version: '2.13.0', variant: 'cpu', source: 'pip' })
    expect(pipCalls()).toHaveLength(1)
    expect(await machine.libtorch()).toMatchObject({ path: cached, source: 'cache' })
    expect(pipCalls()).toHaveLength(1)
  })

  test.each(['2.10.9', '2.15.0', '1.13.1', '3.0.0'])("python3's own torch %s is passed over", async (version) => {
    machine.python({ torch: machine.torch('own', version), brings: machine.torch('wheel', '2.13.0') })
    expect(await machine.libtorch()).toMatchObject({ version: '2.13.0', source: 'pip' })
  })

  test.each(['1.13.1', '2.8.0', '2.10.9', '2.15.0'])('LIBTORCH of version %s is refused by name', async (version) => {
    machine.buildTools()
    machine.python({ torch: machine.torch('own', '2.13.0') })
    const { code, stderr } = await machine.install({ LIBTORCH: machine.torch('named', version) })
    expect(code).toBe(1)
    expect(stderr).toContain(`LIBTORCH is libtorch ${version}, which is not supported; 2.11 to 2.14 are`)
  })

  test.each(['2.11.0', '2.14.2'])('LIBTORCH of version %s is taken', async (version) => {
    expect(await machine.libtorch({ LIBTORCH: machine.torch('named', version) })).toMatchObject({ version })
  })

  test('LIBTORCH that is no libtorch is refused, and says what is missing', async () => {
    const named = machine.torch('named', '2.13.0')
    rmSync(join(named, 'lib/libtorch_cpu.so'))
    machine.python({ torch: machine.torch('own', '2.13.0') })
    await expect(machine.libtorch({ LIBTORCH: named })).rejects.toThrow(`${named}: no lib/libtorch_cpu.so below it`)
  })

  test('a cache folder that somebody took parts of is replaced', async () => {
    machine.python({ brings: machine.torch('wheel', '2.13.0') })
    const { path } = await machine.libtorch()
    rmSync(join(path, 'lib'), { recursive: true })
    expect(await machine.libtorch()).toMatchObject({ path, source: 'pip' })
    expect(existsSync(join(path, 'lib/libtorch.so'))).toBe(true)
  })
})

describe('libtorch is got with pip', () => {
  test("by what the user's pip is configured with first, without dependencies", async () => {
    machine.python({ brings: machine.torch('wheel', '2.13.0') })
    await machine.libtorch()
    expect(pipCalls()).toHaveLength(1)
    expect(pipCalls()[0]).toContain(' torch==2.13.0+cpu ')
    expect(pipCalls()[0]).toContain('--no-deps')
    expect(pipCalls()[0]).not.toContain('index-url')
  })

  test("and where that has no such build, with PyTorch's own index added", async () => {
    const pip = 'case "$*" in *--extra-index-url*) ;; *) echo "ERROR: No matching distribution"; exit 1 ;; esac'
    machine.python({ brings: machine.torch('wheel', '2.13.0'), pip })
    expect(await machine.libtorch()).toMatchObject({ source: 'pip' })
    expect(pipCalls()).toHaveLength(2)
    expect(pipCalls()[1]).toMatch(/--extra-index-url \S+\/whl\/cpu /)
  })

  test("as the CUDA build with NVIDIA's packages where a GPU answers", async () => {
    machine.program('nvidia-smi', 'echo "GPU 0: Some GPU (UUID: GPU-0)"')
    machine.python({ brings: machine.torch('wheel', '2.13.0', '13.0') })
    const path = join(machine.cache, '2.13.0-cu130', 'torch')
    expect(await machine.libtorch()).toMatchObject({ path, variant: 'cu130' })
    expect(pipCalls()).toHaveLength(1)
    expect(pipCalls()[0]).toContain('torch==2.13.0+cu130')
    expect(pipCalls()[0]).not.toContain('--no-deps')
  })

  test("under its plain version where pip's index has the CUDA build by that name only", async () => {
    machine.program('nvidia-smi', 'echo "GPU 0: Some GPU (UUID: GPU-0)"')
    const pip = 'case "$*" in *+cu130*) echo "ERROR: No matching distribution"; exit 1 ;; esac'
    machine.python({ brings: machine.torch('wheel', '2.13.0', '13.0'), pip })
    const path = join(machine.cache, '2.13.0-cu130', 'torch')
    expect(await machine.libtorch()).toMatchObject({ path, variant: 'cu130', source: 'pip' })
    // By === pip takes no 2.13.0+cpu for it.
    expect(pipCalls().map((call) => /torch=\S+/.exec(call)?.[0])).toEqual(['torch==2.13.0+cu130', 'torch===2.13.0'])
    expect(pipCalls()[1]).not.toContain('index-url')
  })

  test("and not where that is a CPU build: then PyTorch's own index is asked", async () => {
    machine.program('nvidia-smi', 'echo "GPU 0: Some GPU (UUID: GPU-0)"')
    const cuda = machine.torch('cuda-wheel', '2.13.0', '13.0')
    const pip = `case "$*" in
      *--extra-index-url*) while [ "$1" != --target ]; do shift; done; mkdir -p "$2" && cp -r ${cuda} "$2/torch"; exit ;;
      *+cu130*) echo "ERROR: No matching distribution"; exit 1 ;; esac`
    machine.python({ brings: machine.torch('wheel', '2.13.0'), pip })
    expect(await machine.libtorch()).toMatchObject({ variant: 'cu130', source: 'pip' })
    expect(pipCalls()).toHaveLength(3)
    machine.python({ brings: machine.torch('wheel', '2.13.0'), pip: 'case "$*" in *+cu130*) exit 1 ;; esac' })
    rmSync(machine.cache, { recursive: true })
    await expect(machine.libtorch()).rejects.toThrow(
      /something else than libtorch 2\.13\.0 \(cu130\)[\s\S]*torch===2\.13\.0 .*: brought libtorch 2\.13\.0 \(cpu\)/,
    )
    expect(readdirSync(machine.cache)).toEqual([])
  })

  test('as a CUDA build where no GPU answers, when that is asked for', async () => {
    const cpu = machine.torch('cpu', '2.13.0')
    await expect(machine.libtorch({ LIBTORCH: cpu }, true)).rejects.toThrow(/LIBTORCH is a CPU build; a CUDA build/)
    machine.python({ torch: cpu, brings: machine.torch('wheel', '2.13.0', '13.0') })
    expect(await machine.libtorch()).toMatchObject({ path: cpu })
    expect(await machine.libtorch({}, true)).toMatchObject({ variant: 'cu130', source: 'pip' })
    const own = machine.torch('own', '2.14.1', '13.0')
    machine.python({ torch: own })
    expect(await machine.libtorch({}, true)).toMatchObject({ path: own })
  })

  test('as the CPU build where the driver has no GPU', async () => {
    machine.program('nvidia-smi', 'echo "NVIDIA-SMI has failed"; exit 9')
    machine.python({ brings: machine.torch('wheel', '2.13.0') })
    expect(await machine.libtorch()).toMatchObject({ variant: 'cpu' })
  })

  test('and what is no CPU build is not taken for one', async () => {
    machine.python({ brings: machine.torch('wheel', '2.13.0', '13.0') })
    await expect(machine.libtorch()).rejects.toThrow(
      /something else than libtorch 2\.13\.0 \(cpu\)[\s\S]*2\.13\.0 \(cu130\)/,
    )
    expect(readdirSync(machine.cache)).toEqual([])
  })

  test('by two installations at once, into one folder that is whole', async () => {
    machine.python({ brings: machine.torch('wheel', '2.13.0'), pip: 'sleep 1' })
    const found = await Promise.all([machine.libtorch(), machine.libtorch(), machine.libtorch()])
    expect(pipCalls()).toHaveLength(3)
    expect(new Set(found.map(({ path }) => path))).toEqual(new Set([join(machine.cache, '2.13.0-cpu', 'torch')]))
    expect(readdirSync(machine.cache)).toEqual(['2.13.0-cpu'])
    expect(await machine.libtorch()).toMatchObject({ source: 'cache' })
  })

  test('and an installation that is stopped leaves nothing, and nothing that runs', async () => {
    // In a process group of its own (set -m), as ninja starts compilers; and one that doesn't end when asked.
    const child = 'set -m; (trap "" TERM; sleep 60; sleep 60) & echo $! > "$HOME/child"; wait'
    machine.python({ pip: `echo half > "$TMPDIR/half"; bash -c '${child}'` })
    const { ended, kill } = machine.startLibtorch()
    const pid = join(machine.folder, 'child')
    await vi.waitUntil(() => existsSync(pid) && readFileSync(pid, 'utf8').endsWith('\n'), 30_000)
    kill('SIGTERM')
    await ended
    expect(readdirSync(machine.cache)).toEqual([])
    expect(runs(readFileSync(pid, 'utf8'))).toBe(false)
  })

  test('and what a killed one left is removed by the next', async () => {
    machine.python({ pip: 'exec sleep 3' })
    const { ended, kill, pid } = machine.startLibtorch()
    await untilPipRuns()
    kill('SIGKILL')
    expect(readdirSync(machine.cache).map((name) => name.endsWith(`-${pid}`))).toEqual([true])
    await ended
    machine.python({ brings: machine.torch('wheel', '2.13.0') })
    await machine.libtorch()
    expect(readdirSync(machine.cache)).toEqual(['2.13.0-cpu'])
  })
})

describe('one message for what is missing', () => {
  const expectOneMessage = ({ code, stderr, stdout }: { code: number | null; stderr: string; stdout: string }) => {
    expect(code).toBe(1)
    expect(stdout).toBe('')
    expect(stderr).not.toMatch(/^\s+at /m) // no stack
    expect(stderr.match(/^continual-diffusion: .*(can't|could not|no libtorch)/gm)).toHaveLength(1)
    expect(stderr).toMatch(/^ {2}tried: /m)
    expect(stderr).toMatch(/^ {2}to mend: /m)
    return expect(stderr)
  }

  test('no compiler', async () => {
    machine.buildTools()
    rmSync(join(machine.bin, 'c++'))
    machine.program('apt-get', '')
    const message = expectOneMessage(await machine.install())
    message.toContain('without a C++20 compiler')
    message.toContain('tried: g++: not on PATH')
    message.toContain('to mend: sudo apt-get install -y g++\n')
  })

  test('a compiler without C++20', async () => {
    machine.buildTools()
    machine.program('c++', 'echo "error: unrecognized command line option -std=c++20" >&2; exit 1')
    machine.program('dnf', '')
    const message = expectOneMessage(await machine.install())
    message.toContain('tried: c++ -std=c++20: error: unrecognized command line option')
    message.toContain('to mend: sudo dnf install -y gcc-c++\n')
  })

  test('no CMake', async () => {
    machine.buildTools()
    rmSync(join(machine.bin, 'cmake'))
    expectOneMessage(await machine.install()).toContain('without CMake 3.18 or newer')
  })

  test('an old CMake', async () => {
    machine.buildTools()
    machine.program('cmake', 'echo cmake version 3.16.3')
    expectOneMessage(await machine.install()).toContain('version 3.16.3; 3.18 or newer is needed')
  })

  test('nothing at all', async () => {
    machine.program('pacman', '')
    const message = expectOneMessage(await machine.install())
    message.toContain('without a C++20 compiler and CMake 3.18 or newer and make or ninja')
    message.toContain('sudo pacman -S --noconfirm gcc cmake make')
  })

  test('no Python', async () => {
    machine.buildTools()
    machine.program('apt-get', '')
    const message = expectOneMessage(await machine.install())
    message.toContain('there is no libtorch 2.11 to 2.14, and getting it needs Python 3.10 or newer with pip')
    message.toContain('to mend: sudo apt-get install -y python3 python3-pip')
  })

  test('Python without pip', async () => {
    machine.buildTools()
    machine.program('python3', 'case "$*" in -c*) ;; *) echo "No module named pip" >&2; exit 1 ;; esac')
    expectOneMessage(await machine.install()).toContain('-m pip: No module named pip')
  })

  test("a Python that libtorch's wheels are not made for, which is no trouble of the network", async () => {
    machine.buildTools()
    machine.program('python3', 'case "$*" in -c*) ;; *) echo "pip 20.0.2 from /usr/lib/pip (python 3.8)" ;; esac')
    const message = expectOneMessage(await machine.install())
    message.toContain('/python3: python 3.8; 3.10 or newer is needed')
    message.not.toContain('network')
  })

  test.each(['3.10', '3.13'])('Python %s is new enough', async (version) => {
    machine.python({ brings: machine.torch('wheel', '2.13.0'), version })
    expect(await machine.libtorch()).toMatchObject({ source: 'pip' })
  })

  test('no network', async () => {
    machine.buildTools()
    machine.python({ pip: 'echo "ERROR: Could not find a version that satisfies the requirement" >&2; exit 1' })
    const message = expectOneMessage(await machine.install())
    message.toContain('pip could not get libtorch 2.13.0 (cpu)')
    message.toContain('ERROR: Could not find a version')
    expect(readdirSync(machine.cache)).toEqual([])
  })

  test('a cache folder that cannot be written', async () => {
    machine.buildTools()
    machine.python()
    writeFileSync(join(machine.folder, 'cache'), 'a file')
    expectOneMessage(await machine.install()).toContain("the cache folder for libtorch can't be written")
  })

  test('a build that fails, which leaves no record', async () => {
    machine.buildTools()
    machine.program(
      'cmake',
      'case "$*" in --version) echo cmake version 3.25.1 ;; *) echo "x.cc:1: error: wrong" >&2; exit 1 ;; esac',
    )
    machine.program('g++', 'exit 0') // cmake-js looks for this name
    const copy = copyOfPackage()
    writeFileSync(join(copy, 'build', 'engine.json'), '{"libtorch":{"path":"/elsewhere"}}')
    const message = expectOneMessage(await machine.install({ LIBTORCH: machine.torch('named', '2.13.0') }, copy))
    message.toContain('the addon could not be configured')
    message.toContain('x.cc:1: error: wrong')
    expect(existsSync(join(copy, 'build', 'engine.json'))).toBe(false)
    expect(readdirSync(join(copy, 'build'))).toEqual(['build.log'])
  })

  test('a build folder that cannot be written', async () => {
    machine.buildTools()
    const copy = copyOfPackage()
    rmSync(join(copy, 'build'), { recursive: true })
    writeFileSync(join(copy, 'build'), 'a file')
    const env = { LIBTORCH: machine.torch('named', '2.13.0') }
    expectOneMessage(await machine.install(env, copy)).toContain(`the folder ${join(copy, 'build')} can't be written`)
    const setup = machine.start([join(copy, 'scripts', 'setup.mjs')], env)
    expectOneMessage(await setup.ended).toContain(`the folder ${join(copy, 'build')} can't be written`)
  })
})

describe('the build', () => {
  /** CMake and compiler that say yes; what CMake is called with is in the file returned. */
  const buildTools = () => {
    const log = join(machine.folder, 'cmake.log')
    machine.buildTools()
    machine.program('cmake', `echo cmake version 3.25.1; echo "$*" >> ${log}`)
    machine.program('g++', 'exit 0') // cmake-js looks for this name
    return log
  }

  test.each([
    ['is not configured again where nothing changed', {}, undefined],
    ['is, where warnings become errors', { CONTINUAL_DIFFUSION_WERROR: 'ON' }, '-DCONTINUAL_DIFFUSION_WERROR=ON'],
    ['is not, where they are as they were', { CONTINUAL_DIFFUSION_WERROR: 'OFF' }, undefined],
  ])('%s', async (_, env, option) => {
    const log = buildTools()
    const copy = copyOfPackage()
    const path = machine.torch('named', '2.13.0')
    const settings = ['CONTINUAL_DIFFUSION_WERROR:BOOL=OFF', `CMAKE_HOME_DIRECTORY:INTERNAL=${copy}`, '']
    writeFileSync(join(copy, 'build', 'CMakeCache.txt'), settings.join('\n'))
    writeFileSync(join(copy, 'build', 'engine.json'), JSON.stringify({ libtorch: { path } }))
    const { code, stderr } = await machine.install({ LIBTORCH: path, ...env }, copy)
    expect(code, stderr).toBe(0)
    const configurations = readFileSync(log, 'utf8')
      .split('\n')
      .filter((line) => line.includes('-DLIBTORCH='))
    expect(configurations).toHaveLength(option ? 1 : 0)
    if (option) expect(configurations[0]).toContain(option)
  })

  test("takes no more jobs than the container's memory allows", async () => {
    const log = buildTools()
    const limit = 'data:text/javascript,process.constrainedMemory=()=>3*2**30'
    const env = { LIBTORCH: machine.torch('named', '2.13.0'), NODE_OPTIONS: `--import=${limit}` }
    const { code, stderr } = await machine.install(env, copyOfPackage())
    expect(code, stderr).toBe(0)
    expect(readFileSync(log, 'utf8')).toMatch(/--parallel 1$/m)
  })

  test.each([
    ['is gone', () => `${hostname()} 999999999 1`],
    ['is gone and whose number another has now', () => `${hostname()} ${process.pid} 1`],
  ])('takes over the lock of a process that %s', async (_, holder) => {
    buildTools()
    const copy = copyOfPackage()
    writeFileSync(join(copy, 'build', '.lock'), holder())
    const env = { LIBTORCH: machine.torch('named', '2.13.0') }
    const ended = await Promise.all([
      machine.install(env, copy),
      machine.install(env, copy),
      machine.install(env, copy),
    ])
    expect(ended.map(({ code }) => code)).toEqual([0, 0, 0])
    expect(readdirSync(join(copy, 'build')).sort()).toEqual(['build.log', 'engine.json'])
  })

  test('waits for a process of another machine, and names the file', async () => {
    buildTools()
    const copy = copyOfPackage()
    const lock = join(copy, 'build', '.lock')
    writeFileSync(lock, 'elsewhere 999999999 1')
    const { ended, said } = machine.start([join(copy, 'scripts', 'install.mjs')], {
      LIBTORCH: machine.torch('named', '2.13.0'),
    })
    await vi.waitUntil(() => said().includes(`process 999999999 on elsewhere is building here`), 30_000)
    expect(said()).toContain(`remove ${lock})`)
    rmSync(lock)
    expect((await ended).code).toBe(0)
  })
})

test('two set-ups at once in a fresh clone take turns, and the second finds all done', async () => {
  const copy = copyOfPackage()
  const log = join(machine.folder, 'steps.log')
  rmSync(join(copy, 'node_modules'))
  rmSync(join(copy, 'build'), { recursive: true })
  writeFileSync(join(copy, 'package-lock.json'), '{}')
  const step = (name: string) => `echo ${name} >> ${log}; sleep 0.3; echo "end of ${name}" >> ${log}`
  machine.program('npm', `${step('npm')}; mkdir node_modules; echo > node_modules/.package-lock.json`)
  for (const name of ['install', 'compile']) {
    const code = `import { execSync } from 'node:child_process'\nexecSync(${JSON.stringify(step(name))}, { shell: '/bin/sh', env: { PATH: '/usr/bin:/bin' } })\n`
    writeFileSync(join(copy, 'scripts', `${name}.mjs`), code)
  }
  const setups = [0, 1].map(() => machine.start([join(copy, 'scripts', 'setup.mjs')]).ended)
  expect((await Promise.all(setups)).map(({ code }) => code)).toEqual([0, 0])
  const steps = ['npm', 'install', 'compile', 'install', 'compile'].flatMap((name) => [name, `end of ${name}`])
  expect(readFileSync(log, 'utf8').trim().split('\n')).toEqual(steps)
  expect(readdirSync(join(copy, 'build'))).toEqual([])
})

test('what is compiled is compiled again only when a source is newer, at whatever part of a second that was written', async () => {
  const copy = copyOfPackage()
  cpSync(join(root, 'tsconfig.json'), join(copy, 'tsconfig.json'))
  const source = join(copy, 'lib', 'index.ts')
  mkdirSync(join(copy, 'lib'))
  const compile = async () => {
    const { code, stdout, stderr } = await machine.start([join(copy, 'scripts', 'compile.mjs'), '--if-stale']).ended
    expect(code, stdout).toBe(0)
    return stderr.includes('compiling')
  }
  for (const millisecond of [1, 3, 7]) {
    writeFileSync(source, `export const millisecond = ${millisecond}\n`)
    // Times as floating-point seconds are not whole milliseconds, some a little more and some a little less.
    const written = (Math.floor(Date.now() / 1000) + 60 * millisecond) * 1000 + millisecond
    for (const path of [source, join(copy, 'lib')]) utimesSync(path, new Date(), new Date(written))
    expect([await compile(), await compile()], `${millisecond} ms`).toEqual([true, false])
  }
}, 60_000)
