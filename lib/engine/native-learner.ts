import type { SamplerConfig } from '../config/sampler.js'
import type { TimestepTable } from '../config/timesteps.js'
import type { Consolidation, ResolvedObjective } from '../methods/objective.js'
import type { CancelFlag, NativePool, NativeTensor } from './native-values.js'
import type { sampleUses } from './sample-use.js'
import type { NativePenalty, NativeQuadratic, ParameterInfo, StateTensor } from './state.js'

/** How a task is trained: what stays the same from step to step. */
export interface NativeSessionOptions {
  readonly objective: ResolvedObjective
  /** For each term the number of the replay pool that its source draws from, see `NativeSession.setReplay`; −1: from none. Default: none does. */
  readonly pools?: readonly number[]
  /** Distributions of timesteps, and for each term the number of its own; −1: uniform. Default: all are. */
  readonly timesteps?: { readonly tables: readonly TimestepTable[]; readonly numbers: readonly number[] }
  readonly task: NativePool
  readonly memory: NativePool
  /** Images of a step, which are worked on in `accumulate` parts, one after the other. Default: in one. */
  readonly batchSize: number
  readonly accumulate?: number
  readonly horizontalFlip: boolean
  /** For a network that takes labels. `weights`: of each class, for images that the teacher generates. */
  readonly labels?: { readonly dropout: number; readonly weights: Float64Array }
  readonly optimizer: NativeOptimizer
}

export interface NativeOptimizer {
  readonly lr: number
  /** Over the steps of a session; `steps`: how many the task has. */
  readonly lrSchedule?: {
    readonly kind: 'constant' | 'linear' | 'cosine'
    readonly warmup: number
    readonly final: number
    readonly steps: number
  }
  /** Default false. */
  readonly decoupledWeightDecay?: boolean | undefined
  readonly betas: readonly [number, number]
  readonly eps: number
  readonly weightDecay: number
  /** Largest norm of the gradient over all parameters; 0: no clipping. */
  readonly clipGradNorm: number
}

/** What each step of one call of `run` computed, in order. */
export interface NativeTrainReport {
  /** Steps done; fewer than asked for where time was up, or it was cancelled. */
  readonly steps: number
  /** Total loss of each step. */
  readonly losses: Float64Array
  /** steps × terms, unweighted, in the objective's order. */
  readonly terms: Float64Array
  /** steps × penalties: their costs without their strengths, in the objective's order. */
  readonly penalties: Float64Array
  /** Norm of each step's gradient before clipping. */
  readonly gradNorms: Float64Array
  /** Learning rate of each step. */
  readonly learningRates: Float64Array
  /** Why steps can't be recorded as a CUDA graph, where that was tried and failed. */
  readonly graphFailure?: string
}

/** The random draws of one distinct source of an objective; which fields exist depends on the source. */
export interface NativeDraws {
  /** Clean images, float32 in [−1, 1]; for `teacher` it is generated from `z` when absent. */
  readonly x0?: NativeTensor
  readonly noise?: NativeTensor
  readonly timesteps: Int32Array
  /** What the networks are told, where they take labels; the null label where it was dropped. */
  readonly labels?: Int32Array
  /** What the teacher generates, where it takes labels. */
  readonly classes?: Int32Array
  /** Where the teacher's sampler starts, or the Gaussian input. */
  readonly z?: NativeTensor
  /** Noises of the teacher's sampler: noises × N × C × H × W. */
  readonly stepNoise?: NativeTensor
  /** The teacher's prediction; it is asked for it when absent. */
  readonly prediction?: NativeTensor
  /** Keys of the student's dropout, where it has some. */
  readonly dropout?: Int32Array
}

export interface NativeLosses {
  readonly loss: number
  readonly terms: Float64Array
  readonly penalties: Float64Array
  readonly gradNorm: number
}

/** The training of one task; it owns its images, objective and settings, and what is recorded of its steps. */
export interface NativeSession {
  /**
   * Draw → compute → update, until `steps` are done, `milliseconds` have passed or it is cancelled, without returning to JavaScript:
   * whole steps, and at least one unless it is cancelled.
   */
  run(options: { steps: number; milliseconds: number }, cancel: CancelFlag): Promise<NativeTrainReport>
  /**
   * Gives the sources whose pool has this number the images that they draw from, in place of earlier ones. Where the teacher stops at a
   * timestep, the images' labels are their timesteps.
   */
  setReplay(options: { pool: number; images: NativePool }): Promise<void>
  /** Tells the other processes of the learner's group that this one takes no more steps, where they don't know. */
  stop(cancel: CancelFlag): Promise<void>
  /** The draws of the next step. */
  draw(): Promise<NativeDraws[]>
  /** The draws that `consolidate` would now estimate from. */
  drawSamples(consolidation: Consolidation): Promise<NativeDraws>
  /** Adds the task, which ends here, to what is kept for penalties; where it fails or is cancelled, nothing is added. */
  consolidate(consolidations: readonly Consolidation[], cancel: CancelFlag): Promise<void>
  dispose(): void
}

