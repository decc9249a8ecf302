import { types } from 'node:util'
import type { UNetConfig } from '../config/unet.js'
import { countImages, type Subset } from '../data/dataset.js'
import { call } from '../engine/call.js'
import { checkFits } from '../engine/memory.js'
import { invalid } from '../errors.js'
import type { Keeps, Penalty, ResolvedObjective } from '../methods/objective.js'
import { held } from '../validation/fields.js'
import { shown } from '../validation/options.js'
import type { Core } from './core.js'
import type { LearnedTask } from './schemas.js'

/** Checks that images are of the size and channels that the U-Net takes. */
export function checkImages(unet: UNetConfig, subsets: readonly Subset[], where: string): void {
  const { in_channels: channels, sample_size: size } = unet
  for (const { dataset } of subsets) {
    const { name, height, width } = dataset
    if (dataset.channels !== channels) {
      throw invalid(
        `${where}: the images of ${name} have ${dataset.channels} channels; expected the U-Net's ${channels}`,
      )
    }
    if (dataset.size === undefined ? height !== size || width !== size : dataset.size !== size) {
      const found = dataset.size === undefined ? `${height} × ${width}` : `${dataset.size} × ${dataset.size}`
      throw invalid(
        `${where}: the images of ${name} are ${found}; expected ${size} × ${size}, the U-Net's sample_size; ` +
          `load them with { size: ${size} }, or change the U-Net`,
      )
    }
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
  const seen = countImages([...task.earlier, task].map(({ train }) => train))
  if (memory.size > seen) {
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
  const layer = (level: number) => unet.block_out_channels[level]! * (unet.sample_size / 2 ** level) ** 2
  const layers = unet.block_out_channels.map((_, level) => 2 * unet.layers_per_block * layer(level))
  const numbers = what === 'sampling' ? layer(0) : layers.reduce((sum, one) => sum + one, 0)
  const bytes = 2 * numbers * (precision === 'bf16' ? 2 : 4)
  checkFits(batchSize * bytes, device, `${where}: batchSize is ${batchSize}; expected a smaller batch`)
}

/** The shape N × C × H × W of images with a timestep each, once they are checked to have it. */
export function checkedShape(
  { settings: { unet, schedule } }: Core,
  data: Float32Array,
  timesteps: Int32Array,
  where: string,
): number[] {
  if (!types.isInt32Array(timesteps)) {
    throw invalid(`${where}: timesteps is ${shown(timesteps)}; expected an Int32Array with a timestep for each image`)
  }
  const { in_channels: channels, sample_size: size } = unet
  const shape = [timesteps.length, channels, size, size]
  const expected = timesteps.length * channels * size * size
  if (!types.isFloat32Array(data) || data.length !== expected || expected === 0) {
    const found = types.isFloat32Array(data) ? `has ${held(data)}` : `is ${shown(data)}`
    throw invalid(
      `${where} ${found}; expected a Float32Array of ${expected}: ` +
        `${shape.join(' × ')}, as there are ${held(timesteps, 'timesteps')}`,
    )
  }
  const outside = timesteps.find((t) => t < 0 || t >= schedule.timesteps)
  if (outside !== undefined) {
    throw invalid(`${where}: timestep ${outside}; expected 0 … ${schedule.timesteps - 1}`)
  }
  return shape
}

/** Checks that noise, where some is given, is as long as the images that a call makes want it. */
export function checkLength(noise: Float32Array | undefined, expected: number, where: string): void {
  if (noise === undefined || noise.length === expected) return
  const wanted = expected === 0 ? 'none: this sampler adds no noise' : `${expected} numbers`
  throw invalid(`${where} has ${held(noise)}; expected ${wanted}`)
}
