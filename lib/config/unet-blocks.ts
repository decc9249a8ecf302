import { counted } from '../validation/names.js'
import { type DownBlockType, imageSides, type UNetConfig, type UpBlockType } from './unet-config.js'

type Path = (string | number)[]
/** What is wrong with an option: the way to it, and what was expected. */
export type Refuse = (path: Path, message: string) => void

/** The feature maps at one place of the network. */
interface Maps {
  readonly channels: number
  readonly height: number
  readonly width: number
}

const kind = (type: DownBlockType | UpBlockType) => ({
  isK: type.startsWith('K'),
  isSkip: type.includes('Skip'),
  attends: type.includes('Attn'),
})

/** Whether some block's width is divided into `norm_num_groups`: skip and K blocks count their groups themselves. */
export function hasPlainNorms({ down_block_types: down, up_block_types: up }: UNetConfig): boolean {
  return [...down, ...up].some((type) => !kind(type).isK && !kind(type).isSkip)
}

/** Whether a residual block's norm takes the embedding in one of the ways of `resnet_time_scale_shift`; K blocks have their own. */
export function hasPlainResnets({
  down_block_types: down,
  up_block_types: up,
  mid_block_type: mid,
}: UNetConfig): boolean {
  return mid !== null || [...down, ...up].some((type) => !kind(type).isK)
}

const quarter = (channels: number) => Math.min(Math.floor(channels / 4), 32)

