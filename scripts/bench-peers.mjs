/**
 * `npm run bench:peers`: the engine beside Python's PyTorch and diffusers, on the same step and the same sampling, in
 * turn. Options: --model paper|demo|ddpm-cifar10, --batch images of each kind, --device, --precision (the engine's), --threads,
 * --peers eager,best,compile, --seconds for the steps and again for the sampling, --images to sample (64, on CUDA 512), --compile-mode torch.compile's mode
 * (on CUDA max-autotune, which tries kernels for many minutes; reduce-overhead has CUDA graphs too, and doesn't try any).
 *
 * - eager: float32, as the paper's code runs it (Adam's default, noise drawn on the CPU, samples checked for NaN)
 * - best: the best that eager mode has: bf16 autocast, channels-last, fused Adam
 * - compile: torch.compile of that
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { countOf } from './bench/options.mjs'
import { findPython } from './bench/python.mjs'
import { inTurn } from './bench/timing.mjs'
import { settings, sharedOptions } from './bench/workload.mjs'
import { ask, SetupError } from './tools.mjs'

/** @typedef {{ milliseconds: number, mebibytes: number, losses: number[] }} Answer what is in it depends on the question */
/** @typedef {ReturnType<typeof start>} Worker */

const kinds = ['eager', 'best', 'compile']
const samplingSteps = 10
const tolerance = 1e-4

const { values } = parseArgs({
  options: {
    ...sharedOptions,
    model: { type: 'string', default: 'paper' },
    peers: { type: 'string', default: kinds.join() },
    seconds: { type: 'string', default: '120' },
    images: { type: 'string' },
    'compile-mode': { type: 'string' },
  },
})
const { peers, seconds, images: sampled, 'compile-mode': compileMode, ...options } = values
const folder = mkdtempSync(join(tmpdir(), 'bench-peers-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
try {
  await compare(peers.split(','))
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`\n${error.message}\n\n`)
  process.exitCode = 1
}

/** @param {string[]} chosen */
async function compare(chosen) {
  const unknown = chosen.find((kind) => !kinds.includes(kind))
  if (unknown !== undefined) throw new Error(`--peers has ${unknown}; expected some of ${kinds.join()}`)
  const { precision, device } = await settings(options)
  const images = sampled === undefined ? (device === 'cpu' ? 64 : 512) : countOf('--images', sampled)
  const python = await findPython()
  const versions = ask(python, [
    '-c',
    'import torch, diffusers; print(torch.__version__, diffusers.__version__)',
  ]).stdout
  const [torch, diffusers] = versions.split(' ')

  const common = { ...options, device }
  const ours = (/** @type {string} */ precision) => start(process.execPath, 'ours.mjs', { ...common, precision })
  const peer = (/** @type {string} */ kind) => start(python, 'peer.py', { ...common, kind, folder, compileMode })

  // In float32 and eagerly, both must have the same losses from the same weights and draws.
  const losses = []
  for (const begin of [() => ours('fp32'), () => peer('eager')]) {
    const worker = begin() // the second reads at its start what the first has written
    losses.push((await worker.ask({ do: 'losses', folder })).losses)
    await worker.end()
  }
  const [found = [], expected = []] = losses
  const off = Math.max(...found.map((loss, i) => Math.abs(loss / /** @type {number} */ (expected[i]) - 1)))
  const both = `loss and terms: ours ${found.join(', ')}; PyTorch's ${expected.join(', ')}`
  if (!(off <= tolerance)) throw new Error(`the two sides don't compute the same: they are ${off} apart; ${both}`)

  /** @type {Record<string, Worker>} */
  const workers = { ours: ours(precision), ...Object.fromEntries(chosen.map((kind) => [kind, peer(kind)])) }
  // Enough of them in a call that waiting for a GPU at its end doesn't count.
  const steps = device === 'cpu' ? (options.model === 'demo' ? 20 : 2) : 40
  const step = await timed(workers, { do: 'step', count: steps })
  const sampling = await timed(workers, { do: 'sample', count: images, steps: samplingSteps })
  console.log(`${cpus()[0]?.model}, ${device}, ${options.threads} threads; torch ${torch}, diffusers ${diffusers}`)
  if (compileMode !== undefined) console.log(`torch.compile's mode: ${compileMode}`)
  console.log(`${options.model}, ${options.batch} + ${options.batch} images; ours in ${precision}`)
  console.log(
    `same weights and draws, fp32: the losses are ${off.toExponential(1)} of themselves apart, e.g. ${found[0]} and ${expected[0]}`,
  )
  console.log(`medians of ${step.rounds} rounds (sampling: ${sampling.rounds}), each as a multiple of ours\n`)
  console.log('| | step, ms | | sampling, images/s | | peak memory, MiB | |')
  console.log('| :--- | ---: | ---: | ---: | ---: | ---: | ---: |')
  const own = (await /** @type {Worker} */ (workers.ours).ask({ do: 'memory' })).mebibytes
  const times = (/** @type {number} */ value) => `${value.toFixed(2)}×`
  for (const [name, worker] of Object.entries(workers)) {
    const stepMs = step.of(name) / steps
    const perSecond = (images * 1000) / sampling.of(name)
    const { mebibytes } = await worker.ask({ do: 'memory' })
    const cells = [
      name,
      stepMs.toFixed(stepMs < 100 ? 2 : 0),
      times(step.of(name) / step.of('ours')),
      perSecond.toFixed(1),
      times(sampling.of(name) / sampling.of('ours')),
      mebibytes.toFixed(0),
      times(mebibytes / own),
    ]
    console.log(`| ${cells.join(' | ')} |`)
    await worker.end()
  }
}

/**
 * Asks one worker after the other, again and again; each first for one that doesn't count, as it may have given memory
 * back to the system while the others worked.
 * @param {Record<string, Worker>} workers
 * @param {{ do: 'step' | 'sample', count: number, steps?: number }} question
 */
async function timed(workers, question) {
  const asking = Object.entries(workers).map(([name, worker]) => {
    let isFirst = true
    return [
      name,
      async () => {
        const begun = performance.now()
        await worker.ask(question.do === 'step' ? { ...question, count: 1 } : question)
        // Says who is waited for: torch.compile takes minutes for its first.
        if (isFirst)
          console.error(`${name}: first ${question.do} in ${((performance.now() - begun) / 1000).toFixed(1)} s`)
        isFirst = false
        return (await worker.ask(question)).milliseconds
      },
    ]
  })
  const { rounds, medians } = await inTurn(Number(seconds), Object.fromEntries(asking))
  return { rounds, of: (/** @type {string} */ name) => /** @type {number} */ (medians[name]) }
}

/**
 * Starts a process that answers each line of JSON with one. It sleeps while it isn't asked.
 * @param {string} program @param {string} script @param {object} options
 */
function start(program, script, options) {
  const args = [join(import.meta.dirname, 'bench', script), JSON.stringify(options)]
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    /** @param {object} question @returns {Promise<Answer>} */
    ask: async (question) => {
      child.stdin.write(`${JSON.stringify(question)}\n`)
      const { value, done } = await answers.next()
      if (done) throw new Error(`${script} ended before it had answered ${JSON.stringify(question)}; it says why above`)
      return JSON.parse(value)
    },
    end: async () => {
      child.stdin.end()
      if (child.exitCode === null) await once(child, 'exit')
    },
  }
}
