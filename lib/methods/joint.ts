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
   * - `paper` (default): an epoch is a pass over the data of all tasks so far, as in the paper, so that in a stream of n equal
   *   tasks the last is trained n times as long as by the other methods;
   * - `equal`: an epoch has as many steps as for the other methods.
   *
   * Where `learn` is given steps and not epochs, it takes these steps either way.
   */
  compute?: 'paper' | 'equal'
}

const schema = z.strictObject({ compute: z.enum(['paper', 'equal']).default('paper') }).prefault({})

/**
 * Trains on the data of all tasks so far, weights kept from task to task: L = ‖ε − ε_θ(x_t, t)‖². The upper bound, as it
 * keeps what the other methods have to do without.
 *
 * A baseline of Masip et al. 2024 (arXiv 2311.14028), cumulative and warm-started as there.
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
