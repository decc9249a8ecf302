import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { FakeMachine } from './support/fake-machine.js'

let machine: FakeMachine

beforeEach(() => {
  machine = new FakeMachine()
})
afterEach(() => {
  machine[Symbol.dispose]()
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
    const copy = machine.copyOfPackage()
    writeFileSync(join(copy, 'build', 'engine.json'), '{"libtorch":{"path":"/elsewhere"}}')
    const message = expectOneMessage(await machine.install({ LIBTORCH: machine.torch('named', '2.13.0') }, copy))
    message.toContain('the addon could not be configured')
    message.toContain('x.cc:1: error: wrong')
    expect(existsSync(join(copy, 'build', 'engine.json'))).toBe(false)
    expect(readdirSync(join(copy, 'build'))).toEqual(['build.log'])
  })

  test('a build folder that cannot be written', async () => {
    machine.buildTools()
    const copy = machine.copyOfPackage()
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
    const copy = machine.copyOfPackage()
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

  test.each([
    ['a clone keeps what the compiler needs again', true, ['CMakeCache.txt', 'CMakeFiles'], 1],
    ['a package does not, and is configured again', false, [], 2],
  ])('%s', async (_, isClone, kept, configurations) => {
    const log = buildTools()
    const copy = machine.copyOfPackage()
    if (isClone) mkdirSync(join(copy, 'lib'))
    const build = join(copy, 'build')
    const lines = [
      'echo cmake version 3.25.1',
      `case "$*" in *-DLIBTORCH=*) echo "$*" >> ${log}; echo "CMAKE_HOME_DIRECTORY:INTERNAL=${copy}" > ${build}/CMakeCache.txt ;; esac`,
      `mkdir -p ${build}/CMakeFiles ${build}/Release`,
    ]
    machine.program('cmake', lines.join('\n'))
    const env = { LIBTORCH: machine.torch('named', '2.13.0') }
    for (let times = 0; times < 2; times++) {
      const { code, stderr } = await machine.install(env, copy)
      expect(code, stderr).toBe(0)
      expect(readdirSync(build).sort()).toEqual([...kept, 'Release', 'build.log', 'engine.json'])
    }
    const configured = readFileSync(log, 'utf8').trim().split('\n')
    expect(configured).toHaveLength(configurations)
    expect(configured[0]?.includes('-DCMAKE_UNITY_BUILD=ON')).toBe(!isClone)
  })

  test("takes no more jobs than the container's memory allows", async () => {
    const log = buildTools()
    const limit = 'data:text/javascript,process.constrainedMemory=()=>3*2**30'
    const env = { LIBTORCH: machine.torch('named', '2.13.0'), NODE_OPTIONS: `--import=${limit}` }
    const { code, stderr } = await machine.install(env, machine.copyOfPackage())
    expect(code, stderr).toBe(0)
    expect(readFileSync(log, 'utf8')).toMatch(/--parallel 1$/m)
  })

  test.each([
    ['is gone', () => `${hostname()} 999999999 1`],
    ['is gone and whose number another has now', () => `${hostname()} ${process.pid} 1`],
  ])('takes over the lock of a process that %s', async (_, holder) => {
    buildTools()
    const copy = machine.copyOfPackage()
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
    const copy = machine.copyOfPackage()
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
