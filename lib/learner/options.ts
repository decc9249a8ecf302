import type { Ema } from '../config/ema.js'
import type { SamplerOptions } from '../config/sampler.js'
import type { ScheduleConfig } from '../config/schedule.js'
import type { Timesteps } from '../config/timesteps.js'
import type { UNetOptions } from '../config/unet.js'
import type { ImageBatch, Subset } from '../data/dataset.js'
import type { Group } from '../engine/group.js'
import type { ImageStore } from '../engine/image-store.js'
import type { Device, Precision } from '../validation/fields.js'
import type { Validation, ValidationOptions } from './validation-options.js'

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
   * The noise schedule of a diffusers network whose folder has no scheduler_config.json, nor a scheduler folder beside it. Default: `paperSchedule`, with a
   * warning.
   */
  schedule?: Partial<ScheduleConfig>
  /** The variant of a diffusers folder's weights: `fp16` for `diffusion_pytorch_model.fp16.safetensors`. Default: those without a variant. */
  variant?: string
  /**
   * Number of tasks that a diffusers model counts as having learned elsewhere. If it is above 0, the loaded model is the first teacher, and methods take
   * task k of a stream for task `learnedBefore` + k: with 1, generative distillation distils the model while it learns task 1, and weighs the
   * two alike. Not for networks that take labels, as the model doesn't tell its classes' names. Default 0.
   */
  learnedBefore?: number
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
 * How long a task is: exactly one of `steps` and `epochs`.
 *
 * @category Learner
 */
export type TaskLength =
  | {
      /** Number of training steps. */
      steps: number
      epochs?: undefined
    }
  | {
      /** Passes over the images that the method trains on: ⌈epochs × images / batchSize⌉ steps. It may be a fraction. */
      epochs: number
      steps?: undefined
    }

/**
 * Options of `Learner.learn`.
 *
 * @category Learner
 */
export type LearnOptions = LearnSettings & TaskLength

/**
 * The course of the learning rate after warm-up: at `lr`; or down to `final` · `lr` at the task's end, in a line or in half a cosine wave.
 *
 * @category Learner
 */
export type LrScheduleKind = 'constant' | 'linear' | 'cosine'

/**
 * The learning rate over the steps of a task, as diffusers' schedules of these names have it.
 *
 * @category Learner
 */
export interface LrSchedule {
  /** Default `constant`. */
  readonly kind?: LrScheduleKind
  /** Number of steps in which the rate rises from 0 to `lr`. Default 0. */
  readonly warmup?: number
  /** The part of `lr` that is left at the end, 0 … 1. Not of `constant`. Default 0. */
  readonly final?: number
}

/**
 * Options of `Learner.learn`, besides the task's length.
 *
 * @category Learner
 */
export interface LearnSettings extends UpdateOptions {
  /** Images drawn for each source in each step. Default 128. */
  batchSize?: number
  /**
   * Gradient accumulation: a step's batch is so many times `batchSize`, worked on one `batchSize` after the other. It is the step of the
   * larger batch, up to rounding, in the memory of the smaller one. Default 1.
   */
  accumulate?: number
  /** How the learning rate changes over the task's steps. Default: it doesn't. */
  lrSchedule?: LrScheduleKind | LrSchedule
  /**
   * Where those of the method's terms draw their timesteps that don't say so themselves: a range [from, to), or a distribution. Default: uniformly in
   * [0, T).
   */
  timesteps?: Timesteps
  /** Whether every drawn real image is mirrored with probability ½. Default false. */
  horizontalFlip?: boolean
  /**
   * `reset`: the task begins with a fresh state of Adam, as in the paper. `keep`: it goes on with the state of the last task. A method whose
   * task begins with fresh weights can't keep it. Default: the method's, which is `reset` for all but {@link recommended}.
   */
  optimizer?: 'reset' | 'keep'
  /**
   * For a class-conditional network: the probability that an image's label is replaced by the null label, 0 ≤ p < 1, so that the network also
   * learns the unconditional prediction, which guidance needs; e.g. 0.1. Default 0.
   */
  labelDropout?: number
  /**
   * For a class-conditional network: how likely each class is for what the teacher generates. `uniform` (default): each class learned so far;
   * `frequency`: as often as in the tasks' images; or weights by class name. A class without a weight is not generated, nor is one that is
   * learned later.
   */
  replayLabels?: 'uniform' | 'frequency' | Readonly<Record<string, number>>
  /**
   * For a network with a table of classes: whether the table gets further rows where the task's images have classes that it has no row for. The
   * old rows stay as they are, and the null label stays the last. The lists of class names must begin alike in all tasks. Default false: such
   * images are an error.
   */
  grow?: boolean
  /** Tells the classes of the teacher's images, for methods whose replay pool is `even`: e.g. a {@link Solver} that learned the earlier tasks. */
  classifier?: ReplayClassifier
  /** Called while the teacher generates a replay pool, after every 128 images. It must not throw. */
  onPool?: (progress: PoolProgress) => void
  /** Real images for terms with the source `memory`, in place of the learner's own memory. */
  memory?: readonly Subset[]
  /**
   * Whether to resume the task in progress, see `Learner.taskInProgress`. On the CPU the rest of the training is the same to the bit as
   * without the interruption. If no task is in progress, the task begins from its start. Default false: the task begins from its start in
   * any case.
   *
   * A task is resumed with the settings that it was begun with. `{ change: ['lr', 'steps'] }` resumes it with this call's learning rate, or
   * number of steps, which is at least the number of steps done.
   */
  resume?: boolean | { readonly change: readonly ChangeableSetting[] }
  /**
   * Called once for each step, in order, with the step's losses, and before the progress that includes the step is yielded. It is also
   * called for the steps before an abort. Unlike progress, its calls don't depend on how fast the steps are. It must not throw.
   */
  onStep?: (losses: StepLosses) => void
  /** Validation every so many steps, with early stopping and the best weights as options. Its values come with the progress. Default: none. */
  validation?: ValidationOptions
  /** Called once for each validation, in order. It must not throw. */
  onValidation?: (validation: Validation) => void
  /**
   * Called after every `callbackEvery` steps of the task, counted from the task's beginning, and after its last step; training waits for its promise. It may
   * call what uses the learner's weights and changes nothing, such as `sample`, `evaluate` and `save`, and it may call `endTask`: the training's draws and
   * results stay the same to the bit. What it throws ends `learn`, with the learner as after the last whole step.
   */
  callback?: (progress: Progress) => void | Promise<void>
  /** Number of steps, ≥ 1; it goes with `callback`. */
  callbackEvery?: number
  /** An abort rejects with `signal.reason` and leaves the learner as after its last whole step. */
  signal?: AbortSignal
}

