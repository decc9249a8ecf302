import { presets as unets } from '../presets.js'

// The numbers of the experiments that have a name. Those of the paper are read off its reference code.

/** Split Fashion-MNIST, small enough for two CPU cores in some minutes. */
const demo = {
  title: 'Split Fashion-MNIST in five tasks, small',
  data: { name: 'fashion-mnist', subset: true },
  stream: { tasks: 5 },
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
  evaluation: { count: 1000 },
  // Of 5,000 images: twenty passes take it to 86 % of the test images.
  classifier: { epochs: 20 },
}

/** The paper's Split Fashion-MNIST: 32 × 32, 42.9 million parameters, 100 epochs a task. For a GPU. */
const fashionMnistPaper = {
  title: 'Split Fashion-MNIST in five tasks',
  data: { name: 'fashion-mnist' },
  stream: { tasks: 5 },
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
  evaluation: { count: 10_000 },
}

/** Experiments that have a name. */
export const presets = { demo, 'fashion-mnist-paper': fashionMnistPaper } as const

export type PresetName = keyof typeof presets
export const presetNames = Object.keys(presets) as [PresetName, ...PresetName[]]
