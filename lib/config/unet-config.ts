import { sidesOf } from '../validation/size.js'

/** The blocks of diffusers' `UNet2DModel`, from high resolutions to low ones. */
export const downBlocks = [
  'DownBlock2D',
  'AttnDownBlock2D',
  'ResnetDownsampleBlock2D',
  'SkipDownBlock2D',
  'AttnSkipDownBlock2D',
  'KDownBlock2D',
  'KCrossAttnDownBlock2D',
] as const
/** And from low resolutions to high ones. */
export const upBlocks = [
  'UpBlock2D',
  'AttnUpBlock2D',
  'ResnetUpsampleBlock2D',
  'SkipUpBlock2D',
  'AttnSkipUpBlock2D',
  'KUpBlock2D',
  'KCrossAttnUpBlock2D',
] as const

/**
 * A block of {@link UNetConfig} that halves images, but at the lowest resolution.
 *
 * @useDeclaredType
 * @category Networks, schedules and samplers
 */
export type DownBlockType = (typeof downBlocks)[number]
/**
 * A block of {@link UNetConfig} that doubles images, but at the highest resolution.
 *
 * @useDeclaredType
 * @category Networks, schedules and samplers
 */
export type UpBlockType = (typeof upBlocks)[number]

/**
 * The options of diffusers' `UNet2DModel`. They have diffusers' names (the keys of its `config.json`), so each of the two can load a folder that
 * the other saved. Those that may be left out then have diffusers' default.
 *
 * @category Networks, schedules and samplers
 */
export interface UNetConfig {
  /**
   * Side of square images in pixels, or height and width; multiples of 2^(number of blocks − 1), as every block but the last halves them. Null in a
   * model that was saved without: it predicts, and `Learner.load` takes the size that it learns and draws.
   */
  readonly sample_size: number | readonly [height: number, width: number] | null
  /** Channels of the images, 1 to 16. */
  readonly in_channels: number
  /**
   * Channels of the prediction. A learner learns and draws images where they are as many as `in_channels`. It draws images where there are twice as
   * many, too: of those the first half is the prediction, and the rest a learned variance, which a sampler's `variance` may take.
   */
  readonly out_channels: number
  /** Channels of each resolution, from the highest. Each a multiple of `norm_num_groups`. */
  readonly block_out_channels: readonly number[]
  /** One per resolution, from the highest. */
  readonly down_block_types: readonly DownBlockType[]
  /** One per resolution, from the lowest. */
  readonly up_block_types: readonly UpBlockType[]
  /** Residual blocks of each resolution on the way down; on the way up there is one more, but for K blocks. */
  readonly layers_per_block: number
  /** Groups of the norms; null where all blocks are skip or K blocks, which count theirs from their channels. */
  readonly norm_num_groups: number | null
  readonly norm_eps: number
  /**
   * Channels of one attention head. A block has as many heads as fit into its channels, at least one; null: one head of all channels.
   */
  readonly attention_head_dim: number | null
  /** Whether the middle block has attention. */
  readonly add_attention: boolean
  readonly flip_sin_to_cos: boolean
  readonly freq_shift: number
  /**
   * How the labels of a class-conditional network are embedded; the embedding is added to that of the timestep. `null` (default): by a table
   * with a row for each label, where `num_class_embeds` is given; otherwise the network takes no labels. `timestep`: a label is embedded as a
   * timestep is. `identity`: a label is the embedding itself, a vector of `time_embedding_dim` numbers.
   */
  readonly class_embed_type?: 'timestep' | 'identity' | null
  /**
   * Number of rows of the table. With `labelDropout` the last row is the null label, which stands for no label, so that there is one row more
   * than classes.
   */
  readonly num_class_embeds?: number | null
  /** Whether the network sees 2x − 1 in place of x. Default false. */
  readonly center_input_sample?: boolean
  /**
   * What a timestep becomes: sines and cosines of it (`positional`, default); of the logarithm of a noise level, at random frequencies that are not
   * trained, and the prediction is divided by that level (`fourier`); a row of a table (`learned`).
   */
  readonly time_embedding_type?: 'positional' | 'fourier' | 'learned'
  /** Width of the embedding that the blocks are told. Default 4 · block_out_channels[0]. */
  readonly time_embedding_dim?: number
  /** Rows of the table of the `learned` embedding; without an effect on the others. */
  readonly num_train_timesteps?: number
  /** Null: there is no middle block. */
  readonly mid_block_type?: 'UNetMidBlock2D' | null
  /** What the sums of the middle block are divided by. Default 1. */
  readonly mid_block_scale_factor?: number
  /** Groups of the norm of the middle block's attention. Default: `norm_num_groups`, or no norm with `scale_shift`. */
  readonly attn_norm_num_groups?: number
  /** Pixels around images before a convolution halves them: 1 on each side (default); 0: one right and below. */
  readonly downsample_padding?: number
  /** How `AttnDownBlock2D` halves images: by a convolution (default) or a residual block. */
  readonly downsample_type?: 'conv' | 'resnet'
  /** How `AttnUpBlock2D` doubles them. */
  readonly upsample_type?: 'conv' | 'resnet'
  /** Probability that a number within a residual block is dropped while the network learns. Default 0. */
  readonly dropout?: number
  /** Activation of the residual blocks; `swish` is another name of `silu`, the default. */
  readonly act_fn?: 'silu' | 'swish' | 'mish' | 'gelu' | 'relu'
  /** Whether residual blocks add a projection of the embedding (`default`), or scale and shift by it. */
  readonly resnet_time_scale_shift?: 'default' | 'scale_shift'
}

/** Height and width, where they are known. */
export function imageSides({
  sample_size: size,
}: Pick<UNetConfig, 'sample_size'>): readonly [number, number] | undefined {
  return size === null ? undefined : sidesOf(size)
}
