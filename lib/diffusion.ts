import { z } from 'zod'
import { call } from './engine/call.js'
import { ContinualDiffusionError, type ErrorCode } from './errors.js'
import { parseOptions } from './validation/options.js'

/** How noise is added: the forward process. */
export interface ScheduleConfig {
  /** T. Default 1000. */
  readonly timesteps: number
  /** `linear` betas, `scaled-linear` (linear in √β), or `cosine` (Nichol & Dhariwal 2021). */
  readonly betas: 'linear' | 'scaled-linear' | 'cosine'
  /** First beta of the linear kinds. Default 1e-4. */
  readonly betaStart: number
  /** Last beta of the linear kinds. Default 0.02. */
  readonly betaEnd: number
  /** Rescales the betas so that ᾱ at the last timestep is 0 (arXiv 2305.08891). Default true, as in the paper's code. */
  readonly zeroTerminalSnr: boolean
  /** What the network answers: the noise ε, the clean image x₀, or v = √ᾱ·ε − √(1−ᾱ)·x₀. Default `epsilon`. */
  readonly prediction: 'epsilon' | 'sample' | 'v'
}

/** How images are generated. */
export interface SamplerConfig {
  /** `ddim` (arXiv 2010.02502) or `ddpm`, ancestral sampling (arXiv 2006.11239). Default `ddim`. */
  readonly kind: 'ddim' | 'ddpm'
  /** Denoising steps S, 1 … T. Default 10. */
  readonly steps: number
  /** DDIM's η ≥ 0: 0 is deterministic. Ignored by `ddpm`. Default 0. */
  readonly eta: number
  /** Clips the predicted x₀ to [−1, 1] at every step. Default true. */
  readonly clip: boolean
  /** `trailing` starts at T − 1; `leading` ends at 0. Default `trailing`. */
  readonly spacing: 'trailing' | 'leading'
}

/** The paper's forward process: linear betas 1e-4 … 0.02 over 1000 timesteps, zero terminal SNR, ε-prediction. */
export const paperSchedule: ScheduleConfig = {
  timesteps: 1000,
  betas: 'linear',
  betaStart: 1e-4,
  betaEnd: 0.02,
  zeroTerminalSnr: true,
  prediction: 'epsilon',
}

/** The sampler with which the paper's Fashion-MNIST models are evaluated: DDIM in 10 steps, η = 0, x₀ clipped, trailing. */
export const paperSampler: SamplerConfig = { kind: 'ddim', steps: 10, eta: 0, clip: true, spacing: 'trailing' }

const beta = z.number().gt(0).lt(1)

/** Schema of {@link ScheduleConfig}; what is left out is as in {@link paperSchedule}. */
export const scheduleSchema = z
  .strictObject({
    timesteps: z.int().min(2).max(1_000_000).default(paperSchedule.timesteps),
    betas: z.enum(['linear', 'scaled-linear', 'cosine']).default(paperSchedule.betas),
    betaStart: beta.default(paperSchedule.betaStart),
    betaEnd: beta.default(paperSchedule.betaEnd),
    zeroTerminalSnr: z.boolean().default(paperSchedule.zeroTerminalSnr),
    prediction: z.enum(['epsilon', 'sample', 'v']).default(paperSchedule.prediction),
  })
  .refine((schedule) => schedule.betaStart <= schedule.betaEnd, {
    path: ['betaStart'],
    message: 'expected at most betaEnd',
  })

/** Schema of {@link SamplerConfig}; what is left out is as in {@link paperSampler}. */
export const samplerSchema = z.strictObject({
  kind: z.enum(['ddim', 'ddpm']).default(paperSampler.kind),
  steps: z.int().min(1).default(paperSampler.steps),
  eta: z.number().min(0).default(paperSampler.eta),
  clip: z.boolean().default(paperSampler.clip),
  spacing: z.enum(['trailing', 'leading']).default(paperSampler.spacing),
})