/** Follows the feature maps through the blocks, and refuses what diffusers can't build or compute. The lists have one length. */
export function checkBlocks(unet: UNetConfig, refuse: Refuse): void {
  const { block_out_channels: widths, layers_per_block: layers, norm_num_groups: groups } = unet
  const last = widths.length - 1
  const refused = new Set<string>()
  const once: Refuse = (path, message) => {
    const key = path.join('.')
    if (!refused.has(key)) refuse(path, message)
    refused.add(key)
  }
  const divides = (level: number, channels: number, by: number, what: string) => {
    if (by >= 1 && channels % by === 0) return
    const sum = channels === widths[level] ? '' : `, as ${channels} channels come together here`
    once(['block_out_channels', level], `expected a multiple of ${what}, which is ${by}${sum}`)
  }
  const normed = (level: number, channels: number, type: DownBlockType | UpBlockType) => {
    if (kind(type).isSkip) divides(level, channels, quarter(channels), `the groups of ${type}`)
    else if (kind(type).isK) divides(level, channels, Math.floor(channels / 32), `the groups of ${type}`)
    else if (groups !== null) divides(level, channels, groups, 'norm_num_groups')
  }
  const attended = (level: number, channels: number) => {
    const head = unet.attention_head_dim ?? widths[level]!
    if (head <= channels) return
    once(['block_out_channels', level], `expected at least attention_head_dim, which is ${head}, as this block attends`)
  }
  const mismatch = (path: Path, type: string, found: number, expected: number) =>
    once(path, `expected a block for what comes here: ${type} takes ${expected} channels, and ${found} come`)

  // Where the size is open, one that every block halves.
  const [height, width] = imageSides(unet) ?? [2 ** 12, 2 ** 12]
  let at: Maps = { channels: widths[0]!, height, width }
  const kept: (Maps | null)[] = [at]
  let skip: Maps = { ...at, channels: 3 }
  let fits = true
  let misfit: Path | undefined
  const halved = (length: number, convolves: boolean) => {
    const padding = unet.downsample_padding ?? 1
    return convolves && padding > 0 ? Math.floor((length + 2 * padding - 3) / 2) + 1 : Math.floor(length / 2)
  }
  const half = (maps: Maps, convolves = false): Maps => ({
    ...maps,
    height: halved(maps.height, convolves),
    width: halved(maps.width, convolves),
  })
  const double = (maps: Maps): Maps => ({ ...maps, height: 2 * maps.height, width: 2 * maps.width })
  const same = (a: Maps, b: Maps) => a.height === b.height && a.width === b.width
  const reflectable = (maps: Maps) => Math.min(maps.height, maps.width) >= 2

  unet.down_block_types.forEach((type, level) => {
    const out = widths[level]!
    const { isK, isSkip, attends } = kind(type)
    if (layers > 0) {
      normed(level, at.channels, type)
      normed(level, out, type)
    } else if (at.channels !== out) {
      once(
        ['layers_per_block'],
        `expected at least 1, as down_block_types[${level}] goes from ${at.channels} to ${out} channels`,
      )
    }
    if (attends && layers > 0) {
      attended(level, out)
      if (isSkip) divides(level, out, 32, `the groups of the attention of ${type}`)
      if (isK) divides(level, out, Math.max(Math.floor(out / 32), 1), `the groups of ${type}`)
    }
    at = { ...at, channels: out }
    const keeps = !(isK && attends && level === last)
    for (let i = 0; i < layers; i++) kept.push(keeps ? at : null)
    if (level === last) return
    const path = ['down_block_types', level]
    const byConvolution = type === 'DownBlock2D' || (type === 'AttnDownBlock2D' && unet.downsample_type !== 'resnet')
    if (isK && !reflectable(at)) fits = false
    if (isSkip) {
      if (unet.in_channels !== 3)
        once(path, `expected another block: ${type} takes images of 3 channels, and in_channels is ${unet.in_channels}`)
      if (!same(skip, at)) {
        const first = unet.down_block_types.findIndex((one) => !kind(one).isSkip)
        once(path, `expected no skip block below down_block_types[${first}], which carries no image along`)
      }
      skip = half(skip)
    }
    at = half(at, byConvolution)
    if (at.height < 1 || at.width < 1) fits = false
    if (!isK) kept.push(at)
  })

  if (unet.mid_block_type !== null) {
    divides(last, at.channels, groups ?? quarter(at.channels), groups === null ? 'its groups' : 'norm_num_groups')
    if (unet.add_attention) {
      attended(last, at.channels)
      const own = unet.attn_norm_num_groups ?? null
      if (own !== null && at.channels % own !== 0) {
        once(['attn_norm_num_groups'], `expected a divisor of ${at.channels}, the channels of the middle block`)
      }
    }
  }

  const time = unet.time_embedding_dim ?? 4 * widths[0]!
  const inTurn = widths.toReversed()
  let carried: Maps | undefined
  unet.up_block_types.forEach((type, i) => {
    const level = last - i
    const out = inTurn[i]!
    const above = inTurn[Math.min(i + 1, last)]!
    const { isK, isSkip, attends } = kind(type)
    const path = ['up_block_types', i]
    if (isK) {
      if (layers === 0) once(['layers_per_block'], `expected at least 1, as ${type} has none besides`)
      const isFirst = attends && above === out && out === time
      const taken = kept.splice(Math.max(kept.length - layers, 0), layers)
      const used = taken.at(-1)
      if (taken.length < layers) once(path, `expected another block: no feature maps are left for ${type}`)
      if (used && !same(used, at)) misfit ??= path
      const coming = at.channels + (used?.channels ?? 0)
      const expected = isFirst ? out : 2 * out
      if (coming !== expected) mismatch(path, type, coming, expected)
      normed(level, expected, type)
      if (layers > 1) normed(level, out, type)
      // Of the last residual block, whose width is that of the level above.
      const ending = attends ? out : above
      divides(level, layers > 1 ? out : ending, Math.floor(out / 32), `the groups of ${type}`)
      divides(Math.max(level - 1, 0), ending, Math.floor(out / 32), `the groups of ${type} below`)
      if (attends) {
        const head = unet.attention_head_dim ?? out
        for (const channels of layers > 1 ? [out, above] : [above]) {
          divides(level, channels, Math.max(Math.floor(channels / 32), 1), `the groups of ${type}`)
          if (head <= channels) continue
          once(
            path,
            `expected another block: the heads of ${type} have ${counted(head, 'channel')}, and ${channels} attend`,
          )
        }
      }
      at = { ...at, channels: above }
    } else {
      for (let j = 0; j <= layers; j++) {
        const used = kept.pop()
        const wanted = j === layers ? above : out
        if (!used) once(path, `expected another block: no feature maps are left for ${type}`)
        else if (used.channels !== wanted) mismatch(path, type, used.channels, wanted)
        else if (!same(used, at)) misfit ??= path
        // As diffusers has it: its skip blocks with attention take a quarter of the kept channels alone.
        if (isSkip && attends) {
          divides(
            level,
            at.channels + wanted,
            Math.min(at.channels + Math.floor(wanted / 4), 32),
            `the groups of ${type}`,
          )
        } else {
          normed(level, at.channels + wanted, type)
        }
        at = { ...at, channels: out }
      }
      normed(level, out, type)
      if (attends) attended(level, out)
    }
    if (isSkip) {
      if (attends) divides(level, out, 32, `the groups of the attention of ${type}`)
      carried &&= double(carried)
      if (carried && !same(carried, at)) once(path, `expected a skip block right after another`)
      if (i < last) carried = { ...at, channels: 3 }
    }
    if (i < last && isK && !reflectable(at)) fits = false
    if (i < last) at = double(at)
  })
  if (carried && !same(carried, at)) {
    once(['up_block_types', last], 'expected a skip block, as the blocks before it are')
  }
  if (carried && unet.out_channels !== 3) {
    once(['out_channels'], 'expected 3, the channels of the images that skip blocks add to')
  }
  divides(0, at.channels, groups ?? quarter(at.channels), groups === null ? 'its groups' : 'norm_num_groups')
  if (at.height !== height || at.width !== width) fits = false
  const factor = 2 ** last
  const halves = height % factor === 0 && width % factor === 0
  if (misfit && halves && (unet.downsample_padding ?? 1) <= 1) {
    once(misfit, 'expected another block: the feature maps that come together here are of other sizes')
    return
  }
  if ((fits && !misfit) || unet.sample_size === null) return
  once(
    ['sample_size'],
    (unet.downsample_padding ?? 1) > 1
      ? 'expected downsample_padding 0 or 1, so that the blocks that double it come to the same size'
      : `expected a multiple of ${factor}: ${last + 1} blocks halve it ${counted(last, 'time')}`,
  )
}
