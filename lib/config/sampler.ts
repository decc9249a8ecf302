import { z } from 'zod'
import type { ErrorCode } from '../errors.js'
import { defined, parseOptions } from '../validation/options.js'
import { type ScheduleConfig, timestepsSchema } from './schedule.js'

/** The samplers, each a file in native/diffusion/samplers. */
export const samplerKinds = ['ddim', 'ddpm', 'euler', 'heun', 'dpm-solver++', 'sde-dpm-solver++', 'unipc'] as const

/**
 * A sampler: how images are generated from noise. docs/samplers.md says which of diffusers' schedulers each one is.
 *
 * @category Networks, schedules and samplers
 */
export interface SamplerConfig {
  /**
   * `ddim` (arXiv 2010.02502), `ddpm`, ancestral sampling (arXiv 2006.11239), `euler` and `heun` (arXiv 2206.00364; `heun` calls the network twice a step
   * but for the last), `dpm-solver++`, of second order in several steps, and its SDE form (arXiv 2211.01095), or `unipc` of order 2 (arXiv 2302.04867).
   * Default `ddim`.
   */
  readonly kind: (typeof samplerKinds)[number]
  /** Number of denoising steps S, 1 … T. Default 10, or as many as fit into T where they are fewer; 2 for a teacher. */
  readonly steps: number
  /** Of `ddim`: η ≥ 0; 0 is deterministic. Default 0. */
  readonly eta: number
  /** Clips the predicted x₀ to [−1, 1], or to [−clip, clip], at every step. Default true. */
  readonly clip: boolean | number
  /** Dynamic thresholding in place of clipping (arXiv 2205.11487). Default: none. */
  readonly thresholding?: Thresholding
  /** How the timesteps are spread: `trailing` starts at T − 1, `leading` ends at 0, `linspace` does both. Default `trailing`. */
  readonly spacing: 'trailing' | 'leading' | 'linspace'
  /** Added to the timesteps of `leading`. Default 0. */
  readonly offset: number
  /** The steps' σ/α as in arXiv 2206.00364, equation 5, with ρ = 7, between the ends that `spacing` gives. Not of `ddim` and `ddpm`. Default false. */
  readonly karras: boolean
  /** Where the last step goes: to the clean image, or to the first timestep's level of noise. Default `clean`. */
  readonly final: 'clean' | 'first'
  /**
   * Of `ddpm`: the variance: the posterior's, `small`, or β, `large`, or what a network of twice as many channels out as in has learned: the variance itself,
   * `learned`, or its place, −1 … 1, between the logarithms of those two, `learned-range` (arXiv 2102.09672, equation 15). Default `small`.
   */
  readonly variance: 'small' | 'large' | 'learned' | 'learned-range'
  /** `paper`: adds 1e-8 to ᾱ where DDIM divides by it, as the paper's code does. Default: none. */
  readonly parity?: 'paper'
  /** Guidance, for a network that learned with `labelDropout` or, in `sample`, with the option `guide`. Default: none. */
  readonly guidance?: Guidance
}

/**
 * A sampler as it is given: what is left out has its default, or the learner's own value. `null` turns off what the learner's sampler has.
 *
 * @category Networks, schedules and samplers
 */
export type SamplerOptions = {
  readonly [K in Exclude<keyof SamplerConfig, 'thresholding' | 'parity' | 'guidance'>]?: SamplerConfig[K] | undefined
} & {
  readonly thresholding?: Partial<Thresholding> | null | undefined
  readonly parity?: 'paper' | null | undefined
  readonly guidance?: Guidance | null | undefined
}

/**
 * Dynamic thresholding (arXiv 2205.11487, section 2.3): the predicted x₀ of an image is clipped to [−s, s] and divided by s, where s is a
 * quantile of its pixels' magnitudes.
 *
 * @category Networks, schedules and samplers
 */
export interface Thresholding {
  /** The quantile, in (0, 1]. Default 0.995. */
  readonly ratio: number
  /** The largest s, > 0; s is at least 1 where this is. Default 1. */
  readonly max: number
}

/**
 * Classifier-free guidance (Ho and Salimans, arXiv 2207.12598): in place of the conditional prediction f(x_t, t, label) it takes
 * f(x_t, t) + scale · (f(x_t, t, label) − f(x_t, t)). The unconditional prediction f(x_t, t) is that for the null label. Each step calls the
 * network for a batch twice as large. With the option `guide` of `sample`, a weaker learner's prediction takes the place of the unconditional
 * one (arXiv 2406.02507).
 *
 * @category Networks, schedules and samplers
 */
