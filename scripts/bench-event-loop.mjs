/**
 * `npm run bench:event-loop`: for how long each operation on Fashion-MNIST, all 70,000 images of it, with the paper's U-Net keeps
 * JavaScript's thread from anything else. Options: --device, --rounds (default 3), --json; --quick shows only that it runs, on the part
 * of the data that is shipped with the package and with the demo's U-Net.
 *
 * An operation's number is the longest time between two turns of a timer of 1 ms, and of several rounds the smallest: what the
 * package does is in every round, and what else the machine does is not.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import {
  Classifier,
  classFrequencies,
  classIncremental,
  evaluate,
  experienceReplay,
  fashionMnist,
  frechetDistance,
  generativeDistillation,
  ImageStore,
  kernelDistance,
  Learner,
  presets,
  single,
} from '../dist/index.js'
import { countOf } from './bench/options.mjs'

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cpu' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
  },
})
const device = /** @type {import('../dist/index.js').Device} */ (values.device)
const rounds = countOf('--rounds', values.rounds)

const unet = values.quick ? presets.demo : presets.fashionMnist
/** As wide as Inception-v3. */
const dimension = values.quick ? 16 : 2048

/** @type {Map<string, number>} */
const longest = new Map()
const scratch = await mkdtemp(path.join(tmpdir(), 'continual-diffusion-bench-'))
try {
  for (let round = 0; round < rounds; round++) await all(path.join(scratch, String(round)))
} finally {
  await rm(scratch, { recursive: true, force: true })
}
const found = Object.fromEntries(longest)
if (values.json) console.log(JSON.stringify(found))
else {
  console.log(`${device}, ${cpus().length} cores of ${cpus()[0]?.model ?? ''}, smallest of ${rounds} rounds`)
  for (const [name, block] of longest) console.log(`${name.padEnd(36)}${block.toFixed(1).padStart(7)} ms`)
}

/** @param {string} folder */
async function all(folder) {
  const data = await measured('fashionMnist', () => fashionMnist({ size: unet.sample_size, subset: values.quick }))
  const stream = classIncremental(data, { tasks: 5, seed: 42 })
  const [whole] = single(data).tasks
  const last = stream.tasks.at(-1)
  if (whole === undefined || last === undefined) throw new Error('the streams have no tasks')
  const learner = await measured('Learner.create', () => Learner.create({ unet, device, precision: 'fp32', seed: 42 }))
  const images = new ImageStore()
  await measured('ImageStore: bringing the train set', () =>
    images.images(data.train, learner.device, unet.sample_size),
  )
  await images.dispose()
  await measured('learn: one step, memory of 1000', async () => {
    const method = experienceReplay({ size: 1000, policy: 'class-balanced' })
    for await (const _ of learner.learn(whole, method, { steps: 1, batchSize: 8 })) {
      // Its progress is not wanted.
    }
  })
  await measured('save', () => learner.save(path.join(folder, 'learner')))
  const loaded = await measured('Learner.load', () => Learner.load(path.join(folder, 'learner'), { device }))
  await loaded.dispose()
  const options = { folder: path.join(folder, 'classifiers'), epochs: 0.02, device }
  const trained = await measured('Classifier.cached, a miss', () => Classifier.cached(data, options))
  await trained.dispose()
  const classifier = await measured('Classifier.cached, a hit', () => Classifier.cached(data, options))
  const metrics = [frechetDistance(classifier), kernelDistance(classifier), classFrequencies(classifier)]
  const seen = stream.seen(last)
  const quick = { count: 64, batchSize: 32, sampler: { steps: 1 } }
  await measured('evaluate', () => evaluate(learner, seen, metrics, { ...quick, perTask: { classifier } }))
  await measured('evaluate again', () => evaluate(learner, seen, metrics, { ...quick, perTask: { classifier } }))
  const rows = Float32Array.from({ length: quick.batchSize * dimension }, () => Math.random())
  const wide = {
    name: 'wide',
    dimension,
    /** @param {import('../dist/index.js').ImageBatch} images */
    features: async ({ count }) => rows.subarray(0, count * dimension),
  }
  const both = [frechetDistance(wide), kernelDistance(wide)]
  await measured(`evaluate, ${dimension} features`, () => evaluate(learner, seen, both, quick))
  await classifier.dispose()
  await learner.dispose()
  const pool = values.quick ? 1000 : 100_000
  await measuredPool(`learn: a replay pool of ${pool} images`, stream.tasks, pool)
}

/**
 * Of a network that is as small as can be: what counts is what is done for each image.
 *
 * @param {string} name
 * @param {readonly import('../dist/index.js').Task[]} tasks
 * @param {number} images
 */
async function measuredPool(name, [first, second], images) {
  const blocks = /** @type {const} */ ({
    block_out_channels: [8],
    down_block_types: ['DownBlock2D'],
    up_block_types: ['UpBlock2D'],
  })
  const tiny = { ...unet, ...blocks, layers_per_block: 1, norm_num_groups: 4, num_class_embeds: 11 }
  const learner = await Learner.create({ unet: tiny, device, precision: 'fp32', seed: 42 })
  const method = generativeDistillation({ teacher: { steps: 1 }, pool: { images } })
  const options = { steps: 1, batchSize: 8, labelDropout: 0.1 }
  if (first === undefined || second === undefined) throw new Error('the stream has one task')
  await learner.train(first, method, options)
  await measured(name, () => learner.train(second, method, options))
  await learner.dispose()
}

/**
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work
 */
async function measured(name, work) {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  // Until the timer has had its first turns, between which nothing is counted.
  await wait(10)
  const result = await work()
  // So that the timer gets its turn after the last of it.
  await wait(10)
  delay.disable()
  const block = Math.max(0, delay.max / 1e6 - 1)
  longest.set(name, Math.min(block, longest.get(name) ?? Number.POSITIVE_INFINITY))
  return result
}
