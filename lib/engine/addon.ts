/**
 * The typed contract of the C++ addon. Only lib/engine and the files that wrap one native object import this and the files native-*.ts beside
 * it; every call that computes runs on the environment's engine thread and returns a promise. Tensors cross as typed arrays in
 * row-major order: images as uint8 N×H×W×C, everything inside the diffusion process as float32 N×C×H×W.
 */

import type { ResolvedEma } from '../config/ema.js'
import type { SamplerConfig } from '../config/sampler.js'
import type { ScheduleConfig, ScheduleTable } from '../config/schedule.js'
import type { UNetConfig } from '../config/unet.js'
import type { ImageBatch } from '../data/dataset.js'
import type { ImageSize } from '../validation/size.js'
import type { NativeLearner } from './native-learner.js'
import type { CancelFlag, NativeImages, NativePool, NativeStoredImages, NativeTensor } from './native-values.js'
import type { Bootstrap, NativeMoments, ParameterInfo } from './state.js'

export interface NativeClassifierOptions {
  readonly pool: NativePool
  readonly batchSize: number
  /** The call trains until these steps are done, or `milliseconds` have passed: at least one step unless it is cancelled. */
  readonly steps: number
  readonly milliseconds: number
  readonly lr: number
  readonly horizontalFlip: boolean
  /** Largest random shift of a labelled image, in pixels. */
  readonly shift: number
  /** Probability that a feature is left out in a step. */
  readonly dropout: number
  /**
   * Images without labels, with another classifier's logits: `images` has as many for each step, in the order of the steps; from `pool`
   * each step draws as many as labelled images, with replacement.
   */
  readonly softLabelled?: ({ readonly images: ImageBatch } | { readonly pool: NativeImages }) & {
    /** count × classes. */
    readonly logits: Float32Array
    readonly temperature: number
    /**
     * The soft loss is temperature² · mean −Σ softmax(a / temperature) · log softmax(b / temperature). False: a is the other
     * classifier and b the one in training; true: the other way round.
     */
    readonly swapped: boolean
    /** The loss is labelledWeight · cross-entropy + weight · soft loss. */
    readonly labelledWeight: number
    readonly weight: number
  }
}

/** A small convolutional classifier, whose penultimate layer gives the built-in features. */
export interface NativeClassifier {
  readonly parameters: readonly ParameterInfo[]
  /** Width of the feature layer. */
  readonly features: number
  train(
    options: NativeClassifierOptions,
    cancel: CancelFlag,
  ): Promise<{ loss: number; accuracy: number; steps: number }>
  /** Zeroes the optimiser's state and begins epochs anew. */
  beginTask(): Promise<void>
  /** Training steps done since creation: with the seed it decides the draws of the next task. */
  step(): Promise<number>
  setStep(step: number): Promise<void>
  /** uint8 N×H×W×C → features (N × features) and logits (N × classes). */
  classify(images: ImageBatch): Promise<{ features: Float32Array; logits: Float32Array }>
  read(): Promise<Float32Array[]>
  write(tensors: readonly Float32Array[]): Promise<void>
  dispose(): void
}

/** A network of the user's from a TorchScript file, that turns images into features. */
export interface NativeTorchScript {
  /** Width of its output. */
  readonly dimension: number
  /** uint8 N×H×W×C → N × dimension. */
  features(images: ImageBatch): Promise<Float32Array>
  dispose(): void
}

/** Where a process meets the others of its group. */
export interface GroupAddress {
  readonly host: string
  readonly port: number
  readonly rank: number
  readonly size: number
  /** Number of its CUDA device. */
  readonly device: number
}

/** The processes that train one model together. */
export interface NativeGroup {
  readonly rank: number
  readonly size: number
  /** What carries the sums, with its version. */
  readonly transport: string
  /** Replaces the array by its sum over the group; `bits`: of its bits, where others have zeros. Called by all in the same order. */
  sum(array: Uint8Array | Float32Array | Float64Array, bits: boolean, cancel: CancelFlag): Promise<void>
  /**
   * How to leave as the engine's thread ends: how many seconds to wait for the others before they are ended (0: no limit), and what they are told,
   * e.g. `has ended`.
   */
  leaving(seconds: number, why: string): void
  /** Another process is lost, of which MPI does not tell: whoever waits for it gets `ERR_GROUP` with what is said. */
  lose(said: string): void
  dispose(): void
}

