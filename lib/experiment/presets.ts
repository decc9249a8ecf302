import { presets as unets } from '../config/presets.js'

// The numbers of the experiments that have a name. Those of the paper are read off its reference code.

/** Split Fashion-MNIST, small enough for two CPU cores in some minutes. */
const demo = {
  title: 'Split Fashion-MNIST in five tasks, small',
  data: { name: 'fashion-mnist', subset: true },
  stream: { kind: 'class-incremental', tasks: 5 },
  unet: unets.demo,
  sampler: { steps: 10 },
  ema: 0.99,
  train: { steps: 400, batchSize: 32, lr: 4e-3 },
  methods: [
    'finetune',
    { name: 'generative-replay', teacher: { steps: 2 } },
    { name: 'generative-distillation', lambda: 0.4, teacher: { steps: 2 } },
    'recommended',
  ],
  seeds: [42],
  evaluation: {
    count: 1000,
    metrics: ['frechetDistance', 'kernelDistance', 'precision', 'recall', 'classFrequencies'],
  },
  // Of 5,000 images: twenty passes take it to 86 % of the test images.
  classifier: { epochs: 20 },
}

/**
 * The demo with a class-conditional network: ten classes and the null label. What the teacher generates is of each class learned as often
 * as of any other.
 */
const demoConditional = {
  ...demo,
  title: 'Split Fashion-MNIST in five tasks, small: a network that takes labels',
  unet: { ...unets.demo, num_class_embeds: 11 },
  train: { ...demo.train, labelDropout: 0.1 },
  methods: [
    'finetune',
    { name: 'generative-replay', teacher: { steps: 2 } },
    { name: 'generative-distillation', lambda: 0.4, teacher: { steps: 2 } },
    'conditional-distillation',
  ],
  seeds: [42, 69, 1714],
  evaluation: {
    count: 1000,
    metrics: ['frechetDistance', 'classFrequencies', 'conditionalAccuracy', 'frechetDistancePerClass'],
  },
}

/**
 * The recommended method on the demo's stream against the paper's, at equal network evaluations, and against joint training.
 */
const recommended = {
  ...demo,
  title: 'Split Fashion-MNIST in five tasks, small: the recommended method and the paper’s',
  methods: [
    { name: 'generative-distillation', lambda: 0.4, teacher: { steps: 2 } },
    {
      name: 'generative-distillation',
      label: 'generative-distillation-adam-kept',
      lambda: 0.4,
      teacher: { steps: 2 },
      optimizer: 'keep',
    },
    'recommended',
    { name: 'joint', label: 'joint-equal-compute-adam-kept', compute: 'equal', optimizer: 'keep' },
  ],
  seeds: [42, 69, 1714, 1, 2, 3, 4, 5],
  evaluation: { ...demo.evaluation, after: 'last', perTask: false },
}

/**
 * Every method on the demo's stream, judged after the last task: the preset behind the table in docs/measurements/every-method.md. λ of the methods that the
 * demo doesn't have, and strengths, were chosen by the Fréchet distance on seed 42, after 250 steps a task, among those named there.
 */
const everyMethod = {
  ...demo,
  title: 'Split Fashion-MNIST in five tasks, small: every method',
  // 400 steps a task; in epochs, so that `joint` is given k times as many at task k, as in the paper.
  train: { epochs: 12.8, batchSize: 32, lr: 4e-3 },
  methods: [
    'finetune',
    'joint',
    { name: 'joint', label: 'joint-equal-compute', compute: 'equal' },
    // A fifth of a task's images, for all earlier tasks together.
    { name: 'experience-replay', size: 200 },
    { name: 'generative-replay', teacher: { steps: 2 } },
    // The coarse layout is replayed, and fine detail left to the new task.
    { name: 'generative-replay', label: 'generative-replay-gated', teacher: { steps: 2 }, timesteps: [200, 1000] },
    { name: 'generative-distillation', lambda: 0.4, teacher: { steps: 2 } },
    {
      name: 'generative-distillation',
      label: 'generative-distillation-averaged-teacher',
      lambda: 0.4,
      teacher: { steps: 2 },
      teacherDecay: 0.5,
    },
    'recommended',
    { name: 'partial-generation-distillation', lambda: 0.4, teacher: { steps: 2 } },
    // Of 0.2 and 1; 4 and 16 were worse on two tasks, for both.
    { name: 'gaussian-distillation', lambda: 0.2 },
    { name: 'symmetric-gaussian-distillation', lambda: 0.2 },
    // Of 0.3 and 1; 1.25 and 4 were worse on two tasks.
    { name: 'lwf-distillation', lambda: 0.3 },
    // Of 1e4 and 1e5; 1e7 was worse on two tasks, and 1e3 forgot more.
    { name: 'ewc', strength: 1e4 },
    { name: 'ewc', label: 'ewc-online', strength: 1e4, mode: 'online' },
    // Of 1e3 and 1e4; 1e6 was worse on two tasks, and 100 did nothing.
    { name: 'rank-1-ewc', strength: 1e3 },
    // Of 0.1 and 1; 10 and 1000 were worse on two tasks.
    { name: 'synaptic-intelligence', strength: 0.1 },
    // A tenth of the strengths above, not tried: here the task's term is weighted by 1/k and the penalty isn't.
    {
      name: 'generative-distillation+ewc',
      'generative-distillation': { lambda: 0.4, teacher: { steps: 2 } },
      ewc: { strength: 1e3 },
    },
    {
      name: 'generative-distillation+rank-1-ewc',
      'generative-distillation': { lambda: 0.4, teacher: { steps: 2 } },
      'rank-1-ewc': { strength: 100 },
    },
  ],
  seeds: [42, 69, 1714],
  evaluation: { ...demo.evaluation, after: 'last', perTask: false },
}

