import { addedNoises, parseSampler, type SamplerOptions } from '../config/sampler.js'
import { imageSize } from '../config/unet.js'
import type { ImageBatch } from '../data/dataset.js'
import { call, withCancel } from '../engine/call.js'
import type { Group } from '../engine/group.js'
import { type SampleUse, sampleUses } from '../engine/sample-use.js'
import { sampledWeights } from '../engine/state.js'
import { invalid } from '../errors.js'
import { parseOptions, shown } from '../validation/options.js'
import { checkBatch, checkDiffuses, checkLength, checkVariance } from './checks.js'
import { type Core, sound } from './core.js'
import { checkGuide } from './guide.js'
import { checkGuidance, labelsToSample } from './labels.js'
import type { FloatImages, Label, NetworkLabels } from './options.js'
import { sampleSchema } from './schemas.js'

/**
 * Options of `Learner.sample`, besides the guide.
 *
 * @category Learner
 */
export interface SampleSettings {
  /** Number of images, ≥ 1. */
  count: number
  /** Number of images that are generated at once; the memory grows with it. Default 128. */
  batchSize?: number
  /** Fields that are left out are those of the learner's sampler. */
  sampler?: SamplerOptions
  /**
   * For a class-conditional network: the class of all images, or of each. Default: the classes learned, in turn. An `Int32Array` has indices; for
   * the identity embedding it is a `Float32Array`, count × the width of the embedding (`time_embedding_dim`, or 4 · block_out_channels[0]).
   */
  labels?: Label | readonly Label[] | NetworkLabels
  /** Seed of the noise, 0 … 2⁵³ − 1. The same seed gives the same images. Default: the learner's seed. */
  seed?: number
  /** Standard normal noise to begin with, count × C × H × W, in place of the seed's: e.g. another program's, for the same images. */
  start?: Float32Array
  /** Standard normal noise of the steps of a sampler that adds some, S × count × C × H × W, in place of the seed's. */
  stepNoise?: Float32Array
  /** `uint8`: images as a data set stores them. `float32`: what the sampler ends with, unclipped. Default `uint8`. */
  format?: 'uint8' | 'float32'
  /** An abort rejects with `signal.reason`. */
  signal?: AbortSignal
  /** Called about five times a second while it generates; `done` and `total` count images. It must not throw. */
  onProgress?: (progress: { done: number; total: number }) => void
}

/**
 * `Learner.sample`.
 *
 * @param coreOf the core of a guide; undefined where it is no learner
 * @param group whose processes generate the images together; null: this one does alone
 */
export async function sample(
  core: Core,
  { purpose, part }: SampleUse,
  options: SampleSettings & { guide?: unknown },
  coreOf: (guide: unknown) => Core | undefined,
  group: Group | null,
): Promise<ImageBatch | FloatImages> {
  const native = sound(core, 'sample')
  const { schedule, unet, ema } = core.settings
  const { signal, guide, onProgress, ...parsed } = parseOptions(sampleSchema, options, 'sample')
  const { count, batchSize, format, seed = native.state.seed } = parsed
  const sampler = parseSampler(schedule, parsed.sampler, 'sample: sampler', core.settings.sampler)
  // Copies, as what the engine is given comes after the look at the guide.
  const [start, stepNoise] = [parsed.start?.slice(), parsed.stepNoise?.slice()]
  const labels = labelsToSample(core, parsed.labels, count, 'sample: labels')?.slice()
  const weaker = coreOf(guide)
  if (guide !== undefined && !weaker) throw invalid(`sample: guide is ${shown(guide)}; expected a Learner`)
  const from = weaker && { learner: sound(weaker, 'sample', 'guide'), weights: sampledWeights(weaker.settings.ema) }
  if (weaker) await checkGuide(core, weaker, sampler.guidance, labels, 'sample: guide')
  else checkGuidance(core, sampler.guidance, 'sample: sampler')
  checkDiffuses(core, 'draw', 'sample')
  checkVariance(unet, sampler, 'sample: sampler')
  checkBatch(core, Math.min(count, batchSize), 'sampling', 'sample')
  const weights = sampledWeights(ema)
  const { in_channels: channels } = unet
  const { height, width } = imageSize(unet, 'sample')
  const pixels = count * channels * height * width
  checkLength(start, pixels, 'sample: start')
  checkLength(stepNoise, addedNoises(sampler) * pixels, 'sample: stepNoise')
  const use = { purpose: sampleUses[purpose], part }
  const turns = group && { turn: group.rank, turns: group.size }
  const given = { weights, count, batchSize, sampler, labels, guide: from, seed, start, stepNoise, use, ...turns }
  const shape = { count, height, width, channels }
  const run = async (flag: Int32Array) =>
    format === 'uint8'
      ? { ...shape, data: await call(() => native.sample({ ...given, format }, flag)) }
      : { ...shape, data: (await call(() => native.sample({ ...given, format }, flag))).data }
  const tell = onProgress && ((part: number) => onProgress({ done: Math.floor(part * count), total: count }))
  const images = await withCancel(signal, run, tell)
  await group?.gather(images.data, signal)
  return images
}