/** Checks a sampler, filling in `defaults`, and that it has no more steps than the schedule has timesteps. */
export function parseSampler(
  schedule: ScheduleConfig,
  sampler: unknown,
  where: string,
  defaults: SamplerConfig = paperSampler,
  code?: ErrorCode,
): SamplerConfig {
  const given = parseOptions(z.looseObject({}), sampler ?? {}, where, code)
  const result = parseOptions(samplerSchema, { ...defaults, ...defined(given) }, where, code)
  if (result.steps > schedule.timesteps) {
    throw new ContinualDiffusionError(
      code ?? 'ERR_INVALID_ARGUMENT',
      `${where}: steps is ${result.steps}; expected at most the schedule's ${schedule.timesteps} timesteps`,
    )
  }
  return result
}

/** A float32 tensor in row-major order; images are N × C × H × W. */
export interface Tensor {
  readonly data: Float32Array
  readonly shape: readonly number[]
}

/**
 * The betas of a schedule and their cumulative alphas ᾱ_t = Π_{s ≤ t} (1 − β_s), each in float64, one per timestep.
 *
 * @param config what differs from {@link paperSchedule}
 */
export function schedule(config: Partial<ScheduleConfig> = {}): { betas: Float64Array; alphasCumprod: Float64Array } {
  const parsed = parseOptions(scheduleSchema, config, 'schedule')
  return call((addon) => addon.schedule(parsed))
}

/**
 * The timesteps that a sampler visits, from the noisiest, and for each the one that its step goes to (−1: the clean image).
 *
 * @param config what differs from {@link paperSchedule}
 * @param sampler what differs from {@link paperSampler}
 */
export function samplerTimesteps(
  config: Partial<ScheduleConfig> = {},
  sampler: Partial<SamplerConfig> = {},
): { timesteps: Int32Array; previous: Int32Array } {
  const parsed = parseOptions(scheduleSchema, config, 'samplerTimesteps: schedule')
  const checked = parseSampler(parsed, sampler, 'samplerTimesteps: sampler')
  return call((addon) => addon.samplerTimesteps(parsed, checked))
}

const tensorSchema = z.strictObject({
  data: z.instanceof(Float32Array),
  shape: z.array(z.int().min(0)).readonly(),
}) satisfies z.ZodType<Tensor>

const stepSchema = z.strictObject({
  schedule: z.unknown().optional(),
  sampler: z.unknown().optional(),
  sample: tensorSchema,
  prediction: tensorSchema,
  timestep: z.int(),
  previous: z.int(),
  noise: tensorSchema.optional(),
})

/**
 * One step of a sampler: from the sample at `timestep` and the network's answer to it, the sample at `previous`. A pure
 * function; with {@link samplerTimesteps} and `learner.predict` it is all that a sampler of one's own needs.
 *
 * @param options.sample x_t, N × C × H × W
 * @param options.prediction the network's answer to (x_t, t), of the same shape; what it means is the schedule's `prediction`
 * @param options.timestep t, in 0 … T − 1
 * @param options.previous the timestep to go to, below `timestep`; −1: the clean image
 * @param options.noise standard normal, of the same shape; needed where the step adds noise (η > 0, or `ddpm`)
 */
export async function samplerStep(options: {
  schedule?: Partial<ScheduleConfig>
  sampler?: Partial<SamplerConfig>
  sample: Tensor
  prediction: Tensor
  timestep: number
  previous: number
  noise?: Tensor
}): Promise<Tensor> {
  const { schedule: given, sampler: config, noise, ...step } = parseOptions(stepSchema, options, 'samplerStep')
  const schedule = parseOptions(scheduleSchema, given ?? {}, 'samplerStep: schedule')
  const sampler = parseSampler(schedule, config, 'samplerStep: sampler')
  return call((addon) => addon.samplerStep({ ...step, ...(noise && { noise }), schedule, sampler }))
}

/** Without the keys whose value is undefined, which would hide a default. */
function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>
}
