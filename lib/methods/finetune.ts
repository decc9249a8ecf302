import { z } from 'zod'
import { parseOptions } from '../validation/options.js'
import type { Method } from './objective.js'
import { taskNumber, taskTerm } from './terms.js'

const schema = z.strictObject({}).prefault({})

/**
 * Trains on each task's own data and does nothing against forgetting: L = ‖ε − ε_θ(x_t, t)‖² (arXiv 2006.11239). It is the lower bound
 * for the other methods.
 *
 * @category Methods
 */
export function finetune(options?: Record<string, never>): Method {
  parseOptions(schema, options, 'finetune')
  return {
    name: 'finetune',
    objective(k) {
      taskNumber(k)
      return { terms: [taskTerm] }
    },
  }
}