/**
 * A setting that a resumed task may change. `steps` stands for `epochs` too.
 *
 * @category Learner
 */
export type ChangeableSetting = 'lr' | 'steps'

/**
 * Options of `Learner.train`.
 *
 * @category Learner
 */
export type TrainOptions = LearnOptions & {
  /** Called about five times a second. It must not throw. */
  onProgress?: (progress: Progress) => void
}

/**
 * What `Learner.learn` gives: an iterator, which trains while it is iterated by `for await`. It is no promise: to await it is an error, of
 * the compiler's and at run time.
 *
 * @category Learner
 */
export interface Learning extends AsyncGenerator<Progress, void, undefined> {
  /** @deprecated Not to be called: iterate, or await `Learner.train`. */
  then(iterateItOrAwaitTrain: never): never
}

/**
 * The losses of one training step.
 *
 * @category Learner
 */
export interface StepLosses {
  /** Number of the step within its task, from 1. */
  readonly step: number
  /** Total number of steps of the task. */
  readonly steps: number
  readonly loss: number
  /** Loss of each of the objective's terms, unweighted. */
  readonly terms: readonly number[]
  /** Cost of each of the objective's penalties, without its strength, by name. */
  readonly penalties: Readonly<Record<string, number>>
  /** Norm of the gradient before clipping. */
  readonly gradNorm: number
  /** Learning rate of the step. */
  readonly lr: number
}

/**
 * Tells the class of images: a {@link Solver}, a {@link Classifier}, or an object of your own.
 *
 * @category Learner
 */
export interface ReplayClassifier {
  readonly classes: readonly string[]
  /** @returns `logits`, N × classes: the larger, the likelier */
  classify(images: ImageBatch): Promise<{ readonly logits: Float32Array }>
}

/**
 * Progress of a replay pool.
 *
 * @category Learner
 */
export interface PoolProgress {
  /** The task's number. */
  readonly task: number
  /** Number of images that are done. */
  readonly images: number
  /** Number of images of the pool. */
  readonly total: number
  /** When all are done, for an `even` pool: the number of images of each class of the earlier tasks. */
  readonly classes?: Readonly<Record<string, number>>
}

/**
 * Progress of learning a task.
 *
 * @category Learner
 */
export interface Progress {
  /** The task's number. */
  readonly task: number
  /** Number of steps of the task that are done. */
  readonly step: number
  /** Total number of steps of the task. */
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
  /** Learning rate of the last of these steps. */
  readonly lr: number
  /** Mean speed since the first step of this call of `learn`. */
  readonly stepsPerSecond: number
  /** The task's last validation. */
  readonly validation?: Validation
  /** Estimated seconds to the last step, at the speed of `stepsPerSecond`. */
  readonly secondsLeft: number
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
