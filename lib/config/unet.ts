import { z } from 'zod'
import type { ErrorCode } from '../errors.js'
import { parseOptions } from '../validation/options.js'

/**
 * The options of diffusers' `UNet2DModel` that this package supports. They have diffusers' names (the keys of its `config.json`), so each of
 * the two can load a folder that the other saved.
 *
 * @category Networks, schedules and samplers
 */
export interface UNetConfig {
  /** Side of the square images in pixels; a multiple of 2^(number of blocks − 1), as every block but the last halves it. */
  readonly sample_size: number
  /** Channels of the images, 1 to 4. */
  readonly in_channels: number
  /** Equal to `in_channels`: the prediction has the image's shape. */
  readonly out_channels: number
  /** Channels of each resolution, from the highest. Each a multiple of `norm_num_groups`. */
  readonly block_out_channels: readonly number[]
  /** One per resolution, from the highest. */
  readonly down_block_types: readonly ('DownBlock2D' | 'AttnDownBlock2D')[]
  /** One per resolution, from the lowest. */
  readonly up_block_types: readonly ('UpBlock2D' | 'AttnUpBlock2D')[]
  readonly layers_per_block: number
  readonly norm_num_groups: number
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
   * timestep is. `identity`: a label is the embedding itself, a vector of 4 · block_out_channels[0] numbers.
   */
  readonly class_embed_type?: 'timestep' | 'identity' | null
  /**
   * Number of rows of the table. With `labelDropout` the last row is the null label, which stands for no label, so that there is one row more
   * than classes.
   */
  readonly num_class_embeds?: number | null
}

/**
 * A {@link UNetConfig} as it is given: what diffusers has a default for may be left out.
 *
 * @category Networks, schedules and samplers
 */
export type UNetOptions = Partial<UNetConfig> &
  Pick<UNetConfig, 'sample_size' | 'block_out_channels' | 'down_block_types' | 'up_block_types'>

/** Whether a network takes labels. */
export function isConditional({ class_embed_type: kind, num_class_embeds: rows }: UNetConfig): boolean {
  return (kind ?? rows ?? null) !== null
}

/** Whether its labels are rows of a table, the last of which can be the null label. */
export function hasClassTable({ class_embed_type: kind, num_class_embeds: rows }: UNetConfig): boolean {
  return (kind ?? null) === null && (rows ?? null) !== null
}

const count = z.int().min(1)
const channels = z.int().min(1).max(4)

/**
 * Schema of {@link UNetConfig}. Options that diffusers has defaults for may be left out and get them, but not the ones that
 * make the network what it is: size and blocks.
 */
