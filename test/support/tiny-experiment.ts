import type { ExperimentInput } from '../../lib/experiment/config.js'
import { presets } from '../../lib/presets.js'
import type { UNetConfig } from '../../lib/unet.js'

/** A network that trains in no time and learns nothing worth seeing. */
export const tinyUNet = {
  ...presets.demo,
  sample_size: 8,
  block_out_channels: [8, 8],
  down_block_types: ['DownBlock2D', 'AttnDownBlock2D'],
  up_block_types: ['AttnUpBlock2D', 'UpBlock2D'],
  norm_num_groups: 4,
  attention_head_dim: 4,
} as const satisfies UNetConfig

/** The demo with a network, data and budget that run in seconds. */
export const tinyExperiment = {
  preset: 'demo',
  unet: tinyUNet,
  device: 'cpu',
  precision: 'fp32',
  sampler: { steps: 2 },
  train: { steps: 3, batchSize: 4 },
  methods: ['finetune', 'generative-distillation'],
  evaluation: { count: 30 },
  samples: { count: 4, columns: 2 },
  classifier: { epochs: 0.1 },
} satisfies ExperimentInput
