import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** How a process ended, and what it wrote. */
export interface Ended {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** The command line in a process of its own, in a folder that is its cache too; what it wrote so far is in `output`. */
export function startCommand(
  cwd: string,
  ...args: string[]
): { child: ChildProcessWithoutNullStreams; output: { stdout: string; stderr: string }; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [main, ...args], {
    cwd,
    env: { ...process.env, XDG_CACHE_HOME: path.join(cwd, 'cache'), DEBUG: '' },
  })
  const output = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      output[stream] += text
    })
  }
  const ended = once(child, 'close').then(([status, signal]): Ended => ({ status, signal, ...output }))
  return { child, output, ended }
}
