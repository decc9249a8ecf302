import { z } from 'zod'
import {
  type SamplerConfig,
  type SamplerOptions,
  teacherSamplerSchema,
  teacherSamplerSchemaOf,
} from '../config/sampler.js'
import { drawnTimestepsSchema, type Timesteps } from '../config/timesteps.js'
import { ContinualDiffusionError } from '../errors.js'
import { shown } from '../validation/options.js'
import type { Method, Objective, ReplayPool, Source, Term } from './objective.js'
import { poolSchema, poolSchemaWith } from './objective-schema.js'

/**
 * The sampler by which the teacher generates images of the earlier tasks. Fields that are left out have the defaults of the paper: DDIM in
 * 2 steps, η = 0, x̂₀ clipped, trailing timesteps.
 *
 * @category Methods
 */
export type TeacherOptions = SamplerOptions

/**
 * Options of the methods that have a teacher.
 *
 * @category Methods
 */
export interface TeacherTermOptions {
  /**
   * Makes the teacher a moving average over tasks: when a task ends, new teacher = decay · old teacher + (1 − decay) · weights;
   * 0 ≤ decay < 1. Default 0: the teacher is a copy of the weights. `LearnerOptions.ema` is an average over training steps; with it,
   * the teacher is made from that average.
   */
  teacherDecay?: number
  /** Where the term for the earlier tasks draws its timesteps; its weight stays the same. Default: `LearnOptions.timesteps`. */
  timesteps?: Timesteps
}

/**
 * Options of the methods whose teacher generates images for the earlier tasks.
 *
 * @category Methods
 */
export interface TeacherMethodOptions extends TeacherTermOptions {
  /** Weight λ of the loss on the teacher's images; ≥ 0. The default depends on the method. */
  lambda?: number
  /** The sampler by which the teacher generates images. */
  teacher?: TeacherOptions
  /** A pool of images that steps draw from. Default: none, the teacher generates images anew for every step, as in the paper. */
  pool?: ReplayPool
}

/**
 * Options of the methods that have a replay pool.
 *
 * @category Methods
 */
export interface PooledMethodOptions extends Omit<TeacherMethodOptions, 'pool'> {
  /** The pool of images that steps draw from. Fields that are left out keep the method's defaults. */
  pool?: Partial<ReplayPool>
}

/** Weight of what the earlier tasks add to the loss: any finite number ≥ 0. */
export const lambdaSchema = z.number().min(0)

/** Fields of a schema for {@link TeacherTermOptions}. */
export const teacherTermShape = {
  teacherDecay: z.number().min(0).lt(1).default(0),
  timesteps: drawnTimestepsSchema.optional(),
}

/** Fields of a schema for how the teacher's images are generated. */
export const generationShape = { teacher: teacherSamplerSchema, pool: poolSchema.optional() }

/** Fields of a schema for {@link PooledMethodOptions}, with the method's pool: λ is 0.75 by default, and the teacher takes 20 steps. */
export const pooledMethodShape = (pool: Parameters<typeof poolSchemaWith>[0]) => ({
  lambda: lambdaSchema.default(0.75),
  teacher: teacherSamplerSchemaOf(20),
  pool: poolSchemaWith(pool),
  ...teacherTermShape,
})

/** Schema of {@link TeacherMethodOptions}. */
export const teacherMethodSchema = (lambda: number) =>
  z.strictObject({ lambda: lambdaSchema.default(lambda), ...generationShape, ...teacherTermShape }).prefault({})

/** The source with the teacher's images. */
export function generated(
  { teacher, pool }: { teacher: SamplerConfig; pool?: ReplayPool | undefined },
  rest: { stopAtTimestep?: boolean } = {},
): Source {
  return { kind: 'teacher', sampler: teacher, ...rest, ...(pool && { pool }) }
}

/** What a term's options say of its timesteps. */
export function gate<T extends Timesteps>(timesteps: T | undefined): { timesteps?: T } {
  return timesteps === undefined ? {} : { timesteps }
}

/** What a method keeps whose teacher is an average. */
export function keepsTeacher(teacherDecay: number): Pick<Method, 'keeps'> {
  return teacherDecay === 0 ? {} : { keeps: { teacherDecay } }
}

/** Learning the task itself: the squared error between the target of its real images (ε, x₀ or v) and the prediction. */
export const taskTerm: Term = { source: { kind: 'task' }, target: 'data', weight: 1 }

/** Checks a task number. */
export function taskNumber(k: number): number {
  if (Number.isSafeInteger(k) && k >= 1) return k
  throw new ContinualDiffusionError(
    'ERR_INVALID_ARGUMENT',
    `objective: the task number is ${shown(k)}; expected 1, 2, 3 …`,
  )
}

/**
 * L = (1/k)·L_task + (1 − 1/k)·λ·L_earlier for task k, and L = L_task for the first: as many parts for the new task as for
 * each of the k − 1 before it.
 */
export function balanced(k: number, lambda: number, earlier: Omit<Term, 'weight'>): Objective {
  if (taskNumber(k) === 1) return { terms: [taskTerm] }
  return {
    terms: [
      { ...taskTerm, weight: 1 / k },
      { ...earlier, weight: (1 - 1 / k) * lambda },
    ],
  }
}
