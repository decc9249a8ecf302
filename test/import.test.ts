import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, it } from 'vitest'
import { main } from './support/child.js'
import { temporaryFolder } from './support/folders.js'
import { compile } from './support/processes.js'
import { brokenExperiment } from './support/runs.js'

beforeAll(compile, 120_000)

const entry = (name: string) => new URL(`../dist/${name}.js`, import.meta.url).href

/** Runs Node with so many open files at most. */
function limited(files: number, cwd: string, ...args: string[]) {
  const env = { ...process.env, XDG_CACHE_HOME: path.join(cwd, 'cache') }
  const command = ['-c', `ulimit -n ${files}; exec "$0" "$@"`, process.execPath, ...args]
  return promisify(execFile)('sh', command, { cwd, env })
}

it.each(['--version', '--help'])('%s reads few files', async (option) => {
  const { stdout } = await limited(64, await temporaryFolder(), main, option)
  expect(stdout).toMatch(option === '--version' ? /^\d+\.\d+/ : /run .*compare .*doctor/s)
})

it('a whole run opens fewer than 256 files at once', async () => {
  const cwd = await temporaryFolder()
  const experiment = { ...brokenExperiment, methods: ['finetune'], train: { steps: 2, batchSize: 4 } }
  await writeFile(path.join(cwd, 'tiny.json'), JSON.stringify(experiment))
  const { stdout } = await limited(256, cwd, main, 'run', 'tiny.json', '--out', 'run')
  expect(stdout).toContain('report.html')
}, 60_000)

it('importing leaves WebAssembly alone, and needs no home', async () => {
  const source = `
    Object.defineProperty(globalThis, 'WebAssembly', { get() { throw new Error('WebAssembly was touched') } })
    for (const entry of ${JSON.stringify([entry('index'), entry('experiment/index')])}) await import(entry)
    const { cacheFolder } = await import(${JSON.stringify(entry('files/cache-folder'))})
    console.log(cacheFolder('data'))`
  const run = async (env: NodeJS.ProcessEnv) => {
    // A user who has no entry among the system's.
    const uid = process.geteuid?.() === 0 ? { uid: 54_321 } : {}
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', source], {
      env: { PATH: process.env.PATH, ...env },
      ...uid,
    })
    return stdout.trim()
  }
  expect(await run({ HOME: '' })).toBe('undefined')
  expect(await run({ HOME: '/home/x' })).toBe('/home/x/.cache/continual-diffusion/data')
  expect(await run({ XDG_CACHE_HOME: 'relative', HOME: '/home/x' })).toBe('/home/x/.cache/continual-diffusion/data')
  expect(await run({ XDG_CACHE_HOME: '/cache' })).toBe('/cache/continual-diffusion/data')
  if (process.geteuid?.() === 0) expect(await run({})).toBe('undefined')
})