export interface Guidance {
  /** ≥ 0. 1 is no guidance, 0 the unconditional prediction or the weaker learner's. */
  readonly scale: number
  /** Range [from, to) of the timesteps at which it acts; at others there is none (arXiv 2404.07724). Default: all. */
  readonly timesteps?: readonly [from: number, to: number]
}

/** What the fields of a sampler are where they are left out. */
export const defaultSampler: SamplerConfig = {
  kind: 'ddim',
  steps: 10,
  eta: 0,
  clip: true,
  spacing: 'trailing',
  offset: 0,
  karras: false,
  final: 'clean',
  variance: 'small',
}

/**
 * The sampler that evaluates the paper's Fashion-MNIST models: DDIM in 10 steps, η = 0, x₀ clipped, trailing, with the 1e-8 that its code adds
 * to ᾱ.
 *
 * @category Networks, schedules and samplers
 */
export const paperSampler: SamplerConfig = { ...defaultSampler, parity: 'paper' }

/** Schema of {@link Guidance}. */
const guidanceSchema = z.strictObject({
  scale: z.number().min(0).max(1e6),
  timesteps: timestepsSchema.optional(),
})

const thresholdingSchema = z.strictObject({
  ratio: z.number().gt(0).max(1).default(0.995),
  max: z.number().gt(0).max(1e6).default(1),
})

const orUndefined = <T>(value: T | null | undefined): T | undefined => value ?? undefined

const fields = z.strictObject({
  kind: z.enum(samplerKinds).default(defaultSampler.kind),
  steps: z.int().min(1).default(defaultSampler.steps),
  eta: z.number().min(0).max(1000).default(defaultSampler.eta),
  clip: z.union([z.boolean(), z.number().gt(0).max(1e6)]).default(defaultSampler.clip),
  // null turns off what the defaults have.
  thresholding: thresholdingSchema.nullish().transform(orUndefined),
  spacing: z.enum(['trailing', 'leading', 'linspace']).default(defaultSampler.spacing),
  offset: z.int().min(0).default(defaultSampler.offset),
  karras: z.boolean().default(defaultSampler.karras),
  final: z.enum(['clean', 'first']).default(defaultSampler.final),
  variance: z.enum(['small', 'large', 'learned', 'learned-range']).default(defaultSampler.variance),
  parity: z.literal('paper').nullish().transform(orUndefined),
  guidance: guidanceSchema.nullish().transform(orUndefined),
})

/** Of a network that learns here, and so has learned no variance. */
const variance = z.enum(['small', 'large']).default('small')

/** The fields that only some kinds have, and what is expected of the others. */
const ownFields = {
  eta: { kinds: ['ddim'], expected: "expected 0: only 'ddim' has eta" },
  variance: { kinds: ['ddpm'], expected: "expected 'small': only 'ddpm' has another variance" },
  karras: {
    kinds: samplerKinds.filter((kind) => kind !== 'ddim' && kind !== 'ddpm'),
    expected: "expected false for 'ddim' and 'ddpm', which count in timesteps; 'euler' and those after it count in σ/α",
  },
} as const satisfies Partial<Record<keyof SamplerConfig, { kinds: readonly string[]; expected: string }>>
const ownNames = Object.keys(ownFields) as (keyof typeof ownFields)[]

function hasField(kind: unknown, name: keyof typeof ownFields): boolean {
  return (ownFields[name].kinds as readonly unknown[]).includes(kind)
}

type Context = { addIssue(issue: { code: 'custom'; path: PropertyKey[]; message: string }): void }

function checkFields(sampler: Pick<SamplerConfig, 'kind' | keyof typeof ownFields>, context: Context): void {
  for (const name of ownNames) {
    if (hasField(sampler.kind, name) || sampler[name] === defaultSampler[name]) continue
    context.addIssue({ code: 'custom', path: [name], message: ownFields[name].expected })
  }
}

/** Schema of {@link SamplerConfig}; what is left out is as in {@link defaultSampler}. */
export const samplerSchema = fields.superRefine(checkFields)

/** Schema of an experiment's sampler, whose steps depend on the schedule; see {@link samplerSteps}. */
export const experimentSamplerSchema = fields
  .extend({
    steps: z.int().min(1).optional().describe("Default: 10, or as many as fit into the schedule's timesteps"),
    variance,
  })
  .superRefine(checkFields)

