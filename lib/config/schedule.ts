import { z } from 'zod'

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

/** The paper's forward process: linear betas 1e-4 … 0.02 over 1000 timesteps, zero terminal SNR, ε-prediction. */
export const paperSchedule: ScheduleConfig = {
  timesteps: 1000,
  betas: 'linear',
  betaStart: 1e-4,
  betaEnd: 0.02,
  zeroTerminalSnr: true,
  prediction: 'epsilon',
}

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
