import type { MetricValue } from '../evaluation/metric.js'
import type { TaskEvaluation } from '../evaluation/per-task.js'
import type { DenoisingLoss } from '../learner/options.js'

/**
 * What a run found: the content of its `results.json`, and all that tables, charts and pages are made from.
 *
 * @category Results and reports
 */
export interface Results {
  readonly title: string
  /** False while the run is under way, and after it was stopped or failed. */
  readonly complete: boolean
  readonly versions: Versions
  /** Class names of the data set; class indices elsewhere point into them. */
  readonly classes: readonly string[]
  /** Parameters of the U-Net. */
  readonly parameters: number
  /** Where the learners ran, e.g. `cpu` and `fp32`; not what was asked for but what it came to. */
  readonly device: string
  readonly precision: string
  /** The classifier whose features and labels the metrics use. */
  readonly classifier: { readonly name: string; readonly features: number; readonly accuracy: number }
  /**
   * True when, for each seed, the first task was trained once and taken over by every method whose objective and data
   * for that task are the same, which they are by definition of the methods; such tasks carry `sharedFrom`.
   */
  readonly shareFirstTask: boolean
  /** The metrics by their names, in the order they are shown in. */
  readonly metrics: Readonly<Record<string, MetricInfo>>
  /** The methods in the order they are shown in, by label; `about` says in a sentence what each does. */
  readonly methods: readonly { readonly label: string; readonly about: string }[]
  /** One entry per method and seed, seeds outermost, in the order they ran. */
  readonly runs: readonly MethodRun[]
}

/**
 * What a metric is called, and which way it is read.
 *
 * @category Results and reports
 */
export interface MetricInfo {
  /** With the features named that it is computed in. */
  readonly title: string
  readonly better: 'lower' | 'higher'
}

/**
 * What computed the results.
 *
 * @category Results and reports
 */
export interface Versions {
  readonly package: string
  readonly libtorch: string
  /** Null where libtorch has no CUDA. */
  readonly cuda: string | null
  readonly node: string
  readonly platform: string
  readonly cpu: string
}

/**
 * One method learning one stream.
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
 * A learner after a task, compared with the test images of all classes seen so far.
 *
 * @category Results and reports
 */
export interface TaskResult {
  /** k, counted from 1. */
  readonly task: number
  readonly name: string
  /** Class indices that this task brought. */
  readonly classes: readonly number[]
  /** Training steps spent on this task. */
  readonly steps: number
  /** Wall time of learning the task, and of evaluating it; 0 where another method's was taken over. */
  readonly seconds: { readonly learn: number; readonly evaluate: number }
  /** Mean training loss over these steps. */
  readonly loss: number
  /** How often the teacher's network ran over a batch in each training step. */
  readonly teacherCalls: number
  /** Empty where only the last task is evaluated, and this is another. */
  readonly metrics: Readonly<Record<string, MetricValue>>
  /** The same metrics on each task learned so far by itself, in order; see `Evaluation.tasks`. */
  readonly alone?: readonly TaskEvaluation[]
  /** Denoising loss on the test images of all tasks learned so far, by band of timesteps. */
  readonly denoising?: readonly DenoisingLoss[]
  /** Fraction of the test images of each task learned so far that the solver classifies rightly, in order. */
  readonly solver?: readonly number[]
  /** Path of the grid of samples, relative to the run folder. */
  readonly samples: string
  /** Path of a grid of real test images of this task's classes, relative to the run folder. */
  readonly realSamples: string
  /** Path of the saved learner, relative to the run folder. */
  readonly learner: string
  /** The method whose first task this is, when it was not trained anew. */
  readonly sharedFrom?: string
}

/**
 * The loss while one task is learned.
 *
 * @category Results and reports
 */
export interface LossCurve {
  readonly method: string
  readonly seed: number
  readonly task: number
  /** Steps of the task, from 1, with the mean loss of the steps since the point before. */
  readonly points: readonly (readonly [step: number, loss: number])[]
}
