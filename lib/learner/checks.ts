import { types } from 'node:util'
import { type SamplerConfig, takesLearnedVariance } from '../config/sampler.js'
import type { ScheduleConfig } from '../config/schedule.js'
import { imageSize, type UNetConfig } from '../config/unet.js'
import { imageSides } from '../config/unet-config.js'
import { countImages, type Subset, sizeOf } from '../data/dataset.js'
import { call } from '../engine/call.js'
import { checkFits } from '../engine/memory.js'
import { invalid } from '../errors.js'
import type { Keeps, Penalty, ResolvedObjective } from '../methods/objective.js'
import { held } from '../validation/fields.js'
import { counted } from '../validation/names.js'
import { shown } from '../validation/options.js'
import { isSameSize, shownSize, sizeOfSides, writtenSize } from '../validation/size.js'
import type { Core } from './core.js'
import type { LearnedTask } from './schemas.js'

/** Checks that images are of the size and channels that the U-Net takes. */
export function checkImages(unet: UNetConfig, subsets: readonly Subset[], where: string): void {
  const { in_channels: channels } = unet
  const { height, width } = imageSize(unet, where)
  const expected = sizeOfSides(height, width)
  for (const { dataset } of subsets) {
    const { name } = dataset
    if (dataset.channels !== channels) {
      throw invalid(
        `${where}: the images of ${name} have ${counted(dataset.channels, 'channel')}; expected the U-Net's ${channels}`,
      )
    }
    if (isSameSize(sizeOf(dataset), expected)) continue
    throw invalid(
      `${where}: the images of ${name} are ${shownSize(sizeOf(dataset))}; expected ${shownSize(expected)}, the U-Net's sample_size; ` +
        `load them with { size: ${writtenSize(expected)} }, or change the U-Net`,
    )
  }
}

/**
 * Checks that a network has learned the variance that the sampler takes.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function checkVariance(unet: UNetConfig, sampler: SamplerConfig, where: string): void {
  const { in_channels: channels, out_channels: out } = unet
  if (!takesLearnedVariance(sampler) || out === 2 * channels) return
  throw invalid(
    `${where}.variance is '${sampler.variance}'; expected 'small' or 'large': the U-Net's out_channels is ${out}, and only a network whose ` +
      `out_channels is twice its in_channels, ${2 * channels} here, says a variance`,
  )
}

/**
 * Checks that the network can learn, or draw, images by the schedule.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function checkDiffuses({ settings }: Core, what: 'learn' | 'draw', where: string): void {
  const { unet, schedule } = settings
  const { in_channels: channels, out_channels: out, num_train_timesteps: rows = 0, time_embedding_type: kind } = unet
  imageSize(unet, where)
  if (out !== channels && !(what === 'draw' && out === 2 * channels)) {
    throw invalid(
      `${where}: the U-Net's out_channels is ${out}; expected in_channels, which is ${channels}${what === 'draw' ? ', or twice as many' : ''}: ` +
        (what === 'learn' && out === 2 * channels
          ? 'a learned variance has a loss of its own, which this package does not have. The network draws images and predicts; with step() you ' +
            'can train it on a loss of yours'
          : 'with predict() and step() you can use the network in a loop of your own'),
    )
  }
  if (kind === 'fourier' && schedule.kind === 'betas') {
    throw invalid(
      `${where}: the U-Net's time_embedding_type is 'fourier', which is told noise levels above 0, and the schedule of the kind 'betas' tells ` +
        "timesteps from 0; expected a schedule of the kind 'edm' or 'flow'",
    )
  }
  if (kind !== 'learned') return
  if (schedule.kind !== 'betas') {
    throw invalid(
      `${where}: the U-Net's time_embedding_type is 'learned', a table of timesteps, and the schedule of the kind '${schedule.kind}' tells noise ` +
        "levels; expected one of the kind 'betas'",
    )
  }
  if (schedule.timesteps > rows) {
    throw invalid(
      `${where}: the schedule has ${schedule.timesteps} timesteps; expected at most num_train_timesteps, the ${rows} rows of the U-Net's table`,
    )
  }
}

/** Checks that what an objective draws from is there: teacher and memory. */
export function checkTerms(core: Core, { terms }: ResolvedObjective, memory: readonly Subset[], where: string): void {
  const teacher = terms.find(({ source, target }) => source.kind === 'teacher' || target === 'teacher')
  if (teacher && !call(() => core.native.has('teacher'))) {
    throw invalid(
      `${where}: the term ${teacher.source.kind} → ${teacher.target} needs a teacher, and the learner has none; ` +
        'learn an earlier task first, or call freezeTeacher()',
    )
  }
  if (terms.some(({ source }) => source.kind === 'memory') && countImages(memory) === 0) {
    throw invalid(
      `${where}: a term draws from the memory, which is empty; learn an earlier task by a method that keeps one, or give ` +
        'learn() images as its option memory',
    )
  }
}

/** Checks that what penalties need was consolidated. */
export async function checkPenalties(core: Core, penalties: readonly Penalty[], where: string): Promise<void> {
  const kept = new Set((await call(() => core.native.penalties())).map(({ name }) => name))
  const missing = penalties.find(({ name }) => !kept.has(name))
  if (missing) {
    throw invalid(
      `${where}: nothing was consolidated for the penalty '${missing.name}' at the end of an earlier task; first learn an ` +
        'earlier task by a method that consolidates for this penalty',
    )
  }
}

