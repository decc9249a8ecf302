/**
 * What predictions, teacher samplers and learning-rate schedules bring to generative distillation, on the demo's stream with three seeds and equal compute:
 * `node scripts/what-it-brings.mjs [folder] [--only name] [--steps n]` runs each experiment into a folder of its own, and resumes those that were
 * stopped. What they are compared with, ε-prediction, a teacher of two evaluations by DDIM and a constant rate, is the ddim of teacher-2.
 */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { resumeExperiment, runExperiment } from '../dist/experiment/index.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, steps: { type: 'string', default: '400' } },
})
const [root = 'runs/what-it-brings'] = positionals

/** A task's, of the baseline. */
const steps = Number(values.steps)
const train = { steps }
const warmup = Math.round(steps / 10)
const common = /** @type {const} */ ({
  preset: 'demo',
  seeds: [42, 69, 1714],
  evaluation: { after: 'last' },
  keepLearners: 'none',
})
/** @param {import('../dist/index.js').TeacherOptions} teacher @param {string} [label] */
const distillation = (teacher = { steps: 2 }, label = 'generative-distillation') =>
  /** @type {const} */ ({ name: 'generative-distillation', label, lambda: 0.4, teacher })

/**
 * A step takes 6 passes of the student over a batch (a backward pass counts twice, and there are two batches), one prediction of the teacher, and its
 * evaluations: with more of these there are fewer steps.
 * @param {number} evaluations
 */
const teachers = (evaluations) => ({
  ...common,
  title: `Teacher's samplers at ${evaluations} evaluations`,
  train: { steps: Math.round((steps * 9) / (7 + evaluations)) },
  methods: [
    distillation({ steps: evaluations }, 'ddim'),
    ...(evaluations > 1
      ? [
          distillation({ kind: 'dpm-solver++', steps: evaluations }, 'dpm-solver++'),
          distillation({ kind: 'unipc', steps: evaluations }, 'unipc'),
        ]
      : []),
    ...(evaluations === 3 ? [distillation({ kind: 'heun', steps: 2 }, 'heun')] : []),
  ],
})

/** @typedef {Extract<import('../dist/experiment/index.js').ExperimentInput, { preset: string }>} Experiment */
/** @param {string} title @param {Omit<Experiment, 'preset'>} change @returns {Experiment} */
const changed = (title, change) =>
  /** @type {Experiment} */ ({
    ...common,
    title,
    methods: [distillation()],
    ...change,
    train: { ...train, ...change.train },
  })

/** @type {Record<string, Experiment>} */
const experiments = {
  'prediction-v': changed('Prediction: v', { schedule: { prediction: 'v' } }),
  'prediction-flow': changed('Prediction: flow', { schedule: { kind: 'flow' } }),
  'prediction-flow-logit-normal': changed('Prediction: flow, logit-normal timesteps', {
    schedule: { kind: 'flow' },
    train: { timesteps: { kind: 'logit-normal' } },
  }),
  ...Object.fromEntries([1, 2, 3, 4].map((evaluations) => [`teacher-${evaluations}`, teachers(evaluations)])),
  'lr-warmup': changed('Learning rate: constant, with warm-up', { train: { lrSchedule: { warmup } } }),
  'lr-linear': changed('Learning rate: linear', { train: { lrSchedule: 'linear' } }),
  'lr-cosine': changed('Learning rate: cosine', { train: { lrSchedule: 'cosine' } }),
  'lr-cosine-warmup': changed('Learning rate: cosine, with warm-up', {
    train: { lrSchedule: { kind: 'cosine', warmup } },
  }),
}

if (values.only !== undefined && !Object.hasOwn(experiments, values.only)) {
  throw new Error(`--only is ${values.only}; expected one of ${Object.keys(experiments).join(', ')}`)
}
for (const [name, experiment] of Object.entries(experiments)) {
  if (values.only !== undefined && name !== values.only) continue
  const out = path.join(root, name)
  console.log(name)
  if (existsSync(path.join(out, 'config.json'))) await resumeExperiment(out)
  else await runExperiment({ ...experiment, out })
}
console.log(`npx continual-diffusion compare ${path.join(root, '*')}`)
