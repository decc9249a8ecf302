import { z } from 'zod'
import { invalid } from '../errors.js'
import { parseOptions } from '../validation/options.js'

/**
 * A noise schedule: how noise is added to images (the forward process x_t = α_t·x₀ + σ_t·ε), and what the network predicts of it.
 *
 * @category Networks, schedules and samplers
 */
export interface ScheduleConfig {
  /**
   * `betas`: α² + σ² = 1, from betas (arXiv 2006.11239). `flow`: the straight path α + σ = 1 of flow matching (arXiv 2209.03003). `edm`: the
   * noise levels of EDM (arXiv 2206.00364), scaled to α² + σ² = 1. Default `betas`.
   */
  readonly kind: 'betas' | 'flow' | 'edm'
  /** Number of timesteps T, 2 … 20,000. Default 1000, or as many as there are betas. */
  readonly timesteps: number
  /** Of `betas`: linear, `scaled-linear` (linear in √β), `cosine` (arXiv 2102.09672), `sigmoid` (over −6 … 6), or the betas themselves. Default `linear`. */
  readonly betas?: 'linear' | 'scaled-linear' | 'cosine' | 'sigmoid' | readonly number[]
  /** Of `betas`: the first beta of all but `cosine` and given ones. Default 1e-4. */
  readonly betaStart?: number
  /** Of `betas`: the last beta of all but `cosine` and given ones. Default 0.02. */
  readonly betaEnd?: number
  /** Of `betas`: rescales them so that ᾱ at the last timestep is 0 (arXiv 2305.08891). Default true, as in the paper's code. */
  readonly zeroTerminalSnr?: boolean
  /** Of `flow`: σ = shift·u / (1 + (shift − 1)·u) for u = (t + 1) / T (arXiv 2403.03206); 0.001 … 1000, and more than 1 means more noise. Default 1. */
  readonly shift?: number
  /** Of `edm`: the smallest σ/α. Default 0.002. */
  readonly sigmaMin?: number
  /** Of `edm`: the largest σ/α. Between them its 7th root is linear. Default 80. */
  readonly sigmaMax?: number
  /**
   * What the network predicts: the noise ε, the clean image x₀ (`sample`), v = α·ε − σ·x₀, the velocity ε − x₀ (`flow`, of the straight path
   * alone), or F of EDM's preconditioning with σ_data = 0.5 (`edm`; x_t is scaled to unit variance for it). Default `epsilon`, or `flow` and `edm` of
   * the kinds of that name.
   */
  readonly prediction: 'epsilon' | 'sample' | 'v' | 'flow' | 'edm'
}

/**
 * The paper's forward process: linear betas 1e-4 … 0.02 over 1000 timesteps, zero terminal SNR, ε-prediction.
 *
 * @category Networks, schedules and samplers
 */
export const paperSchedule: ScheduleConfig = {
  kind: 'betas',
  timesteps: 1000,
  betas: 'linear',
  betaStart: 1e-4,
  betaEnd: 0.02,
  zeroTerminalSnr: true,
  prediction: 'epsilon',
}

/** What the fields that a kind has of its own are where they are left out. */
const defaults = {
  betas: { betas: 'linear', betaStart: 1e-4, betaEnd: 0.02, zeroTerminalSnr: true },
  flow: { shift: 1 },
  edm: { sigmaMin: 0.002, sigmaMax: 80 },
} as const

/** Tables of so many timesteps don't block the event loop for long. diffusers' models have 1000. */
const mostTimesteps = 20_000

const beta = z.number().min(1e-7).lt(1)
const betaNames = ['linear', 'scaled-linear', 'cosine', 'sigmoid'] as const

/** Schema of a range [from, to) of timesteps. */
export const timestepsSchema = z
  .tuple([z.int().min(0), z.int()])
  .readonly()
  .refine(([from, to]) => from < to, 'expected [from, to) with from < to')

