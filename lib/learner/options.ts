import type { Ema } from '../config/ema.js'
import type { SamplerOptions } from '../config/sampler.js'
import type { ScheduleConfig } from '../config/schedule.js'
import type { UNetOptions } from '../config/unet.js'
import type { ImageBatch } from '../data/dataset.js'
import type { Group } from '../engine/group.js'
import type { ImageStore } from '../engine/image-store.js'
import type { Device, Precision } from '../validation/fields.js'

/**
 * A label of an image to generate: a class's name or index, or null for an image of no class in particular.
 *
 * @category Learner
 */
export type Label = string | number | null

/**
 * Labels as the network takes them: indices, or vectors for the identity embedding.
 *
 * @category Learner
 */
export type NetworkLabels = Int32Array | Float32Array

/**
 * Options of `Learner.create`.
 *
 * @category Learner
 */
export interface LearnerOptions {
  /** The network: one of `presets`, or your own configuration. */
  unet: UNetOptions
  /** How noise is added to images. Fields that are left out are those of `paperSchedule`. */
  schedule?: Partial<ScheduleConfig>
  /** The sampler for calls that don't give one. Default: DDIM in 10 steps, or T if T < 10. */
  sampler?: SamplerOptions
  /** Default `auto`: the first CUDA device if one works, else the CPU. */
  device?: Device
  /** Default `auto`: bf16 where it is faster than fp32 (on CUDA, and on CPUs with AMX), else fp32. */
  precision?: Precision
  /** Threads of the CPU that compute the network, 1 … 1024. Another number gives other digits. Default: libtorch's, see `OMP_NUM_THREADS`. */
  threads?: number | undefined
  /** Seed of the first weights and of all random draws, 0 … 2³² − 1. Default 0. */
  seed?: number
  /**
   * Exponential moving average of the weights, which sampling and the teacher then use: its decay, 0 ≤ decay < 1, or a decay with warm-up.
   * Default 0: no average.
   */
  ema?: Ema
  /** Store of the images on the device. Learners, solvers and classifiers may share one. Default: the learner makes its own. */
  images?: ImageStore
  /** The processes that train this learner together; all of them make it. Default: this process trains it alone. */
  group?: Group
}

/**
 * Options of `Learner.load`.
 *
 * @category Learner
 */
export interface LoadOptions {
  /** Default `auto`. */
  device?: Device
  /** Default: the precision that was saved; for a diffusers folder `auto`. */
  precision?: Precision
  /**
   * The noise schedule of a diffusers network whose folder has no scheduler_config.json, nor a scheduler folder beside it; another one than such a
   * file's is refused. Default: `paperSchedule`, with a warning.
   */
  schedule?: Partial<ScheduleConfig>
  /** Of a diffusers model: the sampler for calls that don't give one. Fields that are left out are those of the scheduler's file. */
  sampler?: SamplerOptions
  /** The variant of a diffusers folder's weights: `fp16` for `diffusion_pytorch_model.fp16.safetensors`. Default: those without a variant. */
  variant?: string
  /**
   * Number of tasks that a diffusers model counts as having learned elsewhere. If it is above 0, the loaded model is the first teacher, and methods take
   * task k of a stream for task `learnedBefore` + k: with 1, generative distillation distils the model while it learns task 1, and weighs the
   * two alike. Not for networks that take labels, as the model doesn't tell its classes' names. Default 0.
   */
  learnedBefore?: number
  /** Of a diffusers model: the seed of all random draws, 0 … 2³² − 1. Default 0. */
  seed?: number
  /** Of a diffusers model: the moving average of the weights, as in {@link LearnerOptions}; it begins with the model's weights. Default 0. */
  ema?: Ema
  /** Side of square images, or height and width, in place of the model's `sample_size`: of a model that was saved without, or for another size. */
  sampleSize?: number | readonly [height: number, width: number]
  /** As in {@link LearnerOptions}; it is not saved. */
  threads?: number | undefined
  /** As in {@link LearnerOptions}. */
  images?: ImageStore
  /** As in {@link LearnerOptions}; another number of processes gives the same steps, up to rounding. */
  group?: Group
}

/**
 * Options of `Learner.save`.
 *
 * @category Learner
 */
export interface SaveOptions {
  /**
   * `model` (default): the folder is a diffusers model folder. `pipeline`: the folder is that of a `DDIMPipeline` or `DDPMPipeline`, with
   * `model_index.json` and the folders `unet`, which is the learner's, and `scheduler`.
   */
  format?: 'model' | 'pipeline'
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
  /** Number that is added to Adam's denominator. Default 1e-8. */
  eps?: number
  /** Factor of the weights that is added to the gradient (L2 regularisation), ≥ 0. Default 0. */
  weightDecay?: number
  /** Whether `weightDecay` shrinks the weights beside the gradient's step, by lr · weightDecay: AdamW (arXiv 1711.05101). Default false. */
  decoupledWeightDecay?: boolean
  /** Largest norm of the gradient of all parameters together; a larger gradient is scaled to it. 0: no clipping. Default 1. */
  clipGradNorm?: number
}

/**
 * Generated images to replay, as `Learner.replayPool` gives them.
 *
 * @category Learner
 */
export interface ReplayImages extends ImageBatch {
  /** Of a class-conditional learner: the class index that each image was asked for as. */
  readonly labels?: Int32Array
}

/**
 * Generated images as the sampler ends with them.
 *
 * @category Learner
 */
export interface FloatImages {
  /** count × channels × height × width; an image's pixels lie about in [−1, 1]. */
  readonly data: Float32Array
  readonly count: number
  readonly channels: number
  readonly height: number
  readonly width: number
}

/**
 * Options of `Learner.denoisingLoss`: at which timesteps, and how often, the loss is measured.
 *
 * @category Learner
 */
export interface DenoisingLossOptions {
  /**
   * Bands of timesteps. A number n: n bands over all T timesteps, as equally wide as whole numbers allow. Or the rising edges of the bands,
   * all in 0 … T: [0, 100, 1000] are the bands 0 … 99 and 100 … 999. Default 10.
   */
  bands?: number | readonly number[]
  /** Number of draws of timestep and noise for each image in each band, 1 … 1,000,000. Default 1. */
  samples?: number
  /** Number of images in one forward pass; the memory grows with it. Default 128. */
  batchSize?: number
  /** Seed of the draws. The same seed gives the same draws for every learner, so that their losses can be compared. Default: the learner's seed. */
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
  /** The timestep after the last timestep of the band. */
  readonly to: number
  /** Mean squared error between the network's prediction and what a perfect network would predict, unweighted. */
  readonly loss: number
  /** Number of images. */
  readonly images: number
  /** Number of draws that the loss is the mean of: images × samples. */
  readonly draws: number
}

/**
 * Options of `Learner.step`: one training step on your own arrays of N images.
 *
 * @category Learner
 */
export interface StepOptions extends UpdateOptions {
  /** Noisy images, N × C × H × W. */
  xt: Float32Array
  /** One per image, as for `Learner.predict`. */
  timesteps: Int32Array | Float32Array
  /** Target of the prediction, N × out_channels × H × W. */
  target: Float32Array
  /** For a class-conditional network: as for `Learner.predict`. */
  labels?: NetworkLabels
  /** Factor of the mean squared error of each image (N numbers), or one factor ≥ 0 for all images. Default 1. */
  weight?: Float32Array | number
  /**
   * Whether the network's dropout is on in this step: a function of (seed, number of the step). Default false: the step is then a function of
   * the arrays alone.
   */
  dropout?: boolean
}
