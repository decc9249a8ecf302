import type { ExperimentInput } from '../../lib/experiment/config.js'
import { tinyUNet } from './tiny.js'

/** The demo with a network, data and budget that run in seconds. */
export const tinyExperiment = {
  preset: 'demo',
  unet: tinyUNet,
  device: 'cpu',
  precision: 'fp32',
  sampler: { steps: 2 },
  train: { steps: 3, batchSize: 4 },
  methods: ['finetune', 'generative-distillation'],
  evaluation: { count: 30, bootstrap: 0 },
  samples: { count: 4, columns: 2 },
  classifier: { epochs: 0.1 },
} satisfies ExperimentInput