/** Schema of {@link ScheduleConfig}; what is left out is as in {@link paperSchedule}. */
export const scheduleSchema = z
  .strictObject({
    kind: z.enum(['betas', 'flow', 'edm']).default(paperSchedule.kind),
    timesteps: z.int().min(2).max(mostTimesteps).optional().describe('Default: 1000, or as many as there are betas'),
    betas: z
      .union([z.enum(betaNames), z.array(beta).min(2).max(mostTimesteps) as z.ZodType<readonly number[]>])
      .default(defaults.betas.betas),
    betaStart: beta.default(defaults.betas.betaStart),
    betaEnd: beta.default(defaults.betas.betaEnd),
    zeroTerminalSnr: z.boolean().default(defaults.betas.zeroTerminalSnr),
    shift: z.number().min(1e-3).max(1000).default(defaults.flow.shift),
    sigmaMin: z.number().min(1e-4).max(1e4).default(defaults.edm.sigmaMin),
    sigmaMax: z.number().min(1e-4).max(1e4).default(defaults.edm.sigmaMax),
    prediction: z.enum(['epsilon', 'sample', 'v', 'flow', 'edm']).optional(),
  })
  .refine(({ betaStart, betaEnd }) => betaStart <= betaEnd, {
    path: ['betaStart'],
    message: 'expected at most betaEnd',
  })
  .refine(({ sigmaMin, sigmaMax }) => sigmaMin < sigmaMax, {
    path: ['sigmaMin'],
    message: 'expected less than sigmaMax',
  })
  .refine(
    ({ betas, timesteps }) => timesteps === undefined || typeof betas === 'string' || timesteps === betas.length,
    {
      path: ['timesteps'],
      message: 'expected as many as there are betas',
    },
  )
  .refine(
    ({ kind, prediction }) => (kind === 'flow' ? prediction !== 'v' && prediction !== 'edm' : prediction !== 'flow'),
    {
      path: ['prediction'],
      message: "expected 'flow' with the kind 'flow' alone, which has 'flow', 'epsilon' and 'sample'",
    },
  )
  .superRefine((given, context) => {
    for (const { why, fields } of fieldsWithoutEffect(given)) {
      for (const [field, usual] of Object.entries(fields)) {
        // What a default writes out is no wish.
        if (given[field as keyof typeof fields] === usual) continue
        context.addIssue({ code: 'custom', path: [field], message: `expected none: ${why}` })
      }
    }
  })
  .transform(({ timesteps, prediction, ...rest }): ScheduleConfig => {
    const without = fieldsWithoutEffect(rest).flatMap(({ fields }) => Object.keys(fields))
    const own = Object.fromEntries(Object.entries(rest).filter(([field]) => !without.includes(field)))
    const { kind, betas } = rest
    return {
      ...(own as typeof rest),
      timesteps: timesteps ?? (kind !== 'betas' || typeof betas === 'string' ? paperSchedule.timesteps : betas.length),
      prediction: prediction ?? (kind === 'betas' ? 'epsilon' : kind),
    }
  })

/** The fields that mean nothing beside others, with their defaults, and why. */
function fieldsWithoutEffect({ kind, betas }: Required<Pick<ScheduleConfig, 'kind' | 'betas'>>) {
  const of = (other: ScheduleConfig['kind']) => ({
    why: `a schedule of the kind '${kind}' doesn't use it, only one of the kind '${other}'`,
    fields: defaults[other] as Partial<ScheduleConfig>,
  })
  const others = (['betas', 'flow', 'edm'] as const).filter((other) => other !== kind).map(of)
  const { betaStart, betaEnd } = defaults.betas
  const hasEnds = kind !== 'betas' || (typeof betas === 'string' && betas !== 'cosine')
  const which = betas === 'cosine' ? 'cosine betas have' : 'a list of betas has'
  return hasEnds ? others : [...others, { why: `${which} no other ends`, fields: { betaStart, betaEnd } }]
}

/** `Float64Array.from` takes ten times as long. */
function numbers(count: number, at: (t: number) => number): Float64Array {
  return new Float64Array(count).map((_, t) => at(t))
}

/** A schedule with its defaults, and those of other kinds. */
function filled(config: Partial<ScheduleConfig>, where: string): Required<ScheduleConfig> {
  return { ...defaults.betas, ...defaults.flow, ...defaults.edm, ...parseOptions(scheduleSchema, config, where) }
}

/**
 * α_t and σ_t of the forward process x_t = α_t·x₀ + σ_t·ε, each in float64, one per timestep.
 *
 * @param config the schedule; fields that are left out are those of {@link paperSchedule}
 *
 * @category Networks, schedules and samplers
 */