const student = { name: 'teacher-to-student', teacher: { steps: 2 } }

/**
 * A student that sees no data, by the paper's four inputs and without distillation, in the demo's size: task 1 makes the teacher
 * of one half of the images, task 2 a student of the teacher alone, and the other half is not looked at. Its numbers after
 * task 1 are the teacher's.
 */
const teacherToStudent = {
  ...demo,
  title: 'Fashion-MNIST: a student that learns from its teacher alone, small',
  stream: { kind: 'data-incremental', tasks: 2 },
  methods: [
    { ...student, label: 'generation' },
    { ...student, label: 'partial-generation', input: 'partial-generation' },
    { ...student, label: 'gaussian', input: 'gaussian' },
    { ...student, label: 'symmetric-gaussian', input: 'symmetric-gaussian' },
    { ...student, label: 'no-distillation', target: 'data' },
  ],
  seeds: [42, 69, 1714],
  evaluation: {
    count: 1000,
    metrics: ['frechetDistance', 'classFrequencies'],
    areaSteps: [2, 5, 10, 20],
    perTask: false,
  },
}

const everyMetric = ['frechetDistance', 'kernelDistance', 'precision', 'recall', 'classFrequencies', 'ard']

const paperTeacher = { steps: 2, parity: 'paper' }

/** As in the paper's code, whose soft cross-entropy is swapped. */
const paperSolver = { epochs: 20, batchSize: 128, lr: 1e-3, temperature: 2, distillation: 'paper' }

/** The paper's Split Fashion-MNIST: 32 × 32, 42.9 million parameters, 100 epochs a task. For a GPU. */
const fashionMnistPaper = {
  title: 'Split Fashion-MNIST in five tasks',
  data: { name: 'fashion-mnist' },
  stream: { kind: 'class-incremental', tasks: 5 },
  unet: unets.fashionMnist,
  sampler: { steps: 10, parity: 'paper' },
  train: { epochs: 100, batchSize: 128, lr: 2e-4, clipGradNorm: 1 },
  methods: [
    'finetune',
    'joint',
    { name: 'generative-replay', lambda: 1, teacher: paperTeacher },
    { name: 'generative-distillation', lambda: 0.75, teacher: paperTeacher },
  ],
  seeds: [42, 69, 1714],
  evaluation: { count: 10_000, metrics: everyMetric, denoisingBands: 10 },
  solver: paperSolver,
}

/** The paper's Split CIFAR-10: 32 × 32 in colour, 35.7 million parameters, 200 epochs a task. For a GPU. */
const cifar10Paper = {
  title: 'Split CIFAR-10 in five tasks',
  // Give `data.folder`, or an image folder in its place.
  data: { name: 'cifar-10' },
  stream: { kind: 'class-incremental', tasks: 5 },
  unet: unets.cifar10,
  sampler: { steps: 20, parity: 'paper' },
  train: { epochs: 200, batchSize: 64, lr: 2e-4, clipGradNorm: 1, horizontalFlip: true },
  methods: [
    'finetune',
    'joint',
    { name: 'generative-replay', lambda: 1, teacher: paperTeacher },
    { name: 'generative-distillation', lambda: 0.75, teacher: paperTeacher },
    { name: 'gaussian-distillation', lambda: 8 },
    { name: 'lwf-distillation', lambda: 1.25 },
  ],
  seeds: [42, 69, 1714],
  evaluation: { count: 10_000, metrics: everyMetric, denoisingBands: 10 },
  solver: { ...paperSolver, horizontalFlip: true },
}

/**
 * Experiments that have a name.
 *
 * @category Configuration
 */
export const presets = {
  demo,
  'demo-conditional': demoConditional,
  recommended,
  'every-method': everyMethod,
  'teacher-to-student': teacherToStudent,
  'fashion-mnist-paper': fashionMnistPaper,
  'cifar10-paper': cifar10Paper,
} as const

/**
 * The name of a ready-made experiment, as in `experimentPresets` and in `continual-diffusion run <name>`.
 *
 * @category Configuration
 */
export type PresetName = keyof typeof presets
export const presetNames = Object.keys(presets) as [PresetName, ...PresetName[]]
