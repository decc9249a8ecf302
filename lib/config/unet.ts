import { z } from 'zod'
import { type ErrorCode, invalid } from '../errors.js'
import { anyOf } from '../validation/expectation.js'
import { unknownName } from '../validation/names.js'
import { isRecord, parseOptions } from '../validation/options.js'
import { warn } from '../validation/printable.js'
import { sizeSchema } from '../validation/size.js'
import { checkBlocks, hasPlainNorms, hasPlainResnets, type Refuse } from './unet-blocks.js'
import { downBlocks, imageSides, type UNetConfig, upBlocks } from './unet-config.js'

export type { UNetConfig } from './unet-config.js'

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

/** Height and width of the images of a U-Net. `where`: the beginning of the error for one whose `sample_size` is null. */
export function imageSize(unet: Pick<UNetConfig, 'sample_size'>, where: string): { height: number; width: number } {
  const sides = imageSides(unet)
  if (sides) return { height: sides[0], width: sides[1] }
  throw invalid(
    `${where}: the U-Net's sample_size is null; expected a size: load the model with { sampleSize }, on the command line with --sample-size`,
  )
}

/** Width of the embedding of timesteps and labels. */
export function embeddingWidth({ time_embedding_dim: width, block_out_channels: [first = 0] }: UNetConfig): number {
  return width ?? 4 * first
}

/** More residual blocks at one resolution are not looked at, as the check follows each of them. */
const mostLayers = 64
const count = z.int().min(1)
export const sampleSizeSchema = sizeSchema(1, 4096)

const block = <T extends string>(types: readonly [T, ...T[]], refused: Readonly<Record<string, string>>) =>
  z.enum(types, {
    error: ({ input }) => {
      const why = typeof input === 'string' ? refused[input] : undefined
      return `expected ${anyOf(types.map((type) => `'${type}'`))}${why ? `; this one ${why}` : ''}`
    },
  })

const needsText = 'attends to a text, which UNet2DModel does not take'
const notInUNet = "is an autoencoder's, and does not run in UNet2DModel"
const otherDown = {
  CrossAttnDownBlock2D: needsText,
  SimpleCrossAttnDownBlock2D: needsText,
  DownEncoderBlock2D: notInUNet,
  AttnDownEncoderBlock2D: notInUNet,
}
const otherUp = {
  CrossAttnUpBlock2D: needsText,
  SimpleCrossAttnUpBlock2D: needsText,
  UpDecoderBlock2D: notInUNet,
  AttnUpDecoderBlock2D: notInUNet,
}

/** What may be left out of a {@link UNetConfig}, and is where it has diffusers' default. */
const furtherDefaults = {
  center_input_sample: false,
  time_embedding_type: 'positional',
  time_embedding_dim: null,
  num_train_timesteps: null,
  mid_block_type: 'UNetMidBlock2D',
  mid_block_scale_factor: 1,
  attn_norm_num_groups: null,
  downsample_padding: 1,
  downsample_type: 'conv',
  upsample_type: 'conv',
  dropout: 0,
  act_fn: 'silu',
  resnet_time_scale_shift: 'default',
  class_embed_type: null,
  num_class_embeds: null,
} as const

const shape = {
  sample_size: sampleSizeSchema,
  in_channels: count.max(16).default(3),
  out_channels: count.max(32).default(3),
  block_out_channels: z.array(count.max(65536)).min(1).max(12).readonly(),
  down_block_types: z.array(block(downBlocks, otherDown)).readonly(),
  up_block_types: z.array(block(upBlocks, otherUp)).readonly(),
  layers_per_block: z.int().min(0).max(mostLayers).default(2),
  norm_num_groups: count.nullable().default(32),
  norm_eps: z.number().min(0).default(1e-5),
  attention_head_dim: count.nullable().default(8),
  add_attention: z.boolean().default(true),
  flip_sin_to_cos: z.boolean().default(true),
  freq_shift: z.number().default(0),
  class_embed_type: z.enum(['timestep', 'identity']).nullish(),
  num_class_embeds: count.max(2 ** 20).nullish(),
  center_input_sample: z.boolean().optional(),
  time_embedding_type: z.enum(['positional', 'fourier', 'learned']).optional(),
  time_embedding_dim: count.max(2 ** 20).nullish(),
  num_train_timesteps: count.max(2 ** 20).nullish(),
  mid_block_type: z.literal('UNetMidBlock2D').nullish(),
  mid_block_scale_factor: z
    .number()
    .refine((factor) => factor !== 0, 'expected a number other than 0')
    .optional(),
  attn_norm_num_groups: count.nullish(),
  downsample_padding: z.int().min(0).max(4096).optional(),
  downsample_type: z.enum(['conv', 'resnet']).nullish(),
  upsample_type: z.enum(['conv', 'resnet']).nullish(),
  dropout: z.number().min(0).max(1).optional(),
  act_fn: z.enum(['silu', 'swish', 'mish', 'gelu', 'relu']).optional(),
  resnet_time_scale_shift: z.enum(['default', 'scale_shift', 'ada_group', 'spatial']).optional(),
}

