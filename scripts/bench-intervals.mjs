/**
 * `node scripts/bench-intervals.mjs`: what the confidence intervals of an evaluation cost. It evaluates the demo's learner on the part of
 * Fashion-MNIST that is shipped with the package, with and without them. Options: --images (default 1000), --features (default: the 64 of the
 * classifier), --resamples (default 1000).
 *
 * For each metric it prints the milliseconds from the last image to the value, without and with its interval, and the longest time in between for
 * which JavaScript's thread was kept from anything else. The smallest of three rounds.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import {
  averageRatioDeviation,
  Classifier,
  classFrequencies,
  classIncremental,
  evaluate,
  fashionMnist,
  frechetDistance,
  Learner,
  precision,
  presets,
  recall,
} from '../dist/index.js'

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '1000' },
    features: { type: 'string', default: '64' },
    resamples: { type: 'string', default: '1000' },
  },
})
const [count = 0, dimension = 0, resamples = 0] = [values.images, values.features, values.resamples].map(Number)

const unet = presets.demo
const data = await fashionMnist({ size: unet.sample_size, subset: true })
const stream = classIncremental(data, { tasks: 5, seed: 42 })
const last = stream.tasks.at(-1)
if (last === undefined) throw new Error('the stream has no tasks')
const learner = await Learner.create({ unet, seed: 42, sampler: { steps: 10 } })
const folder = await mkdtemp(path.join(tmpdir(), 'continual-diffusion-bench-'))
try {
  const classifier = await Classifier.cached(data, { epochs: 1, folder })
  /** @type {import('../dist/index.js').FeatureExtractor} */
  const wide = {
    name: 'wide',
    dimension,
    async features({ count, data }) {
      const each = data.length / count
      return Float32Array.from({ length: count * dimension }, (_, i) => {
        const image = Math.floor(i / dimension)
        return Math.sin(i % dimension) * (data[image * each + (i % each)] ?? 0)
      })
    },
  }
  const extractor = dimension === classifier.dimension ? classifier : wide
  const metrics = [
    frechetDistance(extractor),
    precision(extractor),
    recall(extractor),
    classFrequencies(classifier),
    averageRatioDeviation(classifier),
  ]
  /** @type {Map<string, number>} */
  const smallest = new Map()
  /** @type {(name: string, value: number) => void} */
  const note = (name, value) => void smallest.set(name, Math.min(value, smallest.get(name) ?? Number.POSITIVE_INFINITY))
  /** @type {(metric: import('../dist/index.js').Metric, what: string) => import('../dist/index.js').Metric} */
  const timed = (metric, what) => ({
    ...metric,
    start(bootstrap) {
      const run = metric.start(bootstrap)
      return {
        ...run,
        async finish(signal) {
          const delay = monitorEventLoopDelay({ resolution: 1 })
          delay.enable()
          await wait(10)
          const begun = performance.now()
          const value = await run.finish(signal)
          note(`${metric.name} ${what}`, performance.now() - begun)
          await wait(10)
          delay.disable()
          note(`${metric.name} ${what} blocks`, Math.max(0, delay.max / 1e6 - 1))
          return value
        },
      }
    },
  })
  for (let round = 0; round < 3; round++) {
    for (const [what, bootstrap] of /** @type {const} */ ([
      ['without', 0],
      ['with', resamples],
    ])) {
      const begun = performance.now()
      const all = metrics.map((metric) => timed(metric, what))
      await evaluate(learner, stream.seen(last), all, { count, bootstrap })
      note(`evaluation ${what}`, performance.now() - begun)
    }
  }
  console.log(`${count} generated images, ${dimension} features, ${resamples} resamples; ms, smallest of three rounds`)
  for (const [name, value] of smallest) console.log(`${name.padEnd(36)}${value.toFixed(1).padStart(10)}`)
  await classifier.dispose()
  await learner.dispose()
} finally {
  await rm(folder, { recursive: true, force: true })
}