/** Schema of how a teacher generates; what is left out is as in the paper's experiments: DDIM in 2 steps. */
export const teacherSamplerSchema = teacherSamplerSchemaOf(2)

/** The same for a method whose teacher takes another number of steps by default. */
export function teacherSamplerSchemaOf(steps: number) {
  return fields
    .extend({ steps: z.int().min(1).default(steps), variance })
    .superRefine(checkFields)
    .prefault({})
}

/** Whether a sampler takes the variance that the network says beside its prediction. */
export function takesLearnedVariance({ variance }: Pick<SamplerConfig, 'variance'>): boolean {
  return variance === 'learned' || variance === 'learned-range'
}

/** What says how many timesteps a sampler needs; it may not be checked yet. */
interface Spread {
  readonly kind: unknown
  readonly spacing: unknown
}

/** Steps of a sampler that is given none. */
export function samplerSteps(
  schedule: Pick<ScheduleConfig, 'timesteps'>,
  spread: Spread,
  steps = defaultSampler.steps,
): number {
  return Math.max(1, Math.min(steps, schedule.timesteps - (isOneLess(spread) ? 1 : 0)))
}

/** Whether a sampler takes the last S of S + 1 timesteps, and these must be apart. */
function isOneLess({ kind, spacing }: Spread): boolean {
  return spacing === 'leading' && ['dpm-solver++', 'sde-dpm-solver++', 'unipc'].some((name) => name === kind)
}

/**
 * What of a sampler doesn't fit the schedule: where, and what was expected.
 *
 * @param most what messages call the number of timesteps
 */
export function samplerProblems(
  { timesteps }: Pick<ScheduleConfig, 'timesteps'>,
  { kind, steps, spacing, offset, guidance }: SamplerConfig,
  most = `the schedule's ${timesteps} timesteps`,
): { path: (string | number)[]; message: string }[] {
  const problems: { path: (string | number)[]; message: string }[] = []
  if ((guidance?.timesteps?.[1] ?? 0) > timesteps) {
    problems.push({ path: ['guidance', 'timesteps'], message: `expected at most ${most}` })
  }
  if (steps > timesteps) problems.push({ path: ['steps'], message: `expected at most ${most}` })
  else if (isOneLess({ kind, spacing }) && steps === timesteps) {
    problems.push({
      path: ['steps'],
      message: `expected at most ${timesteps - 1} leading steps of '${kind}', one less than the schedule's timesteps`,
    })
  }
  if (offset >= timesteps) problems.push({ path: ['offset'], message: `expected less than ${most}` })
  return problems
}

/**
 * Checks a sampler, and that it fits the schedule. What is left out is as in `defaults`; of their steps at most as many as there are timesteps, and of
 * their fields those that the kind has.
 */
export function parseSampler(
  schedule: ScheduleConfig,
  sampler: unknown,
  where: string,
  defaults: SamplerConfig = defaultSampler,
  code?: ErrorCode,
): SamplerConfig {
  const given = defined(parseOptions(z.looseObject({}).prefault({}), sampler, where, code))
  const { kind = defaults.kind } = given
  const without = ownNames.filter((name) => !hasField(kind, name)).map((name) => [name, defaultSampler[name]])
  const { spacing = defaults.spacing } = given
  const steps = samplerSteps(schedule, { kind, spacing }, defaults.steps)
  const usual = { ...defaults, ...Object.fromEntries(without), steps }
  const fitting = samplerSchema.superRefine((result, context) => {
    for (const problem of samplerProblems(schedule, result)) context.addIssue({ code: 'custom', ...problem })
  })
  return parseOptions(fitting, { ...usual, ...given }, where, code)
}

/** How often a sampler calls the network for an image. */
export function networkCalls({ kind, steps }: Pick<SamplerConfig, 'kind' | 'steps'>): number {
  return kind === 'heun' ? 2 * steps - 1 : steps
}

/** How many noises a sampler adds to an image, besides the one it begins with. */
export function addedNoises({ kind, steps, eta }: Pick<SamplerConfig, 'kind' | 'steps' | 'eta'>): number {
  const adds = kind === 'ddim' ? eta > 0 : kind === 'ddpm' || kind === 'sde-dpm-solver++'
  return adds ? steps : 0
}
