import { presets as unets } from '../presets.js'

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
  ],
  seeds: [42],
  evaluation: {
    count: 1000,
    metrics: ['frechetDistance', 'kernelDistance', 'precision', 'recall', 'classFrequencies'],
  },
  // Of 5,000 images: twenty passes take it to 86 % of the test images.
  classifier: { epochs: 20 },
}

const everyMetric = ['frechetDistance', 'kernelDistance', 'precision', 'recall', 'classFrequencies', 'ard']

/** As in the paper's code, whose soft cross-entropy is swapped. */
const paperSolver = { epochs: 20, batchSize: 128, lr: 1e-3, temperature: 2, distillation: 'paper' }

/** The paper's Split Fashion-MNIST: 32 × 32, 42.9 million parameters, 100 epochs a task. For a GPU. */
const fashionMnistPaper = {
  title: 'Split Fashion-MNIST in five tasks',
  data: { name: 'fashion-mnist' },
  stream: { kind: 'class-incremental', tasks: 5 },
  unet: unets.fashionMnist,
  sampler: { steps: 10 },
  train: { epochs: 100, batchSize: 128, lr: 2e-4, clipGradNorm: 1 },
  methods: [
    'finetune',
    'joint',
    { name: 'generative-replay', lambda: 1, teacher: { steps: 2 } },
    { name: 'generative-distillation', lambda: 0.75, teacher: { steps: 2 } },
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
  sampler: { steps: 20 },
  train: { epochs: 200, batchSize: 64, lr: 2e-4, clipGradNorm: 1, horizontalFlip: true },
  methods: [
    'finetune',
    'joint',
    { name: 'generative-replay', lambda: 1, teacher: { steps: 2 } },
    { name: 'generative-distillation', lambda: 0.75, teacher: { steps: 2 } },
    { name: 'gaussian-distillation', lambda: 8 },
    { name: 'lwf-distillation', lambda: 1.25 },
  ],
  seeds: [42, 69, 1714],
  evaluation: { count: 10_000, metrics: everyMetric, denoisingBands: 10 },
  solver: { ...paperSolver, horizontalFlip: true },
}

/** Experiments that have a name. */
export const presets = { demo, 'fashion-mnist-paper': fashionMnistPaper, 'cifar10-paper': cifar10Paper } as const

export type PresetName = keyof typeof presets
export const presetNames = Object.keys(presets) as [PresetName, ...PresetName[]]
