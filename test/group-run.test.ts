import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import type { Results } from '../lib/report/results.js'
import { main } from './support/child.js'
import { temporaryFolder } from './support/folders.js'
import { mpirun, runGroup } from './support/mpi.js'
import { compile, run } from './support/processes.js'
import { brokenExperiment } from './support/runs.js'

beforeAll(async () => {
  await compile()
  await mpirun()
}, 300_000)

const experiment = {
  ...brokenExperiment,
  methods: ['generative-distillation'],
  train: { steps: 12, batchSize: 4 },
  keepLearners: 'none',
}

async function experimentIn(folder: string): Promise<{ file: string; env: NodeJS.ProcessEnv }> {
  const file = path.join(folder, 'experiment.json')
  await writeFile(file, JSON.stringify(experiment))
  return { file, env: { XDG_CACHE_HOME: process.env.XDG_CACHE_HOME ?? path.join(process.env.HOME ?? '', '.cache') } }
}

async function lossesOf(folder: string): Promise<readonly number[]> {
  const lines = (await readFile(path.join(folder, 'metrics.jsonl'), 'utf8')).trim().split('\n')
  return lines.map((line) => JSON.parse(line)).flatMap(({ kind, loss }) => (kind === 'train' ? [loss] : []))
}

async function resultsOf(folder: string): Promise<Results> {
  return JSON.parse(await readFile(path.join(folder, 'results.json'), 'utf8'))
}

it('a run of two processes whose machine fails is resumed by three, and finds what one process finds', async () => {
  const folder = await temporaryFolder()
  const { file } = await experimentIn(folder)
  const [alone, together] = [path.join(folder, 'alone'), path.join(folder, 'together')]
  const single = await run([main, 'run', file, '--out', alone])
  expect({ code: single.code, stderr: single.stderr.includes('rank') }).toEqual({ code: 0, stderr: false })

  const broken = runGroup(2, [main, 'run', file, '--out', together])
  await untilCheckpoint(path.join(together, 'checkpoints'), 3)
  await killOne(together)
  expect((await broken).code).not.toBe(0)

  const resumed = await runGroup(3, [main, 'run', '--resume', together])
  expect(resumed.stderr).toContain('3 processes, by MPICH')
  expect(resumed.stderr).toMatch(/resuming from checkpoint \d+/)
  expect(resumed.code).toBe(0)
  // Only the first process speaks.
  expect(resumed.stdout.match(/Results {3}/g)).toHaveLength(1)
  expect(resumed.stderr).not.toContain('rank 1')

  const [a, b] = await Promise.all([alone, together].map(lossesOf))
  expect(b!.length).toBe(a!.length)
  for (const [i, loss] of a!.entries()) expect(Math.abs(b![i]! - loss) / loss).toBeLessThan(1e-3)
  const results = await Promise.all([alone, together].map(resultsOf))
  const counts = results.map(({ complete, runs }) => ({
    complete,
    runs: runs.map(({ method, tasks }) => ({
      method,
      tasks: tasks.map(({ steps, metrics, sharedFrom }) => ({ steps, sharedFrom, counts: countsOf(metrics) })),
    })),
  }))
  expect(counts[1]).toEqual(counts[0])
}, 300_000)

it('a mistake is told once', async () => {
  const folder = await temporaryFolder()
  const { code, stderr } = await runGroup(2, [
    main,
    'run',
    'demo',
    '--method',
    'ewk',
    '--out',
    path.join(folder, 'run'),
  ])
  expect(code).not.toBe(0)
  expect(stderr.match(/ERR_INVALID_ARGUMENT/g)).toHaveLength(1)
}, 60_000)

function countsOf(metrics: Results['runs'][number]['tasks'][number]['metrics']) {
  return Object.entries(metrics).map(([name, { real, generated }]) => [name, real, generated])
}

async function untilCheckpoint(folder: string, number: number): Promise<void> {
  for (let i = 0; i < 600; i++) {
    const names = await readdir(folder).catch((): string[] => [])
    if (names.some((name) => Number(name) >= number)) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('expected a checkpoint, and there is none after 30 s')
}

/** Kills one of the processes that work in a run folder, as a machine does that has no memory left. */
async function killOne(folder: string): Promise<void> {
  for (const pid of await readdir('/proc')) {
    const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    const [program, ...args] = text.split('\0')
    if (program?.endsWith('node') && args.includes(folder)) {
      process.kill(Number(pid), 'SIGKILL')
      return
    }
  }
  throw new Error(`expected a process that works in ${folder}`)
}
