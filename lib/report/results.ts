import type { TaskEvaluation, TaskValue } from '../evaluation/per-task.js'
import type { DenoisingLoss } from '../learner/options.js'

/**
 * The results of a run: the contents of its `results.json`, from which tables, charts and reports are made.
 *
 * @category Results and reports
 */
export interface Results {
  readonly title: string
  /** False while the run is in progress, and after it was stopped or failed. */
  readonly complete: boolean
  readonly versions: Versions
  /** Class names of the data set; class indices elsewhere point into them. */
  readonly classes: readonly string[]
  /** Number of parameters of the U-Net. */
  readonly parameters: number
  /** The device that the learners used, e.g. `cpu`; never `auto`. */
  readonly device: string
  /** The precision that the learners used, e.g. `fp32`; never `auto`. */
  readonly precision: string
  /** The classifier of the metrics: its name, number of features, and accuracy on the test images, 0 … 1. */
  readonly classifier: { readonly name: string; readonly features: number; readonly accuracy: number }
  /** SHA-256 of what the numbers were computed from: of the data (`data`), of the classifier's weights (`classifier`) and others. Older runs don't have it. */
  readonly inputs?: Readonly<Record<string, string>> | undefined
  /**
   * True if the first task was trained once for each seed, and shared by all methods that have the same objective and data for it. The tasks that
   * were not trained again have `sharedFrom`.
   */
  readonly shareFirstTask: boolean
  /** The metrics by their names, in the order of the tables. */
  readonly metrics: Readonly<Record<string, MetricInfo>>
  /** The methods in the order of the tables. `about` describes the method in a sentence. */
  readonly methods: readonly { readonly label: string; readonly about: string }[]
  /** One entry per method and seed, in the order in which they ran: all methods of the first seed, then of the second … */
  readonly runs: readonly MethodRun[]
}

/**
 * A metric's title, and whether a lower or a higher value is better.
 *
 * @category Results and reports
 */
export interface MetricInfo {
  /** Title, which names the features. */
  readonly title: string
  readonly better: 'lower' | 'higher'
}

/**
 * Versions of the software, and the platform, that computed the results.
 *
 * @category Results and reports
 */
export interface Versions {
  readonly package: string
  readonly libtorch: string
  /** Version of CUDA; null if libtorch is a CPU build. */
  readonly cuda: string | null
  readonly node: string
  readonly platform: string
  readonly cpu: string
}

/**
 * The results of one method with one seed.
 *
 * @category Results and reports
 */
export interface MethodRun {
  /** The method's label: its name, unless the configuration gave it another. */
  readonly method: string
  readonly seed: number
  /** The tasks learned so far, in order. */
  readonly tasks: readonly TaskResult[]
}

/**
 * The results of one task: the learner after this task, compared with the test images of all tasks seen so far.
 *
 * @category Results and reports
 */
export interface TaskResult {
  /** The task's number, from 1. */
  readonly task: number
  readonly name: string
  /** Class indices that this task brought. */
  readonly classes: readonly number[]
  /** Number of training steps of this task. */
  readonly steps: number
  /** Wall time of learning the task and of the evaluation, in seconds; 0 if the task was shared from another method. */
  readonly seconds: { readonly learn: number; readonly evaluate: number }
  /** Mean training loss over these steps. */
  readonly loss: number
  /** Number of the teacher's passes over a batch in each training step. */
  readonly teacherCalls: number
  /**
   * The metrics by their names. Empty if only the last task is evaluated, and this is an earlier task. A value
   * is null where there were too few test images for it, see `evaluation.tooFew`.
   */
  readonly metrics: Readonly<Record<string, TaskValue>>
  /** The same metrics on each task learned so far alone, in order; see `Evaluation.tasks`. */
  readonly alone?: readonly TaskEvaluation[]
  /** Denoising loss on the test images of all tasks learned so far, by band of timesteps. */
  readonly denoising?: readonly DenoisingLoss[]
  /** The solver's accuracy, 0 … 1, on the test images of each task learned so far, in order. */
  readonly solver?: readonly number[]
  /** Path of the grid of samples, relative to the run folder. */
  readonly samples: string
  /** Of a model that takes labels: the names of the classes that the rows of the grid of samples were asked for as, from top to bottom. */
  readonly rows?: readonly string[]
  /** Path of a grid of real test images of this task's classes, relative to the run folder. */
  readonly realSamples: string
  /** Path of the saved learner, relative to the run folder, where it is kept. */
  readonly learner?: string | undefined
  /** The method that trained this first task, if the task was shared. */
  readonly sharedFrom?: string
}

/**
 * The loss during the training of one task.
 *
 * @category Results and reports
 */
export interface LossCurve {
  readonly method: string
  readonly seed: number
  readonly task: number
  /** Points of the curve: a step of the task, from 1, and the mean loss of the steps since the previous point. */
  readonly points: readonly (readonly [step: number, loss: number])[]
}
