import type { UNetConfig } from './unet.js'

/** What the U-Nets below have in common: diffusers' defaults. */
const common = {
  norm_num_groups: 32,
  norm_eps: 1e-5,
  attention_head_dim: 8,
  add_attention: true,
  flip_sin_to_cos: true,
  freq_shift: 0,
} as const

/**
 * Configurations of U-Nets, by the data that they are made for.
 *
 * @category Networks, schedules and samplers
 */
export const presets = {
  /** The paper's U-Net for Fashion-MNIST, grey images of 32 × 32: 42,855,873 parameters. */
  fashionMnist: {
    ...common,
    sample_size: 32,
    in_channels: 1,
    out_channels: 1,
    block_out_channels: [64, 128, 256, 512],
    down_block_types: ['DownBlock2D', 'DownBlock2D', 'DownBlock2D', 'AttnDownBlock2D'],
    up_block_types: ['AttnUpBlock2D', 'UpBlock2D', 'UpBlock2D', 'UpBlock2D'],
    layers_per_block: 1,
  },
  /** The paper's U-Net for CIFAR-10, colour images of 32 × 32: 35,746,307 parameters. */
  cifar10: {
    ...common,
    sample_size: 32,
    in_channels: 3,
    out_channels: 3,
    block_out_channels: [128, 256, 256, 256],
    down_block_types: ['DownBlock2D', 'AttnDownBlock2D', 'DownBlock2D', 'DownBlock2D'],
    up_block_types: ['UpBlock2D', 'UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'],
    layers_per_block: 2,
  },
  /** A small U-Net for grey images of 16 × 16, which two CPU cores train in minutes. */
  demo: {
    ...common,
    norm_num_groups: 8,
    sample_size: 16,
    in_channels: 1,
    out_channels: 1,
    block_out_channels: [16, 32, 64],
    down_block_types: ['DownBlock2D', 'DownBlock2D', 'AttnDownBlock2D'],
    up_block_types: ['AttnUpBlock2D', 'UpBlock2D', 'UpBlock2D'],
    layers_per_block: 1,
  },
} as const satisfies Record<string, UNetConfig>
