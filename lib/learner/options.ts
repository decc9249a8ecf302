import { z } from 'zod'
import type { SamplerConfig } from '../config/sampler.js'
import { type ScheduleConfig, scheduleSchema } from '../config/schedule.js'
import type { UNetConfig } from '../config/unet.js'
import type { Subset } from '../data/dataset.js'
import { subsetSchema } from '../data/schemas.js'
import { ImageStore } from '../engine/image-store.js'
import {
  batchSizeSchema,
  type Device,
  deviceSchema,
  type Precision,
  precisionSchema,
  seedSchema,
  signalSchema,
} from '../validation/fields.js'

/**
 * What a learner is made of.
 *
 * @category Learner
 */
export interface LearnerOptions {
  /** One of `presets`, or options of one's own. */
  unet: UNetConfig
  /** How noise is added; what is left out is as in `paperSchedule`. */
  schedule?: Partial<ScheduleConfig>
  /** How images are generated where a call doesn't say; what is left out is as in `paperSampler`: DDIM, 10 steps. */
  sampler?: Partial<SamplerConfig>
  /** Default `auto`: CUDA when there is a device that works, else the CPU. */
  device?: Device
  /** Default `auto`: bf16 where it is the faster, on CUDA and on processors with AMX, else fp32. */
  precision?: Precision
  /** Of the first weights and of every draw, 0 … 2³² − 1. Default 0. */
  seed?: number
  /**
   * Decay of the exponential moving average of the weights, at least 0 and less than 1. With it, sampling and the teacher use the
   * average. Default 0: none.
   */
  ema?: number
  /** Where images are kept on the device, to share them with other learners, solvers and classifiers. Default: a store of its own. */
  images?: ImageStore
}

/**
 * Options of `Learner.load`.
 *
 * @category Learner
 */
export interface LoadOptions {
  /** Default `auto`. */
  device?: Device
  /** Default: the saved one; for a diffusers folder `auto`. */
  precision?: Precision
  /** As in {@link LearnerOptions}. */
  images?: ImageStore
}

/**
 * Options of Adam and of one update.
 *
 * @category Learner
 */
export interface UpdateOptions {
  /** Learning rate. Default 2e-4. */
  lr?: number
  /** Decay rates of Adam's two averages. Default [0.9, 0.999]. */
  betas?: readonly [number, number]
  /** Added to Adam's denominator. Default 1e-8. */
  eps?: number
  /** Decay of the weights, added to the gradient. Default 0. */
  weightDecay?: number
  /** Largest norm of the gradient over all parameters; 0: no clipping. Default 1. */
  clipGradNorm?: number
}

/**
 * How long and how a task is learned; exactly one of `epochs` and `steps` is given.
 *
 * @category Learner
 */
export interface LearnOptions extends UpdateOptions {
  /** Passes over the images that the method trains on: ⌈epochs × images / batchSize⌉ steps. Need not be whole. */
  epochs?: number
  /** Training steps. */
  steps?: number
  /** Images drawn for each source in each step. Default 128. */
  batchSize?: number
  /** Whether every drawn real image is mirrored with probability ½. Default false. */
  horizontalFlip?: boolean
  /** Real images for terms with the source `memory`, in place of the learner's own memory. */
  memory?: readonly Subset[]
  /**
   * Goes on with the task where the learner stands in the middle of it, see `Learner.taskInProgress`: the rest of the training is then
   * to the bit what it would have been, on the CPU. A task that wasn't begun is begun. Default false: begins the task in any case.
   */
  resume?: boolean
  /**
   * Told what each step computed, once for each, in order and before the progress that the step counts in; those of the steps before
   * an abort too. For records that must not depend on how fast the steps were. It must not throw.
   */
  onStep?: (losses: StepLosses) => void
  /** An abort rejects with `signal.reason` and leaves the learner as after its last whole step. */
  signal?: AbortSignal
}

/**
 * What one training step computed.
 *
 * @category Learner
 */
export interface StepLosses {
  /** Of this task, from 1. */
  readonly step: number
  /** Steps of this task in all. */
  readonly steps: number
  readonly loss: number
  /** Loss of each of the objective's terms, unweighted. */
  readonly terms: readonly number[]
  /** Cost of each of the objective's penalties, without its strength, by name. */
  readonly penalties: Readonly<Record<string, number>>
  /** Norm of the gradient before clipping. */
  readonly gradNorm: number
}

/**
 * Where the learning of a task stands.
 *
 * @category Learner
 */
export interface Progress {
  /** The task's number. */
  readonly task: number
  /** Steps of this task done. */
  readonly step: number
  /** Steps of this task in all. */
  readonly steps: number
  /** Mean loss over the steps since the last progress. */
  readonly loss: number
  /** Mean loss of each of the objective's terms over these steps, unweighted. */
  readonly terms: readonly number[]
  /**
   * Mean cost of each of the objective's penalties over these steps, without its strength, by name: the loss is
   * Σ weight · term + Σ strength · penalty.
   */
  readonly penalties: Readonly<Record<string, number>>
  /** Mean norm of the gradient before clipping over these steps. */
  readonly gradNorm: number
  /** Since the call's first step. */
  readonly stepsPerSecond: number
  /** At that speed. */
  readonly secondsLeft: number
}

