import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { main } from './support/child.js'
import { temporaryFolder } from './support/folders.js'
import { compile } from './support/processes.js'
import { brokenExperiment } from './support/runs.js'

beforeAll(compile, 120_000)

/** Runs a tiny experiment with its two streams, and gives its status and results. */
async function runWith(stdout: number | 'gone', stderr: number | 'gone') {
  const cwd = await temporaryFolder()
  const experiment = { ...brokenExperiment, methods: ['finetune'], train: { steps: 4, batchSize: 4 } }
  await writeFile(path.join(cwd, 'tiny.json'), JSON.stringify(experiment))
  const stdio = [stdout, stderr].map((stream) => (stream === 'gone' ? 'pipe' : stream))
  const child = spawn(process.execPath, [main, 'run', 'tiny.json', '--out', 'run'], {
    cwd,
    env: { ...process.env, XDG_CACHE_HOME: path.join(cwd, 'cache') },
    stdio: ['ignore', ...stdio] as ['ignore', number, number],
  })
  // The reader goes before anything is written.
  child.stdio[1]?.destroy()
  child.stdio[2]?.destroy()
  const [status] = await once(child, 'exit')
  const { complete } = JSON.parse(await readFile(path.join(cwd, 'run/results.json'), 'utf8'))
  return { status, complete, cwd }
}

it('a run whose log goes to a full disk goes on without it, and says so where it can', async () => {
  const full = await open('/dev/full', 'w')
  const file = path.join(await temporaryFolder(), 'out')
  const out = await open(file, 'w')
  const { status, complete } = await runWith(out.fd, full.fd)
  expect({ status, complete }).toEqual({ status: 0, complete: true })
  expect(await readFile(file, 'utf8')).toMatch(/could not be written: stderr: ENOSPC/)
  for (const handle of [full, out]) await handle.close()
}, 60_000)

it('a run whose readers have gone goes on to its end', async () => {
  expect(await runWith('gone', 'gone')).toMatchObject({ status: 0, complete: true })
}, 60_000)

it('a command whose result can not be written fails', async () => {
  const full = await open('/dev/full', 'w')
  const child = spawn(process.execPath, [main, 'data'], { stdio: ['ignore', full.fd, 'pipe'] })
  let said = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  expect(await once(child, 'close')).toEqual([1, null])
  expect(said).toMatch(/stdout: ENOSPC/)
  await full.close()
})