export interface Addon {
  readonly version: string
  /** Version of the libtorch that the process runs, e.g. `2.13.0`. */
  readonly libtorchVersion: string
  /** Null where libtorch has no CUDA. */
  readonly cudaVersion: string | null
  /**
   * Stops the engine: the running job ends at its next poll, what waits is dropped, and the thread is joined. For the
   * process's `exit` event: on `process.exit()` and uncaught errors Node runs libtorch's static destructors without the
   * environment's clean-up hooks before them.
   */
  close(): void
  /**
   * Waits for the processes that a launcher started with this one: by a library of MPI's standard ABI, or at an address, each with a CUDA device of
   * its own.
   */
  joinGroup(
    options: { gradients: 'fp32' | 'bf16' } & ({ library: string } | { address: GroupAddress }),
  ): Promise<NativeGroup>
  /** Version of a library of MPI's standard ABI or, without one, of NCCL. For a trial process only. Throws where it can't be loaded. */
  transportVersion(library?: string): string
  /** Locks an open file (flock) until it is closed, which the end of the process does too. */
  lockFile(fd: number): 'taken' | 'held' | 'unsupported'
  /** Bytes of memory that this process can still use. */
  availableMemory(): number
  /** Bytes that tensors take on the CUDA device of this number, and the most that they have taken in this process; 0 before the first. */
  cudaMemory(index: number): { readonly used: number; readonly peak: number }
  /** Swaps what two paths of one file system name, in one step (renameat2); false where it couldn't. */
  exchange(a: string, b: string): boolean
  /**
   * Names of the CUDA devices, none where there is no driver or device. Starts the driver, and so is for a trial process
   * only. Throws where CUDA can't start.
   */
  cudaDevices(): string[]
  /** Computes something on a CUDA device, which takes seconds. For a trial process only. Throws what is wrong with it. */
  tryCudaDevice(index: number): void
  /**
   * Compiles the CUDA kernels of our own, compares what they give with what libtorch's operators give, and tells why the
   * operators serve; null where ours do. Takes seconds. For a trial process only.
   */
  tryCudaKernels(index: number): string | null
  /** Lets libtorch's operators serve on a device, because its trial process told why ours can't. */
  useNoCudaKernels(index: number, why: string): void
  /** e.g. `AVX512`; and whether the CPU multiplies bf16 natively. */
  cpu(): { capability: string; bf16: boolean; amx: boolean; threads: number }
  /** Makes room for `count` images, black as yet, and brings the first ones, or all of them, there. */
  createImages(
    options: NativeStoredImages & {
      labels: Int32Array
      count: number
      /** What to resize to; 0: as given. */
      size: ImageSize
      device: string
    },
  ): Promise<NativeImages>
  /** Images of a resident set as they are there, resized: uint8 N×H×W×C. */
  readImages(images: NativeImages, indices: Int32Array): Promise<Uint8Array>
  createLearner(options: {
    unet: UNetConfig
    schedule: ScheduleTable
    prediction: ScheduleConfig['prediction']
    device: string
    precision: string
    threads?: number | undefined
    seed: number
    ema: ResolvedEma
    /** With which it is trained. Default: by this process alone. */
    group?: NativeGroup | undefined
  }): Promise<NativeLearner>
  /** What a learner of this U-Net would have as `parameters`; takes no memory for it. */
  unetParameters(unet: UNetConfig): readonly ParameterInfo[]
  createClassifier(options: {
    channels: number
    classes: number
    device: string
    threads?: number | undefined
    seed: number
  }): Promise<NativeClassifier>
  /** A sampler's timesteps with, for each, the one it goes to (−1: the clean image). */
  samplerTimesteps(options: { schedule: ScheduleTable; sampler: SamplerConfig }): {
    timesteps: Float64Array
    previous: Float64Array
  }
  /**
   * A sampler's trajectory from `start`, with a network whose predictions are given in the order in which it is called: the images
   * before each step and at the end.
   */
  samplerTrajectory(options: {
    schedule: ScheduleTable
    prediction: ScheduleConfig['prediction']
    sampler: SamplerConfig
    start: NativeTensor
    predictions: readonly NativeTensor[]
    noises: readonly NativeTensor[]
  }): Promise<Float32Array[]>
  /**
   * Adds rows (N × D, float32) to running moments, in place, in float64: `mean` (D) and `m2` (D × D, the centred sum
   * of outer products), which hold `count` rows so far.
   */
  accumulateMoments(features: Float32Array, count: number, mean: Float64Array, m2: Float64Array): Promise<void>
  /** Opens a TorchScript file, which runs the code in it. */
  loadTorchScript(options: {
    file: string
    device: string
    threads?: number | undefined
    /** What images are resized to; 0: they are given as they are. */
    size: ImageSize
    /** What the bytes 0 and 255 become. */
    range: readonly [number, number]
    /** What the network takes; grey images are repeated. */
    channels: number
    /** Further arguments of `forward`, by name. */
    arguments: Readonly<Record<string, number | boolean>>
    /** Which part of an output that is a tuple or list (position) or a dictionary (key). */
    output: number | string | undefined
  }): Promise<NativeTorchScript>
  /** Unbiased MMD² of rows with D columns in the kernel (x·y / D + 1)³ or, with σ, exp(−|x − y|² / 2σ²), over all pairs. */
  kernelDistance(
    real: readonly Float32Array[],
    generated: readonly Float32Array[],
    dimension: number,
    cancel: CancelFlag,
    sigma?: number,
  ): Promise<number>
  /** {@link kernelDistance} of random subsets of as many real and generated rows. */
  kernelDistances(
    real: readonly Float32Array[],
    generated: readonly Float32Array[],
    dimension: number,
    options: { subsets: number; size: number; seed: number },
    cancel: CancelFlag,
  ): Promise<Float64Array>
  /** Counts by category of resamples with replacement, replicates × categories. */
  resampledCounts(counts: Float64Array, options: Bootstrap, cancel: CancelFlag): Promise<Float64Array>
  /** {@link frechetDistance} to resamples with replacement of the rows. */
  resampledFrechetDistances(
    real: NativeMoments,
    rows: readonly Float32Array[],
    options: Bootstrap,
    cancel: CancelFlag,
  ): Promise<Float64Array>
  /** Fraction of `points` that lie within a ball around a row of `manifold` whose radius is the distance to its k-th nearest. */
  coverage(
    manifold: readonly Float32Array[],
    points: readonly Float32Array[],
    dimension: number,
    k: number,
    cancel: CancelFlag,
  ): Promise<number>
  /** Fréchet distance of the Gaussians with the moments that `accumulateMoments` made of two rows or more each. */
  frechetDistance(a: NativeMoments, b: NativeMoments): Promise<number>
}