export const unetSchema = z
  .strictObject({
    sample_size: count.max(4096),
    in_channels: channels.default(3),
    out_channels: channels.default(3),
    block_out_channels: z.array(count.max(65536)).min(1).max(12).readonly(),
    down_block_types: z.array(z.enum(['DownBlock2D', 'AttnDownBlock2D'])).readonly(),
    up_block_types: z.array(z.enum(['UpBlock2D', 'AttnUpBlock2D'])).readonly(),
    layers_per_block: count.max(64).default(2),
    norm_num_groups: count.default(32),
    norm_eps: z.number().positive().default(1e-5),
    attention_head_dim: count.nullable().default(8),
    add_attention: z.boolean().default(true),
    flip_sin_to_cos: z.boolean().default(true),
    freq_shift: z.number().min(0).default(0),
    class_embed_type: z.enum(['timestep', 'identity']).nullish(),
    num_class_embeds: count.max(2 ** 20).nullish(),
  })
  .superRefine((unet, context) => {
    const refuse = (path: (string | number)[], message: string) => context.addIssue({ code: 'custom', path, message })
    const blocks = unet.block_out_channels.length
    for (const key of ['down_block_types', 'up_block_types'] as const) {
      if (unet[key].length !== blocks)
        refuse([key], `expected ${blocks} entries, one for each entry of block_out_channels`)
    }
    const factor = 2 ** (blocks - 1)
    if (unet.sample_size % factor !== 0) {
      refuse(['sample_size'], `expected a multiple of ${factor}: ${blocks} blocks halve it ${blocks - 1} times`)
    }
    if (unet.out_channels !== unet.in_channels)
      refuse(['out_channels'], `expected in_channels, which is ${unet.in_channels}`)
    unet.block_out_channels.forEach((width, i) => {
      if (width % unet.norm_num_groups !== 0) {
        refuse(['block_out_channels', i], `expected a multiple of norm_num_groups, which is ${unet.norm_num_groups}`)
      }
      const attends =
        unet.down_block_types[i] === 'AttnDownBlock2D' ||
        unet.up_block_types[blocks - 1 - i] === 'AttnUpBlock2D' ||
        (i === blocks - 1 && unet.add_attention)
      if (attends && width < (unet.attention_head_dim ?? 0)) {
        refuse(
          ['block_out_channels', i],
          `expected at least attention_head_dim, which is ${unet.attention_head_dim}, as this block attends`,
        )
      }
    })
    const first = unet.block_out_channels[0] ?? 0
    if (first % 2 !== 0)
      refuse(['block_out_channels', 0], 'expected an even number: half of it are sines, half cosines')
    if (unet.freq_shift >= first / 2)
      refuse(['freq_shift'], `expected less than half of block_out_channels[0], ${first / 2}`)
  })
  // Null says what a key that isn't there says.
  .transform(({ class_embed_type: kind, num_class_embeds: rows, ...unet }) => ({
    ...unet,
    ...(kind && { class_embed_type: kind }),
    ...(rows && { num_class_embeds: rows }),
  }))

/** What diffusers' other options must be; each is the default of `UNet2DModel`. */
const fixedOptions: Readonly<Record<string, string | number | boolean | null>> = {
  act_fn: 'silu',
  attn_norm_num_groups: null,
  center_input_sample: false,
  downsample_padding: 1,
  downsample_type: 'conv',
  dropout: 0,
  mid_block_scale_factor: 1,
  mid_block_type: 'UNetMidBlock2D',
  num_train_timesteps: null,
  resnet_time_scale_shift: 'default',
  time_embedding_dim: null,
  time_embedding_type: 'positional',
  upsample_type: 'conv',
}

const diffusersSchema = z.looseObject({
  _class_name: z.literal('UNet2DModel').optional(),
  ...Object.fromEntries(
    Object.entries(fixedOptions).map(([key, value]) => [
      key,
      z.literal(value, `expected ${JSON.stringify(value)}, the only value that this package has`).optional(),
    ]),
  ),
})

/**
 * Checks the contents of a diffusers `config.json`, or the same options as an object, and fills in diffusers' defaults for options that are
 * left out.
 *
 * @param json the parsed file
 * @param where the beginning of error messages, e.g. the file's path
 * @param code the error's code
 * @throws ContinualDiffusionError with `code`, default `ERR_INVALID_ARGUMENT`; the message names each option or value that this package
 *   doesn't support, and each from which no network can be built
 *
 * @category Networks, schedules and samplers
 */
export function parseUNetConfig(json: unknown, where: string, code: ErrorCode = 'ERR_INVALID_ARGUMENT'): UNetConfig {
  const checked = parseOptions(diffusersSchema, json, where, code)
  const own = Object.entries(checked).filter(([key]) => !key.startsWith('_') && !Object.hasOwn(fixedOptions, key))
  return parseOptions(unetSchema, Object.fromEntries(own), where, code)
}

/**
 * The complete `config.json` of diffusers' `UNet2DModel` for a U-Net, with keys in alphabetical order, as diffusers writes it.
 *
 * @category Networks, schedules and samplers
 */
export function toDiffusersConfig(config: UNetConfig): Record<string, unknown> {
  const noClasses = { class_embed_type: null, num_class_embeds: null }
  const all = {
    _class_name: 'UNet2DModel',
    _diffusers_version: diffusersVersion,
    ...fixedOptions,
    ...noClasses,
    ...config,
  }
  return Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** The version of diffusers whose file formats this package writes. */
export const diffusersVersion = '0.35.0'