type Given = Omit<z.output<z.ZodObject<typeof shape>>, 'sample_size'> & Pick<UNetConfig, 'sample_size'>

function checkWithBlocks(unet: Given, refuse: Refuse): void {
  const { resnet_time_scale_shift: how, block_out_channels: widths, down_block_types: down, up_block_types: up } = unet
  const config = withoutDefaults(unet)
  if ((how === 'ada_group' || how === 'spatial') && hasPlainResnets(config)) {
    refuse(
      ['resnet_time_scale_shift'],
      "expected 'default' or 'scale_shift', which the residual blocks of UNet2DModel have",
    )
  }
  if (unet.norm_num_groups === null && hasPlainNorms(config)) {
    refuse(['norm_num_groups'], 'expected a number, as only skip and K blocks count their groups themselves')
  } else if (down.length === widths.length && up.length === widths.length && unet.layers_per_block <= mostLayers) {
    checkBlocks(config, refuse)
  }
}

/** What stands in for an option that is wrong by itself while the others are checked: nothing is refused because of it. */
const standIns = {
  sample_size: null,
  in_channels: 3,
  out_channels: 3,
  layers_per_block: 1,
  norm_num_groups: 1,
  attention_head_dim: 1,
  attn_norm_num_groups: null,
  downsample_padding: 1,
  freq_shift: 0,
  time_embedding_type: 'fourier',
  num_train_timesteps: 1,
  mid_block_type: null,
  add_attention: false,
  resnet_time_scale_shift: 'default',
} as const

/** @param wrong options that are refused already */
function check(given: Given, wrong: ReadonlySet<unknown>, refuse: Refuse): void {
  const stands = Object.entries(standIns).filter(([key]) => wrong.has(key))
  const unet: Given = { ...given, ...Object.fromEntries(stands) }
  if (wrong.has('block_out_channels')) return
  const blocks = unet.block_out_channels.length
  const lists = (['down_block_types', 'up_block_types'] as const).filter((key) => !wrong.has(key))
  for (const key of lists) {
    if (unet[key].length !== blocks)
      refuse([key], `expected ${blocks} entries, one for each entry of block_out_channels`)
  }
  if (lists.length === 2) checkWithBlocks(unet, refuse)
  const first = unet.block_out_channels[0]!
  const isPositional = (unet.time_embedding_type ?? 'positional') === 'positional'
  if (isPositional && first > 1 && unet.freq_shift === Math.floor(first / 2)) {
    refuse(
      ['freq_shift'],
      `expected another number than half of block_out_channels[0], ${unet.freq_shift}, from which it is subtracted to divide by`,
    )
  }
  if (unet.time_embedding_type === 'learned' && (unet.num_train_timesteps ?? null) === null) {
    refuse(['num_train_timesteps'], "expected a number, the rows of the table that time_embedding_type 'learned' needs")
  }
}

/** Without what says the same as nothing: what is a default, or has no effect. */
function withoutDefaults(unet: Given): UNetConfig {
  const { act_fn: act, sample_size: size, resnet_time_scale_shift: how } = unet
  const plain = {
    ...unet,
    sample_size: Array.isArray(size) && size[0] === size[1] ? size[0] : size,
    ...(act === 'swish' && { act_fn: 'silu' }),
    ...(how !== 'scale_shift' && { resnet_time_scale_shift: 'default' }),
    ...(unet.downsample_type === null && { downsample_type: 'conv' }),
    ...(unet.upsample_type === null && { upsample_type: 'conv' }),
  }
  const isDefault = (key: string, value: unknown) =>
    Object.hasOwn(furtherDefaults, key) && value === furtherDefaults[key as keyof typeof furtherDefaults]
  const own = Object.entries(plain).filter(([key, value]) => value !== undefined && !isDefault(key, value))
  return Object.fromEntries(own) as unknown as UNetConfig
}

const whole = z.strictObject(shape)
const refusals = (unet: Given, context: z.RefinementCtx) => {
  const wrong = new Set(context.issues.map(({ path }) => path?.[0]))
  check(unet, wrong, (path, message) => context.addIssue({ code: 'custom', path, message, input: unet }))
}
/** All that is wrong is told at once: what one option says of another, too, where a third is wrong. */
const always = { when: ({ value }: { value: unknown }) => isRecord(value) }