export function noiseLevels(config: Partial<ScheduleConfig> = {}): { alpha: Float64Array; sigma: Float64Array } {
  const { kind, timesteps, shift, sigmaMin, sigmaMax, ...rest } = filled(config, 'noiseLevels')
  const table = (alphaAt: (t: number) => number, sigmaOf: (alpha: number) => number) => {
    const alpha = numbers(timesteps, alphaAt)
    return { alpha, sigma: alpha.map(sigmaOf) }
  }
  const rounded = (alpha: number) => Math.sqrt(1 - alpha * alpha)
  switch (kind) {
    case 'betas': {
      const { alphasCumprod } = schedule({ timesteps, ...rest })
      return { alpha: alphasCumprod.map(Math.sqrt), sigma: alphasCumprod.map((alpha2) => Math.sqrt(1 - alpha2)) }
    }
    case 'flow':
      return table(
        (t) => {
          const u = (t + 1) / timesteps
          return (1 - u) / (1 + (shift - 1) * u)
        },
        (alpha) => 1 - alpha,
      )
    case 'edm': {
      const [least, most] = [sigmaMin ** (1 / 7), sigmaMax ** (1 / 7)]
      return table((t) => 1 / Math.hypot(1, (least + ((most - least) * t) / (timesteps - 1)) ** 7), rounded)
    }
  }
}

/**
 * The betas of a schedule of the kind `betas` and their cumulative alphas ᾱ_t = Π_{s ≤ t} (1 − β_s), each in float64, one per timestep.
 *
 * @param config the schedule; fields that are left out are those of {@link paperSchedule}
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for another kind, which {@link noiseLevels} has
 *
 * @category Networks, schedules and samplers
 */
export function schedule(config: Partial<ScheduleConfig> = {}): { betas: Float64Array; alphasCumprod: Float64Array } {
  const { kind, timesteps, zeroTerminalSnr, betas: given, ...ends } = filled(config, 'schedule')
  if (kind !== 'betas') throw invalid(`schedule: kind is '${kind}', which has no betas; call noiseLevels`)
  const betas =
    typeof given === 'string' ? numbers(timesteps, (t) => betaAt[given](t, timesteps, ends)) : Float64Array.from(given)
  let product = 1
  const alphasCumprod = betas.map((beta) => {
    product *= 1 - beta
    return product
  })
  return zeroTerminalSnr ? withZeroTerminalSnr(alphasCumprod) : { betas, alphasCumprod }
}

type Ends = Required<Pick<ScheduleConfig, 'betaStart' | 'betaEnd'>>

const betaAt: Record<(typeof betaNames)[number], (t: number, timesteps: number, ends: Ends) => number> = {
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
  sigmoid: (t, timesteps, { betaStart, betaEnd }) =>
    betaStart + (betaEnd - betaStart) / (1 + Math.exp(6 - (12 * t) / (timesteps - 1))),
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

/** A schedule as the engine takes it: in float32, α_t² and σ_t² at each timestep. */
export interface ScheduleTable {
  readonly alpha2: Float32Array
  readonly sigma2: Float32Array
  /** What the network is told at each timestep, where that isn't the timestep. */
  readonly told?: Float32Array
  /** The path is straight: α + σ = 1. */
  readonly straight: boolean
}

/** @param tellsLevels whether the network is told the noise level σ/α where it would be told another function of it */
export function scheduleTable(config: ScheduleConfig, tellsLevels = false): ScheduleTable {
  if (config.kind === 'betas') {
    const alpha2 = new Float32Array(schedule(config).alphasCumprod)
    // σ² = 1 − α² of the rounded α², as in the reference's arithmetic.
    return { alpha2, sigma2: alpha2.map((a) => 1 - a), straight: false }
  }
  const { alpha, sigma } = noiseLevels(config)
  const isFlow = config.kind === 'flow'
  const told = isFlow
    ? sigma.map((s) => s * config.timesteps)
    : sigma.map((s, t) => {
        const level = s / (alpha[t] as number)
        return tellsLevels ? level : Math.log(level) / 4
      })
  return {
    alpha2: new Float32Array(alpha.map((a) => a * a)),
    sigma2: new Float32Array(sigma.map((s) => s * s)),
    straight: isFlow,
    told: new Float32Array(told),
  }
}
