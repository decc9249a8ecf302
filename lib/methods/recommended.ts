import { z } from 'zod'
import { parseOptions } from '../validation/options.js'
import { generativeDistillation } from './generative-distillation.js'
import type { Method } from './objective.js'
import { type PooledMethodOptions, pooledMethodShape } from './terms.js'

const schema = z.strictObject(pooledMethodShape({ reuse: 10, classes: 'even' })).prefault({})

/**
 * {@link generativeDistillation} as this project recommends it. The teacher generates a {@link ReplayPool} in 20 steps when a task begins;
 * the pool has so many images (`reuse: 10`) that this takes as many network evaluations as the paper's 2 steps for every step's images.
 * Steps draw from it evenly by class, so `learn` needs a `classifier`, e.g. a {@link Solver}. Adam's state is kept across tasks.
 *
 * The experiment `recommended` compares it with the paper's method, paired by seed.
 *
 * @param options.lambda default 0.75
 * @param options.teacher default 20 steps
 * @param options.pool default `{ reuse: 10, classes: 'even' }`, of which each field is a default by itself
 *
 * @category Methods
 */
export function recommended(options: PooledMethodOptions = {}): Method {
  const parsed = parseOptions(schema, options, 'recommended')
  return { ...generativeDistillation(parsed), name: 'recommended', optimizer: 'keep' }
}
