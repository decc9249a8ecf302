import { z } from 'zod'
import { parseOptions } from '../validation/options.js'

/**
 * A noise schedule: how noise is added to images (the forward process).
 *
 * @category Networks, schedules and samplers
 */
export interface ScheduleConfig {
  /** Number of timesteps T, 2 … 1,000,000. Default 1000. */
  readonly timesteps: number
  /** `linear` betas, `scaled-linear` (linear in √β), or `cosine` (Nichol & Dhariwal 2021). */
  readonly betas: 'linear' | 'scaled-linear' | 'cosine'
  /** First beta of the linear kinds. Default 1e-4. */
  readonly betaStart: number
  /** Last beta of the linear kinds. Default 0.02. */
  readonly betaEnd: number
  /** Rescales the betas so that ᾱ at the last timestep is 0 (arXiv 2305.08891). Default true, as in the paper's code. */
  readonly zeroTerminalSnr: boolean
  /** What the network predicts: the noise ε, the clean image x₀, or v = √ᾱ·ε − √(1−ᾱ)·x₀. Default `epsilon`. */
  readonly prediction: 'epsilon' | 'sample' | 'v'
}

/**
 * The paper's forward process: linear betas 1e-4 … 0.02 over 1000 timesteps, zero terminal SNR, ε-prediction.
 *
 * @category Networks, schedules and samplers
 */
export const paperSchedule: ScheduleConfig = {
  timesteps: 1000,
  betas: 'linear',
  betaStart: 1e-4,
  betaEnd: 0.02,
  zeroTerminalSnr: true,
  prediction: 'epsilon',
}

const beta = z.number().gt(0).lt(1)

/** Schema of a range [from, to) of timesteps. */
export const timestepsSchema = z
  .tuple([z.int().min(0), z.int()])
  .readonly()
  .refine(([from, to]) => from < to, 'expected [from, to) with from < to')

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

/**
 * The betas of a schedule and their cumulative alphas ᾱ_t = Π_{s ≤ t} (1 − β_s), each in float64, one per timestep.
 *
 * @param config the schedule; fields that are left out are those of {@link paperSchedule}
 *
 * @category Networks, schedules and samplers
 */
export function schedule(config: Partial<ScheduleConfig> = {}): { betas: Float64Array; alphasCumprod: Float64Array } {
  const { timesteps, zeroTerminalSnr, ...rest } = parseOptions(scheduleSchema, config, 'schedule')
  const betas = Float64Array.from({ length: timesteps }, (_, t) => betaAt[rest.betas](t, timesteps, rest))
  let product = 1
  const alphasCumprod = betas.map((beta) => {
    product *= 1 - beta
    return product
  })
  return zeroTerminalSnr ? withZeroTerminalSnr(alphasCumprod) : { betas, alphasCumprod }
}

type Ends = Pick<ScheduleConfig, 'betaStart' | 'betaEnd'>

const betaAt: Record<ScheduleConfig['betas'], (t: number, timesteps: number, ends: Ends) => number> = {
  linear: (t, timesteps, { betaStart, betaEnd }) => betaStart + ((betaEnd - betaStart) * t) / (timesteps - 1),
  'scaled-linear': (t, timesteps, { betaStart, betaEnd }) => {
    const [start, end] = [Math.sqrt(betaStart), Math.sqrt(betaEnd)]
    return (start + ((end - start) * t) / (timesteps - 1)) ** 2
  },
  // arXiv 2102.09672, equation 17
  cosine: (t, timesteps) => {
    const alpha = (s: number) => Math.cos((((s / timesteps + 0.008) / 1.008) * Math.PI) / 2) ** 2
    return Math.min(1 - alpha(t + 1) / alpha(t), 0.999)
  },
}

/** arXiv 2305.08891, algorithm 1: shifts √ᾱ so that it ends at 0, and scales it so that it begins where it did. */
function withZeroTerminalSnr(before: Float64Array): { betas: Float64Array; alphasCumprod: Float64Array } {
  const first = Math.sqrt(before[0] as number)
  const last = Math.sqrt(before.at(-1) as number)
  const alphasCumprod = before.map((alpha) => (((Math.sqrt(alpha) - last) * first) / (first - last)) ** 2)
  alphasCumprod[alphasCumprod.length - 1] = 0
  const betas = alphasCumprod.map((alpha, t) => 1 - alpha / (t === 0 ? 1 : (alphasCumprod[t - 1] as number)))
  return { betas, alphasCumprod }
}

/**
 * A schedule as the engine takes it: α_t² and σ_t² at each timestep. In float32, and σ² = 1 − α² of the rounded α², as in
 * the reference's arithmetic.
 */
export function scheduleTable(config: ScheduleConfig): { alpha2: Float32Array; sigma2: Float32Array } {
  const alpha2 = Float32Array.from(schedule(config).alphasCumprod)
  return { alpha2, sigma2: alpha2.map((alpha) => 1 - alpha) }
}
