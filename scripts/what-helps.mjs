/**
 * Variations of the recommended method, one at a time, on the demo's stream: `node scripts/what-helps.mjs [folder] [--only name …] [--seeds n …]
 * [--steps n]`. Each variation and seed writes one JSON file into the folder, and is left out where that file is there. The table at the end has the
 * differences to `recommended`, paired by seed, with intervals by Student's t. Network evaluations are those of `recommended`, but where a name says
 * otherwise. The seeds are none of those that the preset `recommended` judges by.
 */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { needsClassifier } from '../dist/experiment/methods.js'
import { readSafetensors, writeSafetensors } from '../dist/files/safetensors.js'
import {
  Classifier,
  classFrequencies,
  classIncremental,
  compose,
  evaluate,
  fashionMnist,
  frechetDistance,
  generativeDistillation,
  joint,
  Learner,
  presets,
  rankOneEwc,
  recommended,
  Solver,
} from '../dist/index.js'
import { meanInterval } from '../dist/report/student-t.js'
import { formatCell, formatNumber, spread } from '../dist/report/summary.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', multiple: true },
    seeds: { type: 'string', multiple: true, default: ['101', '102', '103'] },
    steps: { type: 'string', default: '400' },
  },
})
const [root = 'runs/what-helps'] = positionals

/**
 * @typedef {import('../dist/index.js').Method} Method
 * @typedef {import('../dist/index.js').Term} Term
 * @typedef {{ method: Method, oracle?: boolean, rawTeacher?: boolean, flow?: boolean, epochs?: number, optimizer?: 'keep' | 'reset', times?: number }} Variation
 */

const distillation = generativeDistillation({ lambda: 0.4, teacher: { steps: 2 } })

/**
 * The recommended method with other terms.
 * @param {(terms: readonly Term[], k: number) => readonly Term[]} change of the terms of task k > 1, the task's and the pool's
 * @returns {Method}
 */
const withTerms = (change) => {
  const method = recommended()
  return {
    ...method,
    objective: (k) => (k === 1 ? method.objective(k) : { terms: change(method.objective(k).terms, k) }),
  }
}
/** @param {Partial<Term>} changed what is other in the pool's term */
const replayed = (changed) =>
  withTerms((terms) => terms.map((term) => (term.target === 'teacher' ? { ...term, ...changed } : term)))

/** @type {Record<string, Variation>} */
const variations = {
  recommended: { method: recommended() },
  'lambda-0.4': { method: recommended({ lambda: 0.4 }) },
  'lambda-1.5': { method: recommended({ lambda: 1.5 }) },
  'steps-10-reuse-5': { method: recommended({ teacher: { steps: 10 }, pool: { reuse: 5 } }) },
  'steps-40-reuse-20': { method: recommended({ teacher: { steps: 40 }, pool: { reuse: 20 } }) },
  // Half the evaluations for the pool.
  'steps-10': { method: recommended({ teacher: { steps: 10 } }) },
  'eta-1': { method: recommended({ teacher: { steps: 20, eta: 1 } }) },
  'dpm-solver++': { method: recommended({ teacher: { kind: 'dpm-solver++', steps: 20 } }) },
  'as-generated': { method: recommended({ pool: { classes: 'as-generated' } }) },
  keep: { method: recommended({ pool: { keep: true } }) },
  'classes-by-an-oracle': { method: recommended(), oracle: true },
  // The solver's passes over a task's images: 5 elsewhere.
  'solver-2-epochs': { method: recommended(), epochs: 2 },
  // The student's weights in place of their moving average.
  'raw-teacher': { method: recommended(), rawTeacher: true },
  'adam-reset': { method: { ...recommended(), optimizer: 'reset' } },
  'min-snr': { method: replayed({ loss: { kind: 'min-snr', gamma: 5 } }) },
  'smooth-l1': { method: replayed({ loss: 'smooth-l1' }) },
  'weights-equal': {
    method: withTerms((terms) =>
      terms.map((term) => ({ ...term, weight: term.target === 'teacher' ? 0.5 * 0.75 : 0.5 })),
    ),
  },
  // A third batch of the student, and a second of the teacher.
  'and-gaussian-at-high-noise': {
    method: withTerms((terms, k) => [
      ...terms,
      { source: { kind: 'gaussian' }, target: 'teacher', weight: (1 - 1 / k) * 0.2, timesteps: [800, 1000] },
    ]),
  },
  'and-rank-1-ewc': { method: compose(recommended(), rankOneEwc({ strength: 100 })) },
  // Flow matching with logit-normal timesteps, everywhere.
  flow: { method: recommended(), flow: true },
  'flow-steps-10': { method: recommended({ teacher: { steps: 10 } }), flow: true },
  'flow-steps-5': { method: recommended({ teacher: { steps: 5 } }), flow: true },
  'generative-distillation-adam-kept-flow': { method: distillation, optimizer: 'keep', flow: true },
  'joint-equal-compute-adam-kept-flow': { method: joint({ compute: 'equal' }), optimizer: 'keep', flow: true },
  ...Object.fromEntries(
    [1, 2, 4].flatMap((times) =>
      Object.entries({
        'generative-distillation-adam-kept': { method: distillation, optimizer: 'keep', times },
        ...(times > 1 && { recommended: { method: recommended(), times } }),
        'joint-equal-compute-adam-kept': { method: joint({ compute: 'equal' }), optimizer: 'keep', times },
      }).map(([name, variation]) => [times > 1 ? `${name}-steps-×-${times}` : name, variation]),
    ),
  ),
}

