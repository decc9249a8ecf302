import { z } from 'zod'
import { parseOptions } from '../validation/options.js'
import { generativeDistillation } from './generative-distillation.js'
import type { Method } from './objective.js'
import { type PooledMethodOptions, pooledMethodShape } from './terms.js'

const schema = z.strictObject(pooledMethodShape(10, { reuse: 10, classes: 'even' })).prefault({})

/**
 * {@link generativeDistillation} as this project recommends it. The teacher generates a {@link ReplayPool} in 10 steps when a task begins;
 * each of its images is used ten times on average (`reuse: 10`), which takes half the network evaluations of the paper's 2 steps for every step's images.
 * Steps draw from it evenly by class, so `learn` needs a `classifier`, e.g. a {@link Solver}. Adam's state is kept across tasks.
 *
 * The experiment `recommended` compares it with the paper's method, paired by seed.
 *
 * @param options.lambda default 0.75
 * @param options.teacher default 10 steps
 * @param options.pool default `{ reuse: 10, classes: 'even' }`, of which each field is a default by itself
 *
 * @category Methods
 */
export function recommended(options: PooledMethodOptions = {}): Method {
  const parsed = parseOptions(schema, options, 'recommended')
  return { ...generativeDistillation(parsed), name: 'recommended', optimizer: 'keep' }
}
