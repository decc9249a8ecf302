import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { samplerKinds } from '../lib/config/sampler.js'

const script = fileURLToPath(new URL('../scripts/bench.mjs', import.meta.url))
const eventLoop = fileURLToPath(new URL('../scripts/bench-event-loop.mjs', import.meta.url))
const run = promisify(execFile)
const bench = (...args: string[]) => run(process.execPath, [script, ...args])

it('measures what it is asked to', async () => {
  const options = ['--model', 'demo', '--batch', '2', '--precision', 'fp32', '--threads', '1', '--seconds', '0']
  const { stdout } = await bench(...options, '--json')
  const found = JSON.parse(stdout)
  expect(found).toMatchObject({ model: 'demo', batch: 2, device: 'cpu', precision: 'fp32', threads: 1, rounds: 3 })
  const number = expect.any(Number) // null where it was no finite one
  const parts = { teacherSampling: number, teacherTarget: number, studentForward: number, backward: number }
  expect(found.step).toEqual({ total: number, ...parts, update: number })
  const evaluation = { kind: expect.any(String), ms: number, percentOverDdim: number }
  const evaluations = samplerKinds.map(() => evaluation)
  expect(found.sampling).toEqual({ images: 64, steps: 10, imagesPerSecond: number, rounds: 3, evaluations })
  expect(found.loop).toEqual({
    steps: number,
    overheadPercent: number,
    typescriptPercent: number,
    eventLoop: { p50: number, p99: number },
  })
  // In MiB: Node alone has tens, the network little more.
  expect(found.memory.host).toBeGreaterThan(50)
  expect(found.memory.host).toBeLessThan(4000)
}, 120_000)

it('refuses what it does not know', async () => {
  await expect(bench('--model', 'huge')).rejects.toThrow('--model is huge; expected paper or demo')
  await expect(bench('--model', 'demo', '--batch', '0')).rejects.toThrow('--batch is 0; expected a whole number from 1')
})

it('measures how long each operation blocks the event loop', async () => {
  const { stdout } = await run(process.execPath, [eventLoop, '--quick', '--rounds', '1', '--json'])
  const found = Object.entries(JSON.parse(stdout))
  expect(found.map(([name]) => name)).toContain('Learner.load')
  for (const [, milliseconds] of found) expect(milliseconds).toBeGreaterThanOrEqual(0)
}, 120_000)
