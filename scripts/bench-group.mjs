/**
 * `npm run bench:group`: a training step by one process with several threads, and by as many processes with one thread each, in turn, and the
 * time of one all-reduce of the gradient. Options: --model paper|demo, --batch, --precision, --processes (default 2), --rounds (default 7),
 * --steps a round, --mpirun (default: the one on PATH). Prints medians as JSON.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { Group } from '../dist/index.js'
import { median, milliseconds } from './bench/timing.mjs'
import { createWorkload, settings, sharedOptions } from './bench/workload.mjs'

const { values } = parseArgs({
  options: {
    ...sharedOptions,
    model: { type: 'string', default: 'demo' },
    processes: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '7' },
    steps: { type: 'string', default: '10' },
    mpirun: { type: 'string', default: 'mpirun' },
    child: { type: 'boolean', default: false },
  },
})

const { child, processes, mpirun, ...options } = values
await (child ? measure() : compare())

async function compare() {
  const self = fileURLToPath(import.meta.url)
  const given = [
    '--child',
    ...['model', 'batch', 'precision', 'steps'].map((name) => `--${name}=${options[/** @type {'model'} */ (name)]}`),
  ]
  const run = async (/** @type {string} */ program, /** @type {string[]} */ args) =>
    JSON.parse((await promisify(execFile)(program, args)).stdout)
  /** @type {Record<'together' | 'apart', { step: number, sum: number, bytes: number }[]>} */
  const found = { together: [], apart: [] }
  for (let round = 0; round < Number(options.rounds); round++) {
    found.together.push(await run(process.execPath, [self, ...given, `--threads=${processes}`]))
    found.apart.push(await run(mpirun, ['-n', processes, process.execPath, self, ...given, '--threads=1']))
  }
  const { together, apart } = found
  const ratios = together.map(({ step }, i) => /** @type {{ step: number }} */ (apart[i]).step / step)
  console.log(
    JSON.stringify({
      ...{ model: options.model, batch: Number(options.batch), processes: Number(processes), rounds: together.length },
      stepOfOneProcess: median(together.map(({ step }) => step)),
      stepOfProcesses: median(apart.map(({ step }) => step)),
      ratio: median(ratios),
      ratios: ratios.toSorted((a, b) => a - b),
      allReduce: { milliseconds: median(apart.map(({ sum }) => sum)), bytes: apart[0]?.bytes },
    }),
  )
}

async function measure() {
  const chosen = await settings(options)
  const group = await Group.fromEnvironment()
  const workload = await createWorkload(chosen, group)
  const steps = Number(options.steps)
  await workload.train(2)
  const step = (await milliseconds(() => workload.train(steps))) / steps
  const parameters = workload.native.parameters.reduce(
    (sum, { shape }) => sum + shape.reduce((n, size) => n * size, 1),
    0,
  )
  const gradient = new Float32Array(parameters)
  const times = []
  for (let i = 0; i < 12; i++) {
    await group.barrier()
    times.push(await milliseconds(() => group.sum(gradient)))
  }
  if (group.rank === 0) console.log(JSON.stringify({ step, sum: median(times.slice(2)), bytes: gradient.byteLength }))
}