for (const name of values.only ?? []) {
  if (!Object.hasOwn(variations, name)) {
    throw new Error(`--only is ${name}; expected one of ${Object.keys(variations).join(', ')}`)
  }
}
const names = values.only ?? Object.keys(variations)
await mkdir(root, { recursive: true })
const data = await fashionMnist({ size: 16, subset: true })
const stream = classIncremental(data, { tasks: 5 })
const oracle = await Classifier.cached(data, { epochs: 20 })

for (const seed of values.seeds.map(Number)) {
  for (const name of names) {
    const file = path.join(root, `${name}-${seed}-${values.steps}.json`)
    if (existsSync(file)) continue
    const result = await measure(/** @type {Variation} */ (variations[name]), seed)
    await writeFile(file, JSON.stringify({ name, seed, steps: Number(values.steps), ...result }))
    console.log(`${name}, seed ${seed}: ${JSON.stringify(result)}`)
  }
}
await printTable()

/**
 * Learns the stream and judges the learner after its last task.
 * @param {Variation} variation @param {number} seed
 */
async function measure(
  { method, oracle: byOracle = false, rawTeacher = false, flow = false, epochs = 5, optimizer, times = 1 },
  seed,
) {
  const steps = times * Number(values.steps)
  const network = {
    ...{ unet: presets.demo, sampler: { steps: 10 }, ema: 0.99, precision: /** @type {const} */ ('fp32') },
    ...(flow && { schedule: { kind: /** @type {const} */ ('flow') } }),
  }
  let learner = await Learner.create({ ...network, seed, device: 'cpu' })
  const needsSolver = needsClassifier(method, presets.demo) && !byOracle
  const solver = needsSolver ? await Solver.create(stream, { seed, device: 'cpu' }) : undefined
  try {
    const begin = performance.now()
    for (const task of stream) {
      const classifier = byOracle ? oracle : solver
      const options = {
        ...{ steps, batchSize: 32, lr: 4e-3 },
        ...(classifier && { classifier }),
        ...(optimizer && { optimizer }),
        ...(flow && { timesteps: { kind: /** @type {const} */ ('logit-normal') } }),
      }
      if (solver) {
        const replay = await learner.replayPool(task, method, options)
        await solver.learn(task, learner, { epochs, ...(replay && { replay }) })
      }
      await learner.train(task, method, options)
      if (rawTeacher) learner = await withRawTeacher(learner)
    }
    const seconds = (performance.now() - begin) / 1000
    const metrics = /** @type {const} */ ([frechetDistance(oracle), classFrequencies(oracle)])
    const last = /** @type {import('../dist/index.js').Task} */ (stream.tasks.at(-1))
    const { values: found } = await evaluate(learner, stream.seen(last), metrics, { count: 1000, seed })
    return { frechetDistance: found.frechetDistance.value, divergence: found.classFrequencies.value, seconds }
  } finally {
    await solver?.dispose()
    await learner.dispose()
  }
}

/**
 * The learner with its student's weights as the teacher's.
 * @param {Learner} learner disposed of
 */
async function withRawTeacher(learner) {
  const folder = await mkdtemp(path.join(tmpdir(), 'raw-teacher-'))
  try {
    await learner.save(folder)
    await learner.dispose()
    const file = path.join(folder, 'training.safetensors')
    const tensors = new Map((await readSafetensors(file)).tensors)
    for (const [name, tensor] of tensors) {
      if (name.startsWith('student.')) tensors.set(name.replace('student', 'teacher'), tensor)
    }
    await writeSafetensors(file, tensors)
    return await Learner.load(folder, { device: 'cpu' })
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Prints what is in the folder, for these steps. */
async function printTable() {
  /** @type {Map<string, Map<number, { frechetDistance: number, divergence: number, seconds: number }>>} */
  const found = new Map()
  for (const file of await readdir(root)) {
    if (!file.endsWith(`-${values.steps}.json`)) continue
    const { name, seed, ...result } = JSON.parse(await readFile(path.join(root, file), 'utf8'))
    found.set(name, (found.get(name) ?? new Map()).set(seed, result))
  }
  const base = found.get('recommended') ?? new Map()
  console.log(
    '\n| | Fréchet distance | mean | difference to recommended | KLD | seconds |\n| :--- | ---: | ---: | ---: | ---: | ---: |',
  )
  for (const name of Object.keys(variations)) {
    const results = [...(found.get(name) ?? [])].sort(([a], [b]) => a - b)
    if (results.length === 0) continue
    const distances = results.map(([, { frechetDistance: value }]) => value)
    const paired = results.filter(([seed]) => base.has(seed))
    const differences = paired.map(([seed, result]) => result.frechetDistance - base.get(seed).frechetDistance)
    const cells = [
      distances.map(formatNumber).join(' / '),
      meanOf(distances),
      name === 'recommended' || differences.length < 2 ? '' : interval(differences),
      meanOf(results.map(([, { divergence }]) => divergence)),
      meanOf(results.map(([, { seconds }]) => seconds)),
    ]
    console.log(`| ${name} | ${cells.join(' | ')} |`)
  }
}

/** @param {readonly number[]} values */
function meanOf(values) {
  return formatNumber(spread(values).mean)
}

/** A mean with its 95 % interval. @param {readonly number[]} values two at least */
function interval(values) {
  const { mean, error = Number.NaN } = spread(values)
  return formatCell({ mean, error: undefined, interval: meanInterval(mean, error, values.length) })
}
