import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { cacheFolder } from '../../lib/files/cache-folder.js'
import { findPip } from '../../scripts/tools.mjs'
import type { Ended } from './processes.js'

const version = '5.0.2'

/** MPICH's mpirun, from pip: installed once, into the cache. Without it there is nothing to test groups with, so a failure is one. */
export async function mpirun(): Promise<string> {
  const folder = cacheFolder(`mpich-${version}`)
  if (folder === undefined) throw new Error('tests of groups keep MPICH in the cache folder; set XDG_CACHE_HOME')
  const found = () => ['bin', 'local/bin'].map((bin) => path.join(folder, bin, 'mpirun')).find(existsSync)
  const before = found()
  if (before) return before
  const python = findPip().path
  if (!python) throw new Error('tests of groups need MPICH, and getting it needs Python 3.10 or newer with pip')
  const partial = `${folder}.partial-${process.pid}`
  await mkdir(path.dirname(folder), { recursive: true })
  const wanted = ['--no-user', '--no-input', '--ignore-installed', '--prefix', partial, `mpich==${version}`]
  await promisify(execFile)(python, ['-m', 'pip', 'install', ...wanted]).catch((cause: Error) => {
    throw new Error(`tests of groups need MPICH, and pip could not get it: ${cause.message}`, { cause })
  })
  await rename(partial, folder).catch(() => rm(partial, { recursive: true, force: true })) // another was faster
  return found() as string
}

/** Runs Node in a group of so many processes, to its end; each in a shell, where one is given: `"$@"` is Node. */
export async function runGroup(
  size: number,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; launch?: readonly string[]; shell?: string } = {},
): Promise<Ended> {
  const { cwd, env, launch = [], shell } = options
  const launcher = await mpirun()
  const program = [...(shell === undefined ? [] : ['sh', '-c', shell, 'sh']), process.execPath, ...args]
  const child = spawn(launcher, [...launch, '-n', String(size), ...program], {
    ...(cwd === undefined ? {} : { cwd }),
    env: { ...process.env, DEBUG: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output: Ended = { code: null, signal: null, stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      output[stream] += text
    })
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ ...output, code, signal }))
  })
}