export interface NativeLearner {
  readonly parameters: readonly ParameterInfo[]
  beginSession(options: NativeSessionOptions): Promise<NativeSession>
  /** Loss and gradients for given draws (one entry per distinct source, in order of first appearance); keeps the gradients for `update`. */
  compute(objective: ResolvedObjective, draws: readonly NativeDraws[]): Promise<NativeLosses>
  /**
   * Loss and gradients of Σ weightᵢ · mean((prediction(xt, t) − target)ᵢ²) / N. Timesteps with fractions are noise levels σ/α where the
   * network is told these.
   */
  computeGiven(
    xt: NativeTensor,
    timesteps: Int32Array | Float32Array,
    target: NativeTensor,
    weight: Float32Array,
    labels?: Int32Array | Float32Array,
    /** Whether the network's dropout is on; default: it isn't. */
    dropout?: boolean,
  ): Promise<NativeLosses>
  /** Clip, Adam, EMA with the gradients of the last `compute`. */
  update(optimizer: NativeOptimizer): Promise<void>
  /** Counts a task's steps from here on, and zeroes the optimiser's state unless it is kept. */
  beginTask(keepOptimizer: boolean): Promise<void>
  /**
   * Freezes the weights that sampling uses (EMA if on) as the teacher: decay · the teacher there is + (1 − decay) · weights.
   * Default of decay: 0.
   */
  freezeTeacher(decay?: number): Promise<void>
  /** Whether to follow, from here on, the path of the weights for `path-integral`, which makes its two tensors. */
  followPath(follow: boolean): Promise<void>
  /** What is kept, by name. */
  penalties(): Promise<NativePenalty[]>
  /** All that is kept, as it is at one moment. */
  readPenalties(): Promise<{ name: string; shape: 'diagonal' | 'rank-1'; quadratics: NativeQuadratic[] }[]>
  /** Adds one quadratic to what is kept under the name. */
  writePenalty(penalty: { name: string; shape: 'diagonal' | 'rank-1' } & NativeQuadratic): Promise<void>
  predict(
    weights: 'student' | 'ema' | 'teacher',
    xt: NativeTensor,
    timesteps: Int32Array | Float32Array,
    labels?: Int32Array | Float32Array,
  ): Promise<NativeTensor>
  /** Images in [−1, 1], float32 N×C×H×W. */
  sample(options: NativeSampleOptions & { format: 'float32' }, cancel: CancelFlag): Promise<NativeTensor>
  /** Images, uint8 N×H×W×C. */
  sample(options: NativeSampleOptions & { format: 'uint8' }, cancel: CancelFlag): Promise<Uint8Array>
  /**
   * Mean squared error to what a perfect network would predict, over the images of `pool`, `samples` draws each, in each band of
   * timesteps; band b reaches from `edges[b]` to before `edges[b + 1]`.
   */
  denoisingLoss(
    options: {
      weights: 'student' | 'ema'
      pool: NativePool
      edges: Int32Array
      samples: number
      batchSize: number
      seed: number
    },
    cancel: CancelFlag,
  ): Promise<Float64Array>
  has(tensor: StateTensor): boolean
  /** The tensor in `parameters` order, row-major; `gradient`: that of the last `compute`. */
  read(tensor: StateTensor | 'gradient'): Promise<Float32Array[]>
  /** Makes the tensor where there is none yet. */
  write(tensor: StateTensor, values: readonly Float32Array[]): Promise<void>
  readonly state: NativeState
  setState(state: NativeState): Promise<void>
  dispose(): void
}

/** With the seed, the steps done since creation and since the task began are the whole random state. */
export interface NativeState {
  readonly seed: number
  readonly step: number
  readonly taskStep: number
  /** Adam's number of steps. */
  readonly optimizerStep: number
}

export interface NativeSampleOptions {
  readonly weights: 'student' | 'ema' | 'teacher'
  readonly count: number
  readonly batchSize: number
  readonly sampler: SamplerConfig
  readonly seed: number
  readonly use: { readonly purpose: (typeof sampleUses)[keyof typeof sampleUses]; readonly part: number }
  /** One per image, for a network that takes labels. */
  readonly labels?: Int32Array | Float32Array | undefined
  /** The weaker network of the sampler's guidance. Default: this one, told the null label. */
  readonly guide?: { readonly learner: NativeLearner; readonly weights: 'student' | 'ema' } | undefined
  /** One per image, where its sampling stops, for partial generation. */
  readonly stopTimesteps?: Int32Array
  /** In place of what the seed draws: count × C × H × W. */
  readonly start?: Float32Array | undefined
  /** In place of what the seed draws: noises × count × C × H × W. */
  readonly stepNoise?: Float32Array | undefined
  /** Of each `turns` batches only number `turn` is generated; the images of the others are zeros. Default: all are. */
  readonly turn?: number
  readonly turns?: number
}