/**
 * What to generate, and how.
 *
 * @category Learner
 */
export interface SampleOptions {
  /** Images. */
  count: number
  /** Images generated at once; it bounds memory. Default 128. */
  batchSize?: number
  /** What differs from the learner's sampler. */
  sampler?: Partial<SamplerConfig>
  /** Same seed, same images; 0 … 2⁵³ − 1. Default: the learner's seed. */
  seed?: number
  /** An abort rejects with `signal.reason`. */
  signal?: AbortSignal
}

/**
 * Where and how often the denoising loss is measured.
 *
 * @category Learner
 */
export interface DenoisingLossOptions {
  /**
   * Bands of timesteps: a number of equally wide ones over all T timesteps, as far as T can be divided; or their edges, rising, from
   * 0 … T − 1 to at most T: [0, 100, 1000] are the bands 0 … 99 and 100 … 999. Default 10.
   */
  bands?: number | readonly number[]
  /** Draws of timestep and noise for each image in each band. Default 1. */
  samples?: number
  /** Images put through the network at once; it bounds memory. Default 128. */
  batchSize?: number
  /** Same seed, same draws, whatever the learner: losses can be compared image by image. Default: the learner's seed. */
  seed?: number
  /** An abort rejects with `signal.reason`. */
  signal?: AbortSignal
}

/**
 * The denoising loss in a band of timesteps.
 *
 * @category Learner
 */
export interface DenoisingLoss {
  /** First timestep of the band. */
  readonly from: number
  /** The timestep after its last one. */
  readonly to: number
  /** Mean squared error between the network's prediction and what a perfect network would predict, unweighted. */
  readonly loss: number
  /** Images measured on. */
  readonly images: number
  /** Draws that the loss is the mean of: images × samples. */
  readonly draws: number
}

/**
 * One training step on arrays of one's own.
 *
 * @category Learner
 */
export interface StepOptions extends UpdateOptions {
  /** Noisy images, N × C × H × W. */
  xt: Float32Array
  /** One per image, 0 … T − 1. */
  timesteps: Int32Array
  /** What the network should predict, N × C × H × W. */
  target: Float32Array
  /** One factor per image of its mean squared error, or one for all. Default 1. */
  weight?: Float32Array | number
}

const positive = z.number().positive()
const rate = z.number().min(0).lt(1)

const updateShape = {
  lr: positive.default(2e-4),
  betas: z.tuple([rate, rate]).readonly().default([0.9, 0.999]),
  eps: positive.default(1e-8),
  weightDecay: z.number().min(0).default(0),
  clipGradNorm: z.number().min(0).default(1),
}

const batchSize = batchSizeSchema.default(128)

export const createSchema = z.strictObject({
  unet: z.unknown().optional(),
  schedule: scheduleSchema.optional(),
  sampler: z.unknown().optional(),
  device: deviceSchema.default('auto'),
  precision: precisionSchema.default('auto'),
  seed: seedSchema.default(0),
  ema: rate.default(0),
  images: z.instanceof(ImageStore).optional(),
})

export const loadSchema = z.strictObject({
  device: deviceSchema.default('auto'),
  precision: precisionSchema.optional(),
  images: z.instanceof(ImageStore).optional(),
})

/** Fields of a schema for what a task is trained with, in experiments too; {@link oneLength} goes with them. */
export const trainShape = {
  /** Training steps for each task; exactly one of `steps` and `epochs`. */
  steps: z.int().min(1).optional(),
  /** Passes over each task's data. */
  epochs: positive.optional(),
  batchSize,
  ...updateShape,
  horizontalFlip: z.boolean().default(false),
}
export const oneLength = [
  (train: { steps?: number | undefined; epochs?: number | undefined }) =>
    (train.steps === undefined) !== (train.epochs === undefined),
  'expected exactly one of steps and epochs',
] as const

export const learnSchema = z
  .strictObject({
    ...trainShape,
    memory: z.array(subsetSchema).readonly().optional(),
    resume: z.boolean().default(false),
    onStep: z.custom<NonNullable<LearnOptions['onStep']>>((f) => typeof f === 'function').optional(),
    signal: signalSchema.optional(),
  })
  .refine(...oneLength)

export const taskSchema = z.looseObject({
  number: z.int().min(1),
  train: subsetSchema,
  earlier: z.array(z.looseObject({ train: subsetSchema })),
})

export const sampleSchema = z.strictObject({
  count: z.int().min(1),
  batchSize,
  sampler: z.unknown().optional(),
  seed: z.int().min(0).optional(),
  signal: signalSchema.optional(),
})

export const denoisingLossSchema = z.strictObject({
  bands: z.union([z.int().min(1), z.array(z.int().min(0)).min(2).readonly()]).default(10),
  samples: z.int().min(1).max(1_000_000).default(1),
  batchSize,
  seed: z.int().min(0).optional(),
  signal: signalSchema.optional(),
})

export const stepSchema = z.strictObject({
  ...updateShape,
  xt: z.instanceof(Float32Array),
  timesteps: z.instanceof(Int32Array),
  target: z.instanceof(Float32Array),
  weight: z.union([z.instanceof(Float32Array), z.number().min(0)]).default(1),
})