/**
 * Schema of {@link UNetConfig}. Options that diffusers has defaults for may be left out and get them, but not the ones that
 * make the network what it is: size and blocks.
 */
export const unetSchema = whole.superRefine(refusals, always).transform(withoutDefaults)

/** Of a `config.json`, which may leave the size open. */
const modelSchema = whole
  .extend({ _class_name: z.literal('UNet2DModel').optional(), sample_size: shape.sample_size.nullable().default(null) })
  .superRefine(refusals, always)
  .transform(({ _class_name, ...unet }) => withoutDefaults(unet))

/** Keys of `config.json` that say nothing of the network: those of diffusers' EMAModel, which it saves with it. */
const withoutEffect = [
  'decay',
  'inv_gamma',
  'min_decay',
  'optimization_step',
  'power',
  'update_after_step',
  'use_ema_warmup',
]

/**
 * Checks the contents of a diffusers `config.json`, or the same options as an object, and fills in diffusers' defaults for options that are
 * left out. In an object with `_class_name`, which is a `config.json`, unknown keys are told of by a warning, as by diffusers.
 *
 * @param json the parsed file
 * @param where the beginning of error messages, e.g. the file's path
 * @param code the error's code
 * @throws ContinualDiffusionError with `code`, default `ERR_INVALID_ARGUMENT`; the message names each option that is unknown or wrong, and each
 *   from which diffusers can build no network that computes something
 *
 * @category Networks, schedules and samplers
 */
export function parseUNetConfig(json: unknown, where: string, code: ErrorCode = 'ERR_INVALID_ARGUMENT'): UNetConfig {
  if (!isRecord(json)) return parseOptions(modelSchema, json, where, code)
  return parseModel(json, where, code, '_class_name' in json)
}

/**
 * As {@link parseUNetConfig}, of a file that is a `config.json` whether it says so or not.
 *
 * @param size taken in place of the file's `sample_size`
 */
export function readUNetConfig(json: unknown, file: string, size?: UNetConfig['sample_size']): UNetConfig {
  if (!isRecord(json)) return parseOptions(modelSchema, json, file, 'ERR_BAD_CHECKPOINT')
  if (size === undefined) return parseModel(json, file, 'ERR_BAD_CHECKPOINT', true)
  // What is wrong with the size is the caller's mistake, and not the file's.
  const open = parseModel({ ...json, sample_size: null }, file, 'ERR_BAD_CHECKPOINT', true)
  return parseOptions(modelSchema, { ...open, sample_size: size }, `Learner.load: sampleSize for ${file}`)
}

/** With the words that diffusers takes for the same, too. */
function asToday(given: Record<string, unknown>): Record<string, unknown> {
  const { act_fn: act, down_block_types: down, up_block_types: up, time_embedding_dim: width } = given
  const named = (type: unknown) => (typeof type === 'string' ? type.replace(/^UNetRes/, '') : type)
  return {
    ...given,
    ...(typeof act === 'string' && { act_fn: act.toLowerCase() }),
    ...(Array.isArray(down) && { down_block_types: down.map(named) }),
    ...(Array.isArray(up) && { up_block_types: up.map(named) }),
    ...(width === 0 && { time_embedding_dim: null }),
  }
}

function parseModel(json: Record<string, unknown>, where: string, code: ErrorCode, isFile: boolean): UNetConfig {
  const known = Object.keys(shape)
  const isKnown = (key: string) => key === '_class_name' || known.includes(key)
  const keys = Object.keys(json).filter((key) => isKnown(key) || !key.startsWith('_'))
  const ignored = isFile ? keys.filter((key) => !isKnown(key)) : []
  const taken = keys.filter((key) => !ignored.includes(key)).map((key) => [key, json[key]] as const)
  const given = Object.fromEntries(taken)
  const config = parseOptions(modelSchema, isFile ? asToday(given) : given, where, code)
  const odd = ignored.filter((key) => !withoutEffect.includes(key))
  if (odd.length > 0) {
    const list = odd.map((key, i) => unknownName('option', key, known, i === odd.length - 1)).join('; ')
    warn(`${where}: ${list}. The network is built without, as diffusers does`, 'CONTINUAL_DIFFUSION_UNKNOWN_OPTION')
  }
  return config
}

/**
 * The complete `config.json` of diffusers' `UNet2DModel` for a U-Net, with keys in alphabetical order, as diffusers writes it.
 *
 * @category Networks, schedules and samplers
 */
export function toDiffusersConfig(config: UNetConfig): Record<string, unknown> {
  const all = { _class_name: 'UNet2DModel', _diffusers_version: diffusersVersion, ...furtherDefaults, ...config }
  return Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** The version of diffusers whose file formats this package writes. */
export const diffusersVersion = '0.35.0'
