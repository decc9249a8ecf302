import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
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

const untilPipRuns = async () => {
  while (machine.pipCalls().length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
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
    expect(machine.pipCalls()).toEqual([])

    machine.python({ brings: machine.torch('wheel', '2.13.0') })
    const cached = join(machine.cache, '2.13.0-cpu', 'torch')
    expect(await machine.libtorch()).toMatchObject({ path: cached, version: '2.13.0', variant: 'cpu', source: 'pip' })
    expect(machine.pipCalls()).toHaveLength(1)
    expect(await machine.libtorch()).toMatchObject({ path: cached, source: 'cache' })
    expect(machine.pipCalls()).toHaveLength(1)
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
    expect(machine.pipCalls()).toHaveLength(1)
    expect(machine.pipCalls()[0]).toContain(' torch==2.13.0+cpu ')
    expect(machine.pipCalls()[0]).toContain('--no-deps')
    expect(machine.pipCalls()[0]).not.toContain('index-url')
  })

  test("and where that has no such build, with PyTorch's own index added", async () => {
    const pip = 'case "$*" in *--extra-index-url*) ;; *) echo "ERROR: No matching distribution"; exit 1 ;; esac'
    machine.python({ brings: machine.torch('wheel', '2.13.0'), pip })
    expect(await machine.libtorch()).toMatchObject({ source: 'pip' })
    expect(machine.pipCalls()).toHaveLength(2)
    expect(machine.pipCalls()[1]).toMatch(/--extra-index-url \S+\/whl\/cpu /)
  })

  test("as the CUDA build with NVIDIA's packages where a GPU answers", async () => {
    machine.program('nvidia-smi', 'echo "GPU 0: Some GPU (UUID: GPU-0)"')
    machine.python({ brings: machine.torch('wheel', '2.13.0', '13.0') })
    const path = join(machine.cache, '2.13.0-cu130', 'torch')
    expect(await machine.libtorch()).toMatchObject({ path, variant: 'cu130' })
    expect(machine.pipCalls()).toHaveLength(1)
    expect(machine.pipCalls()[0]).toContain('torch==2.13.0+cu130')
    expect(machine.pipCalls()[0]).not.toContain('--no-deps')
  })

  test("under its plain version where pip's index has the CUDA build by that name only", async () => {
    machine.program('nvidia-smi', 'echo "GPU 0: Some GPU (UUID: GPU-0)"')
    const pip = 'case "$*" in *+cu130*) echo "ERROR: No matching distribution"; exit 1 ;; esac'
    machine.python({ brings: machine.torch('wheel', '2.13.0', '13.0'), pip })
    const path = join(machine.cache, '2.13.0-cu130', 'torch')
    expect(await machine.libtorch()).toMatchObject({ path, variant: 'cu130', source: 'pip' })
    // By === pip takes no 2.13.0+cpu for it.
    expect(machine.pipCalls().map((call) => /torch=\S+/.exec(call)?.[0])).toEqual([
      'torch==2.13.0+cu130',
      'torch===2.13.0',
    ])
    expect(machine.pipCalls()[1]).not.toContain('index-url')
  })

  test("and not where that is a CPU build: then PyTorch's own index is asked", async () => {
    machine.program('nvidia-smi', 'echo "GPU 0: Some GPU (UUID: GPU-0)"')
    const cuda = machine.torch('cuda-wheel', '2.13.0', '13.0')
    const pip = `case "$*" in
      *--extra-index-url*) while [ "$1" != --target ]; do shift; done; mkdir -p "$2" && cp -r ${cuda} "$2/torch"; exit ;;
      *+cu130*) echo "ERROR: No matching distribution"; exit 1 ;; esac`
    machine.python({ brings: machine.torch('wheel', '2.13.0'), pip })
    expect(await machine.libtorch()).toMatchObject({ variant: 'cu130', source: 'pip' })
    expect(machine.pipCalls()).toHaveLength(3)
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
    expect(machine.pipCalls()).toHaveLength(3)
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
