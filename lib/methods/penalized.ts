import { z } from 'zod'
import type { Consolidation, Method, Objective } from './objective.js'
import { timestepsSchema } from './objective-schema.js'
import { taskNumber, taskTerm } from './terms.js'

/** Factor of a penalty in the loss: any finite number ≥ 0. */
export const strengthSchema = z.number().min(0)

/**
 * How many gradients of single images a Fisher matrix is estimated from, and at which timesteps.
 *
 * @category Methods
 */
export interface FisherOptions {
  /** Gradients, each of one image with one t and ε; ≥ 1. Each costs a step of batch size 1. Default 256. */
  samples?: number
  /** Timesteps are drawn from [from, to), 0 ≤ from < to ≤ T. Default: all. */
  timesteps?: readonly [from: number, to: number]
}

/** Fields of a schema for {@link FisherOptions}. */
export const fisherShape = { samples: z.int().min(1).default(256), timesteps: timestepsSchema.optional() }

/** A method that learns each task alone, from the second on with a penalty of its own name, which `kept` feeds. */
export function penalized(name: string, strength: number, kept: Consolidation): Method {
  return {
    name,
    keeps: { consolidations: [kept] },
    objective: (k): Objective =>
      taskNumber(k) === 1 ? { terms: [taskTerm] } : { terms: [taskTerm], penalties: [{ name, strength }] },
  }
}