/** Checks what a method is to keep of a task, hours before it is kept. */
export function checkKeeps(
  { consolidations = [], memory }: Keeps,
  task: LearnedTask,
  timesteps: number,
  where: string,
): void {
  for (const consolidation of consolidations) {
    if (!('timesteps' in consolidation) || consolidation.timesteps === undefined) continue
    const [from, to] = consolidation.timesteps
    if (to > timesteps) {
      throw invalid(
        `${where}: the penalty '${consolidation.penalty}' has the timesteps [${from}, ${to}); expected integers with ` +
          `0 ≤ from < to ≤ ${timesteps}`,
      )
    }
  }
  if (memory === undefined) return
  const subsets = [...task.earlier, task].map(({ train }) => train)
  const seen = countImages(subsets)
  // Where the images of earlier tasks are gone, how many there were isn't known.
  if (memory.size > seen && subsets.every(({ indices }) => indices.length > 0)) {
    throw invalid(
      `${where}: keeps.memory.size is ${memory.size}; expected at most ${seen}, the number of images of the tasks so far`,
    )
  }
}

/**
 * Checks that a batch can fit in memory, by what is sure to be there at once: in training two tensors of each ResNet block, as the
 * backward pass needs them, else two of the widest layer.
 */
export function checkBatch({ settings }: Core, batchSize: number, what: 'training' | 'sampling', where: string): void {
  const { unet, precision, device } = settings
  const { height, width } = imageSize(unet, where)
  const layer = (level: number) =>
    unet.block_out_channels[level]! * Math.floor(height / 2 ** level) * Math.floor(width / 2 ** level)
  const layers = unet.block_out_channels.map((_, level) => 2 * unet.layers_per_block * layer(level))
  const numbers = what === 'sampling' ? layer(0) : layers.reduce((sum, one) => sum + one, 0)
  const bytes = 2 * numbers * (precision === 'bf16' ? 2 : 4)
  checkFits(batchSize * bytes, device, `${where}: batchSize is ${batchSize}; expected a smaller batch`)
}

/**
 * The shape N × C × H × W of images with a timestep each, once they are checked to have it. Of a network without a size they are squares.
 *
 * @param timesteps whole ones, or with fractions; of a network with the Fourier embedding these are noise levels above 0
 */
export function checkedShape(
  { settings: { unet, schedule } }: Core,
  data: Float32Array,
  timesteps: Int32Array | Float32Array,
  where: string,
): number[] {
  const hasFractions = types.isFloat32Array(timesteps)
  if (!hasFractions && !types.isInt32Array(timesteps)) {
    throw invalid(
      `${where}: timesteps is ${shown(timesteps)}; expected an Int32Array, or a Float32Array, with a timestep for each image`,
    )
  }
  const count = timesteps.length
  const { in_channels: channels } = unet
  const side = types.isFloat32Array(data) ? Math.floor(Math.sqrt(data.length / (count * channels))) : 0
  const [height, width] = imageSides(unet) ?? [side, side]
  const expected = count * channels * height * width
  if (!types.isFloat32Array(data) || data.length !== expected || expected === 0) {
    const found = types.isFloat32Array(data) ? `has ${held(data)}` : `is ${shown(data)}`
    const size = unet.sample_size === null ? [count, channels, 'S', 'S'] : [count, channels, height, width]
    throw invalid(
      `${where} ${found}; expected a Float32Array of ${unet.sample_size === null ? 'squares' : expected}: ` +
        `${size.join(' × ')}, as there are ${held(timesteps, 'timesteps')}`,
    )
  }
  const factor = 2 ** (unet.block_out_channels.length - 1)
  if (side % factor !== 0 && unet.sample_size === null) {
    throw invalid(
      `${where}: the images are squares of ${side}; expected a multiple of ${factor}, as the U-Net's blocks halve them`,
    )
  }
  checkTimesteps(unet, schedule, timesteps, where)
  return [count, channels, height, width]
}

function checkTimesteps(
  unet: UNetConfig,
  schedule: ScheduleConfig,
  timesteps: Int32Array | Float32Array,
  where: string,
): void {
  const { time_embedding_type: kind, num_train_timesteps: rows = 0 } = unet
  const hasFractions = types.isFloat32Array(timesteps)
  const list: ArrayLike<number> = timesteps
  const found = (isRight: (t: number) => boolean) =>
    Array.prototype.find.call(list, (t: number) => !isRight(t)) as number | undefined
  if (kind === 'fourier' && hasFractions) {
    const wrong = found((level) => level > 0 && Number.isFinite(level))
    if (wrong === undefined) return
    throw invalid(
      `${where}: the noise level ${wrong}; expected finite numbers above 0, which the U-Net's Fourier embedding takes`,
    )
  }
  if (kind === 'learned' && hasFractions) {
    throw invalid(`${where}: timesteps is a Float32Array; expected an Int32Array: the U-Net has a table of timesteps`)
  }
  const last = (kind === 'learned' ? Math.min(schedule.timesteps, rows) : schedule.timesteps) - 1
  const first = kind === 'fourier' && schedule.kind === 'betas' ? 1 : 0
  const outside = found((t) => t >= first && t <= last)
  if (outside !== undefined) throw invalid(`${where}: timestep ${outside}; expected ${first} … ${last}`)
}

/** Checks that noise, where some is given, is as long as the images that a call makes want it. */
export function checkLength(noise: Float32Array | undefined, expected: number, where: string): void {
  if (noise === undefined || noise.length === expected) return
  const wanted = expected === 0 ? 'none: this sampler adds no noise' : `${expected} numbers`
  throw invalid(`${where} has ${held(noise)}; expected ${wanted}`)
}
