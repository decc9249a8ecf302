import { z } from 'zod'
import type { SamplerOptions } from '../config/sampler.js'
import { imagesSchema } from '../data/schemas.js'
import { ImageStore } from '../engine/image-store.js'
import type { ReplayImages } from '../learner/options.js'
import {
  batchSizeSchema,
  type Device,
  deviceSchema,
  functionSchema,
  seedSchema,
  signalSchema,
  threadsSchema,
} from '../validation/fields.js'
import { isRecord } from '../validation/options.js'

/**
 * Options of `Solver.create`.
 *
 * @category Classifiers
 */
export interface SolverOptions {
  /** Seed of the first weights, of all random draws and of the generated images, 0 … 2³² − 1. Default 0. */
  seed?: number
  /** Default `auto`. The solver computes in float32. */
  device?: Device
  /** Threads of the CPU that compute it, 1 … 1024. Another number gives other digits. Default: libtorch's, see `OMP_NUM_THREADS`. */
  threads?: number | undefined
  /** Store of the images on the device, which learners and classifiers may share. Default: the solver makes its own. */
  images?: ImageStore
}

/**
 * Options of `Solver.learn`.
 *
 * @category Classifiers
 */
export interface SolverLearnOptions {
  /** Passes over the task's images: ⌈epochs × images / batchSize⌉ steps. It may be a fraction. Default 20. */
  epochs?: number
  /** Number of real images in a step, and also of generated images. Default 128. */
  batchSize?: number
  /** Learning rate of Adam. Default 1e-3. */
  lr?: number
  /**
   * What the solver learns of generated images. `soft-labels` (default): what the old classifier says of them; `labels`: by cross-entropy, the
   * class that each was asked for as, of a class-conditional generator.
   */
  target?: 'soft-labels' | 'labels'
  /** Temperature T of the soft labels: the larger, the softer; > 0. Default 2. */
  temperature?: number
  /**
   * The loss on generated images with soft labels, for logits z of the solver and z* of the old classifier, at temperature T, averaged over images:
   *
   * - `standard` (default): −T² · Σ_c softmax(z*⁄T)_c · log softmax(z⁄T)_c (Hinton, Vinyals and Dean, arXiv 1503.02531);
   * - `paper`: −T² · Σ_c softmax(z⁄T)_c · log softmax(z*⁄T)_c, with solver and old classifier swapped, as in the paper's code.
   */
  distillation?: 'standard' | 'paper'
  /** Dropout: the probability that a feature is left out in a step, 0 ≤ p < 1. Default 0.25. */
  dropout?: number
  /** Whether every drawn real image is mirrored with probability ½. Default false. */
  horizontalFlip?: boolean
  /** The sampler of the generated images. Fields that are left out are those of the generator's sampler. Not used with `replay`. */
  sampler?: SamplerOptions
  /**
   * Generated images of the earlier tasks, e.g. from `Learner.replayPool`. Each step draws from them, with replacement. Default: the generator
   * generates `batchSize` new images for each step. With `target: 'labels'` they need their `labels`.
   */
  replay?: ReplayImages | undefined
  /** An abort rejects with `signal.reason`; the solver is then as after its last whole step. */
  signal?: AbortSignal
  /** Called about five times a second during training (where the generator makes images for each step: after every step), with the mean loss since the last call. */
  onProgress?: (progress: { step: number; steps: number; loss: number }) => void
}

export const createSchema = z.strictObject({
  seed: seedSchema.default(0),
  device: deviceSchema.default('auto'),
  threads: threadsSchema.optional(),
  images: z.instanceof(ImageStore).optional(),
})

export const learnSchema = z.strictObject({
  epochs: z.number().positive().default(20),
  batchSize: batchSizeSchema.default(128),
  lr: z.number().positive().default(1e-3),
  target: z.enum(['soft-labels', 'labels']).default('soft-labels'),
  temperature: z.number().positive().default(2),
  distillation: z.enum(['standard', 'paper']).default('standard'),
  dropout: z.number().min(0).lt(1).default(0.25),
  horizontalFlip: z.boolean().default(false),
  sampler: z.custom<SamplerOptions>(isRecord, 'expected an object').optional(),
  replay: (imagesSchema as z.ZodType<ReplayImages>).optional(),
  signal: signalSchema.optional(),
  onProgress: functionSchema<NonNullable<SolverLearnOptions['onProgress']>>().optional(),
})
