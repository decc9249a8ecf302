import { types } from 'node:util'
import { z } from 'zod'
import { emaSchema } from '../config/ema.js'
import { scheduleSchema } from '../config/schedule.js'
import { drawnTimestepsSchema } from '../config/timesteps.js'
import { sampleSizeSchema } from '../config/unet.js'
import type { Subset } from '../data/dataset.js'
import { subsetSchema } from '../data/schemas.js'
import { groupSchema } from '../engine/group.js'
import { ImageStore } from '../engine/image-store.js'
import { optimizerStateSchema } from '../methods/objective-schema.js'
import type { taskSchema } from '../streams/schemas.js'
import {
  arraySchema,
  batchSizeSchema,
  deviceSchema,
  functionSchema,
  mostSteps,
  precisionSchema,
  seedSchema,
  signalSchema,
  threadsSchema,
} from '../validation/fields.js'
import { isRecord } from '../validation/options.js'
import {
  type ChangeableSetting,
  type LearnOptions,
  lrScheduleKinds,
  type ReplayClassifier,
  type TrainOptions,
} from './learn-options.js'
import type { Label, NetworkLabels } from './options.js'
import type { ValidationOptions } from './validation-options.js'

/** Schemas of the learner's options. */

const positive = z.number().positive()
const rate = z.number().min(0).lt(1)

const updateShape = {
  lr: positive.default(2e-4),
  betas: z.tuple([rate, rate]).readonly().default([0.9, 0.999]),
  eps: positive.default(1e-8),
  weightDecay: z.number().min(0).default(0),
  decoupledWeightDecay: z.boolean().optional(),
  clipGradNorm: z.number().min(0).default(1),
}

const batchSize = batchSizeSchema.default(128)

const lrScheduleKind = z.enum(lrScheduleKinds)
const lrSchedule = z.union([
  lrScheduleKind.transform((kind) => ({ kind, warmup: 0, final: 0 })),
  z.strictObject({
    kind: lrScheduleKind.default('constant'),
    warmup: z.int().min(0).max(mostSteps).default(0),
    final: z.number().min(0).max(1).default(0),
  }),
])

export const createSchema = z.strictObject({
  unet: z.unknown().optional(),
  schedule: scheduleSchema.optional(),
  sampler: z.unknown().optional(),
  device: deviceSchema.default('auto'),
  precision: precisionSchema.default('auto'),
  threads: threadsSchema.optional(),
  seed: seedSchema.default(0),
  ema: emaSchema.default(0),
  images: z.instanceof(ImageStore).optional(),
  group: groupSchema.optional(),
})

/** Fields of a schema for a model from elsewhere, in experiments too. */
export const modelShape = {
  /** The variant of its weights, e.g. `fp16`. */
  variant: z
    .string()
    .regex(/^[\w-]+$/, "expected a variant's name, as fp16")
    .optional(),
  /** Side of square images, or height and width, in place of the model's `sample_size`. */
  sampleSize: sampleSizeSchema.optional(),
}
export const learnedBeforeSchema = z.int().min(0).max(mostSteps)

export const loadSchema = z.strictObject({
  device: deviceSchema.default('auto'),
  precision: precisionSchema.optional(),
  threads: threadsSchema.optional(),
  ...modelShape,
  schedule: scheduleSchema.optional(),
  sampler: z.unknown().optional(),
  learnedBefore: learnedBeforeSchema.optional(),
  seed: seedSchema.optional(),
  ema: emaSchema.optional(),
  images: z.instanceof(ImageStore).optional(),
  group: groupSchema.optional(),
})

export const saveSchema = z.strictObject({ format: z.enum(['model', 'pipeline']).default('model') })

/** Fields of a schema for a validation, in experiments too. */
const validationShape = {
  /** Training steps between two validations. */
  every: z.int().min(1),
  /** Part of each task's training images that is held out, drawn by the seed. */
  fraction: z.number().gt(0).lt(1),
  /** Draws of timestep and noise for each image. */
  samples: z.int().min(1).max(1_000_000).default(1),
  /** Images in one forward pass. */
  batchSize,
  /** The task ends when so many validations in a row were no better. Default: it doesn't. */
  patience: z.int().min(1).optional(),
  /** By how much the loss must be lower than the best to be better. */
  minDelta: z.number().min(0).default(0),
  /** Whether the task ends with the weights of its best validation. */
  keepBest: z.boolean().default(false),
}

const validation = z
  .strictObject({
    ...validationShape,
    fraction: validationShape.fraction.optional(),
    images: z
      .union([z.array(subsetSchema).readonly(), subsetSchema.transform((one): readonly Subset[] => [one])])
      .optional(),
    metric: functionSchema<NonNullable<ValidationOptions['metric']>>().optional(),
  })
  .refine(
    (given) => [given.fraction, given.images, given.metric].filter((one) => one !== undefined).length === 1,
    'expected exactly one of fraction, images and metric',
  )
export type ParsedValidation = z.output<typeof validation>

