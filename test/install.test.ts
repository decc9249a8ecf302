import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
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

  test.each(['2.10.9', '2.15.0'])('LIBTORCH of version %s is refused by name', async (version) => {
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
    expect(pipCalls()[0]).toContain('install torch==2.13.0+cpu --target')
    expect(pipCalls()[0]).toContain('--no-deps')
    expect(pipCalls()[0]).not.toContain('index-url')
  })

  test("and where that has no such build, with PyTorch's own index added", async () => {
    const pip = 'case "$*" in *--extra-index-url*) ;; *) echo "ERROR: No matching distribution"; exit 1 ;; esac'
    machine.python({ brings: machine.torch('wheel', '2.13.0'), pip })
    expect(await machine.libtorch()).toMatchObject({ source: 'pip' })
    expect(pipCalls()).toHaveLength(2)
    expect(pipCalls()[1]).toMatch(/--extra-index-url \S+\/whl\/cpu$/)
  })

  test("as the CUDA build with NVIDIA's packages where a GPU answers", async () => {
    machine.program('nvidia-smi', 'echo "GPU 0: Some GPU (UUID: GPU-0)"')
    machine.python({ brings: machine.torch('wheel', '2.13.0', '13.0') })
    const path = join(machine.cache, '2.13.0-cu130', 'torch')
    expect(await machine.libtorch()).toMatchObject({ path, variant: 'cu130' })
    expect(pipCalls()[0]).toContain('torch==2.13.0+cu130')
    expect(pipCalls()[0]).not.toContain('--no-deps')
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

  test('and an installation that is stopped leaves nothing', async () => {
    machine.python({ pip: 'echo half > "$TMPDIR/half"; exec sleep 60' })
    const { ended, kill } = machine.startLibtorch()
    await untilPipRuns()
    kill('SIGTERM')
    await ended
    expect(readdirSync(machine.cache)).toEqual([])
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
    message.toContain('there is no libtorch 2.11 to 2.14, and getting it needs Python 3 with pip')
    message.toContain('to mend: sudo apt-get install -y python3 python3-pip')
  })

  test('Python without pip', async () => {
    machine.buildTools()
    machine.program('python3', 'case "$*" in -c*) ;; *) echo "No module named pip" >&2; exit 1 ;; esac')
    expectOneMessage(await machine.install()).toContain('-m pip: No module named pip')
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
    const copy = join(machine.folder, 'package')
    mkdirSync(join(copy, 'build'), { recursive: true })
    for (const name of ['scripts', 'package.json', 'CMakeLists.txt'])
      cpSync(join(root, name), join(copy, name), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
    writeFileSync(join(copy, 'build', 'engine.json'), '{"libtorch":{"path":"/elsewhere"}}')
    writeFileSync(join(copy, 'build', '.lock'), '999999999') // of a process that was killed
    const message = expectOneMessage(await machine.install({ LIBTORCH: machine.torch('named', '2.13.0') }, copy))
    message.toContain('the addon could not be configured')
    message.toContain('x.cc:1: error: wrong')
    expect(existsSync(join(copy, 'build', 'engine.json'))).toBe(false)
    expect(existsSync(join(copy, 'build', '.lock'))).toBe(false)
  })
})
