import type { Timesteps } from '../config/timesteps.js'
import type { ImageBatch, Subset } from '../data/dataset.js'
import type { UpdateOptions } from './options.js'
import type { Validation, ValidationOptions } from './validation-options.js'

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

export const lrScheduleKinds = ['constant', 'linear', 'cosine'] as const satisfies readonly LrScheduleKind[]

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
   * task begins with fresh weights can't keep it. Default: the method's, which is `reset` for all but {@link recommended} and {@link conditionalDistillation}.
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
   * any case, with all its steps ahead, and with the weights as they are: those that the steps done have changed.
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