/** Fields of a schema for what a task is trained with, in experiments too; {@link oneLength} goes with them. */
export const trainShape = {
  /** Training steps for each task; exactly one of `steps` and `epochs`. */
  steps: z.int().min(1).max(mostSteps).optional(),
  /** Passes over each task's data. */
  epochs: positive.optional(),
  batchSize,
  /** A step's batch is so many times `batchSize`, worked on one after the other. Default: once. */
  accumulate: z.int().min(1).max(100_000).optional(),
  ...updateShape,
  /** How the learning rate changes over a task's steps: a kind, or with warm-up. Default: not at all. */
  lrSchedule: lrSchedule.optional(),
  /** Where the terms draw their timesteps that don't say so themselves: a range [from, to), or a distribution. Default: uniformly in [0, T). */
  timesteps: drawnTimestepsSchema.optional(),
  horizontalFlip: z.boolean().default(false),
  /** What a task after the first begins with: a fresh state of Adam, or that of the last task. Default: the method's. */
  optimizer: optimizerStateSchema.optional(),
  /** For a class-conditional network: the probability of the null label. */
  labelDropout: rate.default(0),
  /** For a class-conditional network: how likely each class is for what the teacher generates; weights by class name. */
  replayLabels: z.union([z.enum(['uniform', 'frequency']), z.record(z.string(), z.number().min(0))]).default('uniform'),
  /** For a class-conditional network: whether its table of classes gets rows for classes that it has none for. */
  grow: z.boolean().default(false),
  /** Validation on held-out images, with early stopping and the best weights as options. Default: none. */
  validation: z.strictObject(validationShape).optional(),
}
export const oneLength = [
  (train: { steps?: number | undefined; epochs?: number | undefined }) =>
    (train.steps === undefined) !== (train.epochs === undefined),
  'expected exactly one of steps and epochs',
] as const

/** Settings that a resumed task may change. */
export const changeable = ['lr', 'steps'] as const satisfies readonly ChangeableSetting[]

export const learnSchema = z
  .strictObject({
    ...trainShape,
    validation: validation.optional(),
    memory: z.array(subsetSchema).readonly().optional(),
    resume: z
      .union(
        [z.boolean(), z.strictObject({ change: z.array(z.enum(changeable)).readonly() })],
        "expected true, false, or { change: ['lr', 'steps'] } or one of the two",
      )
      .default(false),
    classifier: z
      .custom<ReplayClassifier>(
        (c) => isRecord(c) && Array.isArray(c.classes) && typeof c.classify === 'function',
        'expected a Solver, a Classifier, or an object with classes and classify',
      )
      .optional(),
    onPool: functionSchema<NonNullable<LearnOptions['onPool']>>().optional(),
    onStep: functionSchema<NonNullable<LearnOptions['onStep']>>().optional(),
    onValidation: functionSchema<NonNullable<LearnOptions['onValidation']>>().optional(),
    callback: functionSchema<NonNullable<LearnOptions['callback']>>().optional(),
    callbackEvery: z.int().min(1).optional(),
    signal: signalSchema.optional(),
  })
  .refine(...oneLength)
  .refine(
    ({ callback, callbackEvery }) => (callback === undefined) === (callbackEvery === undefined),
    'expected callback and callbackEvery together',
  )

/** What training takes besides what {@link learnSchema} has. */
export const trainSchema = z.looseObject({
  onProgress: functionSchema<NonNullable<TrainOptions['onProgress']>>().optional(),
})

/** What learning takes of a task. */
export type LearnedTask = z.output<typeof taskSchema>

export const sampleSchema = z.strictObject({
  count: z.int().min(1),
  batchSize,
  sampler: z.unknown().optional(),
  labels: z
    .custom<Label | readonly Label[] | NetworkLabels>(
      (value) =>
        (Array.isArray(value) ? value.every(isLabel) : isLabel(value)) ||
        types.isInt32Array(value) ||
        types.isFloat32Array(value),
      'expected a class name, a class index or null, a list of them, an Int32Array or a Float32Array',
    )
    .optional(),
  guide: z.unknown().optional(),
  seed: z.int().min(0).optional(),
  start: arraySchema(Float32Array).optional(),
  stepNoise: arraySchema(Float32Array).optional(),
  format: z.enum(['uint8', 'float32']).default('uint8'),
  signal: signalSchema.optional(),
  onProgress: functionSchema<(progress: { done: number; total: number }) => void>().optional(),
})

function isLabel(value: unknown): value is Label {
  return value === null || typeof value === 'string' || typeof value === 'number'
}

export const denoisingLossSchema = z.strictObject({
  bands: z.union([z.int().min(1), z.array(z.int().min(0)).min(2).readonly()]).default(10),
  samples: z.int().min(1).max(1_000_000).default(1),
  batchSize,
  seed: z.int().min(0).optional(),
  signal: signalSchema.optional(),
})

export const stepSchema = z.strictObject({
  ...updateShape,
  xt: arraySchema(Float32Array),
  timesteps: z.union([arraySchema(Int32Array), arraySchema(Float32Array)]),
  target: arraySchema(Float32Array),
  labels: z.union([arraySchema(Int32Array), arraySchema(Float32Array)]).optional(),
  weight: z.union([arraySchema(Float32Array), z.number().min(0)]).default(1),
  dropout: z.boolean().default(false),
})
