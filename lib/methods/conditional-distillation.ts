import { z } from 'zod'
import { parseOptions } from '../validation/options.js'
import type { Method, Source } from './objective.js'
import { balanced, gate, generated, keepsTeacher, type PooledMethodOptions, pooledMethodShape } from './terms.js'

/**
 * Options of {@link conditionalDistillation}.
 *
 * @category Methods
 */
export interface ConditionalDistillationOptions extends PooledMethodOptions {
  /** ν, the share of λ that the term with the null label has, 0 … 1. Default 0.25. */
  nullShare?: number
}

const schema = z
  .strictObject({
    ...pooledMethodShape({ reuse: 10 }),
    nullShare: z.number().min(0).max(1).default(0.25),
  })
  .prefault({})

/**
 * Generative distillation for a class-conditional network, with a term of its own for the unconditional prediction. The teacher generates a
 * {@link ReplayPool}, by default each class learned as often as the others (`LearnOptions.replayLabels`). For images x̂ of class c and for
 * x̂′, both drawn from it, and the null label ∅:
 * L = (1/k)·‖ε − ε_θ(x_t, t, c)‖² + (1 − 1/k)·λ·[(1 − ν)·‖ε_teacher(x̂_t, t, c) − ε_θ(x̂_t, t, c)‖²
 * + ν·‖ε_teacher(x̂′_t, t, ∅) − ε_θ(x̂′_t, t, ∅)‖²].
 * With `labelDropout` alone the unconditional prediction is handed on too, but by the few images whose label was dropped. It needs a
 * network with `num_class_embeds` that learns with `labelDropout` from the first task on. Adam's state is kept across tasks.
 *
 * @param options.lambda default 0.75
 * @param options.teacher default 20 steps
 * @param options.pool default `{ reuse: 10 }`
 *
 * @category Methods
 */
export function conditionalDistillation(options: ConditionalDistillationOptions = {}): Method {
  const { lambda, nullShare, teacherDecay, timesteps, ...images } = parseOptions(
    schema,
    options,
    'conditionalDistillation',
  )
  const told = generated(images)
  const untold: Source = { ...told, kind: 'teacher', labels: null }
  return {
    name: 'conditional-distillation',
    optimizer: 'keep',
    ...keepsTeacher(teacherDecay),
    objective(k) {
      const [task, ...earlier] = balanced(k, lambda, { source: told, target: 'teacher', ...gate(timesteps) }).terms
      return {
        terms: [
          task!,
          ...earlier.flatMap((term) => [
            { ...term, weight: term.weight * (1 - nullShare) },
            { ...term, source: untold, weight: term.weight * nullShare },
          ]),
        ],
      }
    },
  }
}
