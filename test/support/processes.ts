import { type ChildProcessWithoutNullStreams as Child, spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { expect } from 'vitest'
import { temporaryFolder } from './folders.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** How a process ended, and what it wrote. */
export interface Ended {
  code: number | null
  signal: string | null
  stdout: string
  stderr: string
}

/** Starts Node. */
export function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): { child: Child; ended: Promise<Ended> } {
  const child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, ...env } })
  const output: Ended = { code: null, signal: null, stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      output[stream] += text
    })
  }
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ ...output, code, signal }))
  })
  return { child, ended }
}

/** Runs Node to its end. */
export function run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return start(args, env).ended
}

/** Compiles the package, for `beforeAll`: the children run it as it is published, so it must be that of these sources. */
export async function compile(): Promise<void> {
  const { code, stderr } = await run([path.join(root, 'scripts', 'compile.mjs'), '--if-stale'])
  expect(stderr).not.toContain('error')
  expect(code).toBe(0)
}

/** What every script begins with: a learner whose steps take long enough to be interrupted, and its endless training. */
const prelude = `
import { Worker, isMainThread, parentPort } from 'node:worker_threads'
import { setTimeout as wait } from 'node:timers/promises'
import { classIncremental, finetune, fromArrays, Learner, presets, TorchScriptFeatures } from ${JSON.stringify(pathToFileURL(path.join(root, 'dist', 'index.js')).href)}

const count = 256
const set = (name) => fromArrays({
  name,
  images: Uint8Array.from({ length: count * 256 }, (_, i) => (i * 7919) % 251),
  labels: Array.from({ length: count }, (_, i) => i % 2),
  classes: ['even', 'odd'],
  height: 16, width: 16, channels: 1,
})
const [task] = classIncremental({ train: set('x/train'), test: set('x/test') }, { tasks: 1 })
const create = (seed = 1) => Learner.create({ unet: presets.demo, device: 'cpu', precision: 'fp32', seed })
const learn = (learner, options) => learner.learn(task, finetune(), { steps: 1e6, batchSize: 64, ...options })
/** Resolves when training is under way, in the middle of a native call, whose promise it hands on. */
const start = async (learner, options) => {
  const training = learn(learner, options)
  await training.next()
  const pending = training.next()
  pending.catch(() => undefined)
  await wait(50)
  return { pending }
}
`

/** Starts a module that begins with {@link prelude}. */
export async function startScript(body: string, env?: NodeJS.ProcessEnv, flags: readonly string[] = []) {
  const file = path.join(await temporaryFolder(), 'script.mjs')
  await writeFile(file, prelude + body)
  return start([...flags, file], env)
}

/** As {@link startScript}, to its end. */
export async function script(body: string, env?: NodeJS.ProcessEnv, flags: readonly string[] = []): Promise<Ended> {
  return (await startScript(body, env, flags)).ended
}
