import { z } from 'zod'
import { parseOptions } from '../validation/options.js'
import type { Method } from './objective.js'
import { taskNumber, taskTerm } from './terms.js'

/**
 * Options of {@link joint}.
 *
 * @category Methods
 */
export interface JointOptions {
  /**
   * - `paper` (default): an epoch is a pass over the data of all tasks so far, as in the paper. So the last of n equal tasks gets n times
   *   as many steps as with the other methods.
   * - `equal`: an epoch has as many steps as with the other methods.
   *
   * When `learn` is given `steps` instead of `epochs`, both take these steps.
   */
  compute?: 'paper' | 'equal'
}

const schema = z.strictObject({ compute: z.enum(['paper', 'equal']).default('paper') }).prefault({})

/**
 * Trains on the data of all tasks so far: L = ‖ε − ε_θ(x_t, t)‖². The weights are kept from task to task. It is the upper bound for the
 * other methods, which can't use the data of the earlier tasks.
 *
 * A baseline of Masip et al. 2024 (arXiv 2311.14028), who also keep the weights and train on all data so far.
 *
 * @category Methods
 */
export function joint(options?: JointOptions): Method {
  const { compute } = parseOptions(schema, options, 'joint')
  return {
    name: 'joint',
    data: 'cumulative',
    ...(compute === 'equal' ? { epochOf: 'task' } : {}),
    objective(k) {
      taskNumber(k)
      return { terms: [taskTerm] }
    },
  }
}
