/**
 * `npm run bench:group`: a training step by one process with one thread, by one with several, and by as many processes with one thread each, in
 * turn; the time of an all-reduce of the gradient, and of a small one. The steps of one thread, of several sizes of batch, give what docs/scaling.md's
 * model calls F and C; what it then predicts stands beside what was measured. Options: --model paper|demo, --batch (default 8,16,32), --precision,
 * --processes (default 2), --rounds (default 7), --steps a round, --mpirun (default: the one on PATH). Prints medians as JSON, times in milliseconds.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { Group } from '../dist/index.js'
import { median, milliseconds } from './bench/timing.mjs'
import { createWorkload, settings, sharedOptions } from './bench/workload.mjs'

/** @typedef {{ step: number, sum: number, small: number, bytes: number }} Measured */

const { values } = parseArgs({
  options: {
    ...sharedOptions,
    model: { type: 'string', default: 'demo' },
    batch: { type: 'string', default: '8,16,32' },
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
  const given = ['model', 'precision', 'steps'].map((name) => `--${name}=${options[/** @type {'model'} */ (name)]}`)
  const run = async (/** @type {string} */ program, /** @type {string[]} */ args) =>
    /** @type {Measured} */ (JSON.parse((await promisify(execFile)(program, args)).stdout))
  const rows = options.batch.split(',').map((batch) => ({
    batch: Number(batch),
    args: [self, '--child', ...given, `--batch=${batch}`],
    /** @type {{ alone: Measured[], threads: Measured[], apart: Measured[] }} */
    found: { alone: [], threads: [], apart: [] },
  }))
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const { args, found } of rows) {
      found.alone.push(await run(process.execPath, [...args, '--threads=1']))
      found.threads.push(await run(process.execPath, [...args, `--threads=${processes}`]))
      found.apart.push(await run(mpirun, ['-n', processes, process.execPath, ...args, '--threads=1']))
    }
  }
  const step = (/** @type {Measured[]} */ list) => median(list.map(({ step }) => step))
  const apart = rows.flatMap(({ found }) => found.apart)
  const [sum, small] = [median(apart.map(({ sum }) => sum)), median(apart.map(({ small }) => small))]
  const model = lineOf(rows.map(({ batch, found }) => ({ batch, time: step(found.alone) })))
  console.log(
    JSON.stringify({
      ...{ model: options.model, processes: Number(processes), rounds: Number(options.rounds) },
      ...{ fixed: model?.fixed, perImage: model?.perImage },
      allReduce: { bytes: apart[0]?.bytes, milliseconds: sum, small },
      steps: rows.map(({ batch, found: { alone, threads, apart } }) => {
        const ratios = apart.map(({ step }, i) => step / /** @type {Measured} */ (threads[i]).step)
        return {
          ...{ batch, alone: step(alone), threads: step(threads), processes: step(apart) },
          predicted: model && model.fixed + (model.perImage * batch) / Number(processes) + sum + 2 * small,
          ...{ ratio: median(ratios), ratios: ratios.toSorted((a, b) => a - b) },
        }
      }),
    }),
  )
}

/**
 * The line through times by size of batch whose relative errors have the least squares; undefined of one size.
 * @param {readonly { batch: number, time: number }[]} points
 */
function lineOf(points) {
  const sum = (/** @type {(point: { batch: number, time: number }) => number} */ of) =>
    points.reduce((total, point) => total + of(point), 0)
  const a = sum(({ time }) => time ** -2)
  const b = sum(({ batch, time }) => batch * time ** -2)
  const c = sum(({ batch, time }) => (batch / time) ** 2)
  const [d, e] = [sum(({ time }) => 1 / time), sum(({ batch, time }) => batch / time)]
  const determinant = a * c - b * b
  if (points.length < 2) return undefined
  return { fixed: (c * d - b * e) / determinant, perImage: (a * e - b * d) / determinant }
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
  const timesOf = async (/** @type {Float32Array | Float64Array} */ numbers) => {
    const times = []
    for (let i = 0; i < 12; i++) {
      await group.barrier()
      times.push(await milliseconds(() => group.sum(numbers)))
    }
    return median(times.slice(2))
  }
  const [sum, small] = [await timesOf(gradient), await timesOf(new Float64Array(8))]
  if (group.rank === 0) console.log(JSON.stringify({ step, sum, small, bytes: gradient.byteLength }))
}
