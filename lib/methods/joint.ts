import { z } from 'zod'
import { parseOptions } from '../options.js'
import type { Method } from './objective.js'
import { taskNumber, taskTerm } from './terms.js'

const schema = z.strictObject({}).prefault({})

/**
 * Trains on the data of all tasks so far, weights kept from task to task: L = ‖ε − ε_θ(x_t, t)‖². The upper bound, as it
 * keeps what the other methods have to do without.
 */
export function joint(options?: Record<string, never>): Method {
  parseOptions(schema, options, 'joint')
  return {
    name: 'joint',
    data: 'cumulative',
    objective(k) {
      taskNumber(k)
      return { terms: [taskTerm] }
    },
  }
}
