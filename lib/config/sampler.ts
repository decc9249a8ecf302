import { z } from 'zod'
import { ContinualDiffusionError, type ErrorCode } from '../errors.js'
import { parseOptions } from '../validation/options.js'
import { type ScheduleConfig, timestepsSchema } from './schedule.js'

/**
 * A sampler: how images are generated from noise.
 *
 * @category Networks, schedules and samplers
 */
export interface SamplerConfig {
  /** `ddim` (arXiv 2010.02502) or `ddpm`, ancestral sampling (arXiv 2006.11239). Default `ddim`. */
  readonly kind: 'ddim' | 'ddpm'
  /** Number of denoising steps S, 1 … T. Default 10, or T where that is less; 2 for a teacher. */
  readonly steps: number
  /** DDIM's η ≥ 0: 0 is deterministic. Ignored by `ddpm`. Default 0. */
  readonly eta: number
  /** Clips the predicted x₀ to [−1, 1] at every step. Default true. */
  readonly clip: boolean
  /** `trailing` starts at T − 1; `leading` ends at 0. Default `trailing`. */
  readonly spacing: 'trailing' | 'leading'
  /** Classifier-free guidance, for a network that learned with `labelDropout`. Default: none. */
  readonly guidance?: Guidance
}

/**
 * Classifier-free guidance (Ho and Salimans, arXiv 2207.12598): in place of the conditional prediction f(x_t, t, label) it takes
 * f(x_t, t) + scale · (f(x_t, t, label) − f(x_t, t)). The unconditional prediction f(x_t, t) is that for the null label. Each step calls the
 * network for a batch twice as large.
 *
 * @category Networks, schedules and samplers
 */
export interface Guidance {
  /** ≥ 0. 1 is no guidance, 0 the unconditional prediction. */
  readonly scale: number
  /** Range [from, to) of the timesteps at which it acts; at others the prediction is the conditional one (arXiv 2404.07724). Default: all. */
  readonly timesteps?: readonly [from: number, to: number]
}

/**
 * The sampler that evaluates the paper's Fashion-MNIST models: DDIM in 10 steps, η = 0, x₀ clipped, trailing.
 *
 * @category Networks, schedules and samplers
 */
export const paperSampler: SamplerConfig = { kind: 'ddim', steps: 10, eta: 0, clip: true, spacing: 'trailing' }

/** Schema of {@link Guidance}. */
const guidanceSchema = z.strictObject({
  scale: z.number().min(0),
  timesteps: timestepsSchema.optional(),
})

/** Schema of {@link SamplerConfig}; what is left out is as in {@link paperSampler}. */
export const samplerSchema = z.strictObject({
  kind: z.enum(['ddim', 'ddpm']).default(paperSampler.kind),
  steps: z.int().min(1).default(paperSampler.steps),
  eta: z.number().min(0).default(paperSampler.eta),
  clip: z.boolean().default(paperSampler.clip),
  spacing: z.enum(['trailing', 'leading']).default(paperSampler.spacing),
  guidance: guidanceSchema.optional(),
})

/** Schema of how a teacher generates; what is left out is as in the paper's experiments: DDIM in 2 steps. */
export const teacherSamplerSchema = samplerSchema.extend({ steps: z.int().min(1).default(2) }).prefault({})

/**
 * Checks a sampler, and that it has no more steps than the schedule has timesteps. What is left out is as in `defaults`; of their steps at
 * most as many as there are timesteps.
 */
export function parseSampler(
  schedule: ScheduleConfig,
  sampler: unknown,
  where: string,
  defaults: SamplerConfig = paperSampler,
  code?: ErrorCode,
): SamplerConfig {
  const given = parseOptions(z.looseObject({}).prefault({}), sampler, where, code)
  const steps = Math.min(defaults.steps, schedule.timesteps)
  const result = parseOptions(samplerSchema, { ...defaults, steps, ...defined(given) }, where, code)
  const end = result.guidance?.timesteps?.[1] ?? 0
  if (end > schedule.timesteps) {
    throw new ContinualDiffusionError(
      code ?? 'ERR_INVALID_ARGUMENT',
      `${where}: guidance.timesteps ends at ${end}; expected at most the schedule's ${schedule.timesteps} timesteps`,
    )
  }
  if (result.steps > schedule.timesteps) {
    throw new ContinualDiffusionError(
      code ?? 'ERR_INVALID_ARGUMENT',
      `${where}: steps is ${result.steps}; expected at most the schedule's ${schedule.timesteps} timesteps`,
    )
  }
  return result
}

/** Without the keys whose value is undefined, which would hide a default. */
function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>
}
