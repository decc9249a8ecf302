import { z } from 'zod'
import { timestepsSchema } from '../config/schedule.js'
import type { Consolidation, Method, Objective } from './objective.js'
import { taskNumber, taskTerm } from './terms.js'

/** Factor of a penalty in the loss: any finite number ≥ 0. */
export const strengthSchema = z.number().min(0)

/**
 * How a Fisher matrix is estimated when a task ends: from how many gradients, and at which timesteps.
 *
 * @category Methods
 */
export interface FisherOptions {
  /**
   * Number of gradients, each of one image with one t and one ε; ≥ 1. Each gradient costs a forward and a backward pass over one image.
   * {@link rankOneEwc} with `factor: 'optimal'` passes over the samples twice, so each costs two of these. Default 256.
   */
  samples?: number
  /** Range [from, to) from which the timesteps are drawn, 0 ≤ from < to ≤ T. Default: [0, T). */
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
