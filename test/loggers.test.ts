import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import path from 'node:path'
import { json } from 'node:stream/consumers'
import { expect, onTestFinished, test, vi } from 'vitest'
import { mlflow } from '../examples/log-to-mlflow.js'
import { prometheus } from '../examples/log-to-prometheus.js'
import { wandb } from '../examples/log-to-wandb.js'
import type { Logger } from '../lib/experiment/logger.js'
import { temporaryFolder } from './support/folders.js'

const png = Buffer.from('picture')

/** What a run tells its loggers: two methods, one evaluated. */
async function log(logger: Logger): Promise<void> {
  await logger.begin?.('/runs/demo', [])
  await logger.scalars(5, { 'train/loss': 0.5, task: 1 }, { method: 'joint', seed: 7 })
  await logger.scalars(5, { 'metrics/frechetDistance': 12 }, { method: 'joint', seed: 7 })
  await logger.image?.(5, 'samples', png, { method: 'joint', seed: 7 })
  await logger.scalars(5, { 'train/loss': 0.25 }, { method: 'a "b"', seed: 8 })
}

test('the example for MLflow makes a run for each method and seed, logs and ends them', async () => {
  // What MLflow's REST API says of these paths; see mlflow.org/docs/latest/rest-api.html.
  const calls: [string, Record<string, unknown>][] = []
  const server = createServer(async (request, response) => {
    const body = (await json(request)) as Record<string, unknown>
    calls.push([request.url as string, body])
    // The first is refused, as by a server that isn't up yet.
    if (calls.length === 1) return void response.writeHead(503).end('not yet')
    response.end(JSON.stringify(request.url?.endsWith('create') ? { run: { info: { run_id: body.run_name } } } : {}))
  }).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const logger = mlflow(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, '3')
  await expect(log(logger)).rejects.toThrow('MLflow: runs/create: 503 not yet')
  await log(logger)
  await logger.close?.()
  const made = calls.slice(1).map(([url, body]) => [url.replace('/api/2.0/mlflow/', ''), body.run_id ?? body.run_name])
  expect(made).toEqual([
    ['runs/create', 'joint, seed 7'],
    ['runs/log-batch', 'joint, seed 7'],
    ['runs/log-batch', 'joint, seed 7'],
    ['runs/create', 'a "b", seed 8'],
    ['runs/log-batch', 'a "b", seed 8'],
    ['runs/update', 'joint, seed 7'],
    ['runs/update', 'a "b", seed 8'],
  ])
  expect(calls[1]![1]).toMatchObject({
    experiment_id: '3',
    tags: [
      { key: 'method', value: 'joint' },
      { key: 'seed', value: '7' },
    ],
  })
  expect(calls[2]![1].metrics).toMatchObject([
    { key: 'train/loss', value: 0.5, step: 5 },
    { key: 'task', value: 1, step: 5 },
  ])
  expect(calls.at(-1)![1]).toMatchObject({ status: 'FINISHED' })
})

test('the example for Prometheus shows the newest numbers in its text format', async () => {
  const free = createTcpServer().listen(0, '127.0.0.1')
  await once(free, 'listening')
  const { port } = free.address() as AddressInfo
  free.close()
  await once(free, 'close')
  const logger = prometheus(port)
  await log(logger)
  await logger.scalars(6, { 'train/loss': 0.4 }, { method: 'joint', seed: 7 })
  const response = await fetch(`http://127.0.0.1:${port}/metrics`)
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
  const lines = (await response.text()).trimEnd().split('\n')
  expect(lines).toContain('# TYPE continual_diffusion_train_loss gauge')
  expect(lines).toContain('continual_diffusion_train_loss{method="joint",seed="7"} 0.4')
  expect(lines).toContain('continual_diffusion_train_loss{method="a \\"b\\"",seed="8"} 0.25')
  expect(lines).toContain('continual_diffusion_step{method="joint",seed="7"} 6')
  await logger.close?.()
  await expect(fetch(`http://127.0.0.1:${port}/metrics`)).rejects.toThrow()
})

test('the example for Weights & Biases calls its Python package', async () => {
  const folder = await temporaryFolder()
  const calls = path.join(folder, 'calls.jsonl')
  // Stand-ins for the two packages, with what is called of them.
  await writeFile(
    path.join(folder, 'wandb.py'),
    `import json
def note(*call):
    with open(${JSON.stringify(calls)}, "a") as f: f.write(json.dumps(call) + "\\n")
class Run:
    def __init__(self, **options): self.name = options["name"]; note("init", options)
    def log(self, values, step): note("log", self.name, values, step)
    def finish(self): note("finish", self.name)
def init(**options): return Run(**options)
def Image(image): return f"image of {image}"
`,
  )
  await mkdir(path.join(folder, 'PIL'))
  await writeFile(path.join(folder, 'PIL', '__init__.py'), '')
  await writeFile(path.join(folder, 'PIL', 'Image.py'), 'def open(file): return file.read().decode()\n')
  vi.stubEnv('PYTHONPATH', folder)
  onTestFinished(() => void vi.unstubAllEnvs())
  const logger = wandb('my-project')
  await log(logger)
  await logger.close?.()
  const made = (await readFile(calls, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  const id = expect.stringMatching(/^[0-9a-f]{16}$/)
  const options = { project: 'my-project', group: 'demo', id, resume: 'allow', reinit: 'create_new' }
  expect(made).toEqual([
    ['init', { ...options, name: 'joint, seed 7' }],
    ['log', 'joint, seed 7', { 'train/loss': 0.5, task: 1 }, 5],
    ['log', 'joint, seed 7', { 'metrics/frechetDistance': 12 }, 5],
    ['log', 'joint, seed 7', { samples: 'image of picture' }, 5],
    ['init', { ...options, name: 'a "b", seed 8' }],
    ['log', 'a "b", seed 8', { 'train/loss': 0.25 }, 5],
    ['finish', 'joint, seed 7'],
    ['finish', 'a "b", seed 8'],
  ])
  expect(made[0][1].id).not.toBe(made[4][1].id)

  const broken = wandb('my-project', 'false')
  await broken.scalars(1, { 'train/loss': 1 }, { method: 'joint', seed: 7 })
  await expect(broken.close?.()).rejects.toThrow('ended with status 1')
})
