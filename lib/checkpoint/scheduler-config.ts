import { z } from 'zod'
import { parseSampler, type SamplerConfig } from '../config/sampler.js'
import { paperSchedule, type ScheduleConfig, scheduleSchema } from '../config/schedule.js'
import { diffusersVersion, isConditional, type UNetConfig } from '../config/unet.js'
import { invalid } from '../errors.js'
import { parseOptions } from '../validation/options.js'

// diffusers' names and ours. docs/samplers.md has the same table for readers.
const betaNames = {
  linear: 'linear',
  scaled_linear: 'scaled-linear',
  squaredcos_cap_v2: 'cosine',
  sigmoid: 'sigmoid',
} as const
const predictionNames = { epsilon: 'epsilon', sample: 'sample', v_prediction: 'v' } as const
const varianceNames = {
  small: 'fixed_small',
  large: 'fixed_large',
  learned: 'learned',
  'learned-range': 'learned_range',
} as const
const classNames = {
  ddim: 'DDIMScheduler',
  ddpm: 'DDPMScheduler',
  euler: 'EulerDiscreteScheduler',
  heun: 'HeunDiscreteScheduler',
  'dpm-solver++': 'DPMSolverMultistepScheduler',
  'sde-dpm-solver++': 'DPMSolverMultistepScheduler',
  unipc: 'UniPCMultistepScheduler',
} as const

const only = <T extends string | number | boolean | null>(value: T, note = '') =>
  z.literal(value, `expected ${typeof value === 'string' ? `'${value}'` : value}${note}`).default(value as never)

/** Keys that the schedulers with betas share, with diffusers' defaults. */
const ofBetas = {
  num_train_timesteps: z.int().default(1000),
  beta_start: z.number().default(1e-4),
  beta_end: z.number().default(0.02),
  beta_schedule: z.enum(['linear', 'scaled_linear', 'squaredcos_cap_v2', 'sigmoid']).default('linear'),
  trained_betas: z.array(z.number()).nullable().default(null),
  prediction_type: z.enum(['epsilon', 'sample', 'v_prediction']).default('epsilon'),
  rescale_betas_zero_snr: z.boolean().default(false),
  steps_offset: z.int().min(0).default(0),
}
const spacing = (usual: 'leading' | 'linspace') => z.enum(['leading', 'trailing', 'linspace']).default(usual)
const clipping = (usual: boolean) => ({
  clip_sample: z.boolean().default(usual),
  clip_sample_range: z.number().gt(0).default(1),
})
const thresholding = {
  thresholding: z.boolean().default(false),
  dynamic_thresholding_ratio: z.number().default(0.995),
  sample_max_value: z.number().default(1),
}
const ratios = {
  use_karras_sigmas: z.boolean().default(false),
  use_exponential_sigmas: only(false),
  use_beta_sigmas: only(false),
}
const ends = z.enum(['zero', 'sigma_min']).default('zero')
const multistep = {
  ...ofBetas,
  ...ratios,
  ...thresholding,
  final_sigmas_type: ends,
  timestep_spacing: spacing('linspace'),
  solver_order: only(2),
  lower_order_final: only(true),
  use_flow_sigmas: only(false, ": flow matching is read from a 'FlowMatchEulerDiscreteScheduler'"),
}

interface Read {
  readonly given: Partial<ScheduleConfig>
  readonly chosen: Partial<SamplerConfig>
}

/** A class: the keys that it may hold beside keys without a meaning here, and what they make. */
const reader =
  <S extends z.ZodType>(schema: S, read: (config: z.output<S>) => Read) =>
  (json: unknown, file: string): Read =>
    read(parseOptions(schema, json, file, 'ERR_BAD_CHECKPOINT'))

/** What DDIM and DDPM have in common. */
const ofDdim = { ...ofBetas, ...clipping(true), ...thresholding, timestep_spacing: spacing('leading') }

const ddim = reader(
  z.looseObject({
    ...ofDdim,
    set_alpha_to_one: z.boolean().default(true),
  }),
  (config) => ({
    given: scheduleOf(config),
    chosen: {
      kind: 'ddim',
      ...spreadOf(config),
      ...clipOf(config),
      ...thresholdingOf(config),
      final: config.set_alpha_to_one ? 'clean' : 'first',
    },
  }),
)
const ddpm = reader(
  z.looseObject({
    ...ofDdim,
    variance_type: z
      .enum(['fixed_small', 'fixed_small_log', 'fixed_large', 'learned', 'learned_range'])
      .default('fixed_small'),
  }),
  (config) => ({
    given: scheduleOf(config),
    chosen: {
      kind: 'ddpm',
      ...spreadOf(config),
      ...clipOf(config),
      ...thresholdingOf(config),
      variance: nameOf(varianceNames, config.variance_type) ?? 'small', // 'fixed_small_log' computes the same
    },
  }),
)

const readers = {
  DDIMScheduler: ddim,
  DDPMScheduler: ddpm,
  // They compute the same, of several timesteps at once.
  DDIMParallelScheduler: ddim,
  DDPMParallelScheduler: ddpm,
  EulerDiscreteScheduler: reader(
    z.looseObject({
      ...ofBetas,
      ...ratios,
      timestep_spacing: spacing('linspace'),
      final_sigmas_type: ends,
      interpolation_type: only('linear'),
      timestep_type: only('discrete'),
      sigma_min: only(null),
      sigma_max: only(null),
    }),
    (config) => ({
      given: scheduleOf(config),
      chosen: { kind: 'euler', clip: false, ...spreadOf(config), ...ratiosOf(config), ...endOf(config) },
    }),
  ),
  HeunDiscreteScheduler: reader(
    z.looseObject({
      ...ofBetas,
      ...ratios,
      ...clipping(false),
      beta_start: z.number().default(0.00085),
      beta_end: z.number().default(0.012),
      timestep_spacing: spacing('linspace'),
    }),
    (config) => ({
      given: scheduleOf(config),
      chosen: { kind: 'heun', ...clipOf(config), ...spreadOf(config), ...ratiosOf(config) },
    }),
  ),
  DPMSolverMultistepScheduler: reader(
    z.looseObject({
      ...multistep,
      algorithm_type: z.enum(['dpmsolver++', 'sde-dpmsolver++']).default('dpmsolver++'),
      solver_type: only('midpoint'),
      euler_at_final: only(false),
      use_lu_lambdas: only(false),
      lambda_min_clipped: z.literal(Number.NEGATIVE_INFINITY, 'expected -Infinity').default(Number.NEGATIVE_INFINITY),
    }),
    (config) => ({
      given: scheduleOf(config),
      chosen: {
        kind: config.algorithm_type === 'dpmsolver++' ? 'dpm-solver++' : 'sde-dpm-solver++',
        ...solverOf(config),
      },
    }),
  ),
  UniPCMultistepScheduler: reader(
    z.looseObject({
      ...multistep,
      solver_type: only('bh2'),
      predict_x0: only(true),
      disable_corrector: z.array(z.int()).max(0, 'expected []').default([]),
      solver_p: only(null),
      sigma_min: only(null),
      sigma_max: only(null),
    }),
    (config) => ({ given: scheduleOf(config), chosen: { kind: 'unipc', ...solverOf(config) } }),
  ),
  FlowMatchEulerDiscreteScheduler: reader(
    z.looseObject({
      num_train_timesteps: z.int().default(1000),
      shift: z.number().default(1),
      use_dynamic_shifting: only(false),
      shift_terminal: only(null),
      invert_sigmas: only(false),
      stochastic_sampling: only(false),
      use_karras_sigmas: only(false),
      use_exponential_sigmas: only(false),
      use_beta_sigmas: only(false),
    }),
    (config) => ({
      given: { kind: 'flow', timesteps: config.num_train_timesteps, shift: config.shift },
      chosen: { kind: 'euler', clip: false, spacing: 'linspace' },
    }),
  ),
}
type ClassName = keyof typeof readers
const named = z.looseObject({ _class_name: z.enum(Object.keys(readers) as [ClassName, ...ClassName[]]) })

/**
 * The contents of a diffusers scheduler_config.json.
 *
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` for a class, or a value that changes its images, that this package doesn't have
 */
export function parseSchedulerConfig(
  json: unknown,
  file: string,
): { schedule: ScheduleConfig; sampler: SamplerConfig } {
  const { _class_name: name } = parseOptions(named, json, file, 'ERR_BAD_CHECKPOINT')
  const { given, chosen } = readers[name](json, file)
  const schedule = parseOptions(scheduleSchema, given, file, 'ERR_BAD_CHECKPOINT')
  // How many steps to take is no part of the file; an ancestral sampler is made for all of them.
  const steps = chosen.kind === 'ddpm' ? schedule.timesteps : undefined
  return { schedule, sampler: parseSampler(schedule, { steps, ...chosen }, file, undefined, 'ERR_BAD_CHECKPOINT') }
}

type OfBetas = z.output<z.ZodObject<typeof ofBetas>>

function scheduleOf(config: OfBetas): Partial<ScheduleConfig> {
  const betas = config.trained_betas ?? betaNames[config.beta_schedule]
  // Of others the file has them, too, and diffusers ignores them.
  const hasEnds = typeof betas === 'string' && betas !== 'cosine'
  return {
    timesteps: config.num_train_timesteps,
    betas,
    ...(hasEnds && { betaStart: config.beta_start, betaEnd: config.beta_end }),
    zeroTerminalSnr: config.rescale_betas_zero_snr,
    prediction: predictionNames[config.prediction_type],
  }
}

const spreadOf = (config: { timestep_spacing: SamplerConfig['spacing']; steps_offset: number }) => ({
  spacing: config.timestep_spacing,
  offset: config.steps_offset,
})
const clipOf = (config: { clip_sample: boolean; clip_sample_range: number }) => ({
  clip: config.clip_sample && (config.clip_sample_range === 1 || config.clip_sample_range),
})
const thresholdingOf = (config: z.output<z.ZodObject<typeof thresholding>>) =>
  config.thresholding && {
    thresholding: { ratio: config.dynamic_thresholding_ratio, max: config.sample_max_value },
  }
const ratiosOf = (config: { use_karras_sigmas: boolean }) => ({ karras: config.use_karras_sigmas })
const endOf = (config: { final_sigmas_type: 'zero' | 'sigma_min' }) => ({
  final: config.final_sigmas_type === 'zero' ? ('clean' as const) : ('first' as const),
})

const solverOf = (config: z.output<z.ZodObject<typeof multistep>>) => ({
  clip: false,
  ...spreadOf(config),
  ...ratiosOf(config),
  ...endOf(config),
  ...thresholdingOf(config),
})

/**
 * The scheduler_config.json of the diffusers scheduler that has this schedule, and of this sampler what that scheduler has an option for; undefined where diffusers
 * has no such schedule, as a file that says another would give other images in silence.
 */
export function toSchedulerConfig(
  schedule: ScheduleConfig,
  sampler: SamplerConfig,
): Record<string, unknown> | undefined {
  const known = schedule.kind === 'flow' ? 'flow' : nameOf(predictionNames, schedule.prediction)
  if (schedule.kind === 'edm' || known === undefined || (schedule.kind === 'flow' && schedule.prediction !== 'flow')) {
    return undefined
  }
  const base = { _diffusers_version: diffusersVersion, num_train_timesteps: schedule.timesteps }
  if (schedule.kind === 'flow')
    return { _class_name: 'FlowMatchEulerDiscreteScheduler', ...base, shift: schedule.shift }
  const { kind, clip, spacing, offset, thresholding, final, karras } = sampler
  const shared = {
    ...base,
    beta_end: schedule.betaEnd ?? paperSchedule.betaEnd,
    beta_schedule: typeof schedule.betas === 'string' ? nameOf(betaNames, schedule.betas) : 'linear',
    beta_start: schedule.betaStart ?? paperSchedule.betaStart,
    prediction_type: known,
    rescale_betas_zero_snr: schedule.zeroTerminalSnr,
    steps_offset: offset,
    timestep_spacing: spacing,
    trained_betas: typeof schedule.betas === 'string' ? null : schedule.betas,
  }
  const clips = { clip_sample: clip !== false, clip_sample_range: typeof clip === 'number' ? clip : 1 }
  const thresholds = {
    dynamic_thresholding_ratio: thresholding?.ratio ?? 0.995,
    sample_max_value: thresholding?.max ?? 1,
    thresholding: thresholding !== undefined,
  }
  const end = final === 'clean' ? 'zero' : 'sigma_min'
  const own = {
    ddim: { ...clips, ...thresholds, set_alpha_to_one: final === 'clean' },
    ddpm: { ...clips, ...thresholds, variance_type: varianceNames[sampler.variance] },
    euler: { final_sigmas_type: end, use_karras_sigmas: karras },
    heun: { ...clips, use_karras_sigmas: karras },
    'dpm-solver++': { ...thresholds, algorithm_type: 'dpmsolver++', final_sigmas_type: end, use_karras_sigmas: karras },
    'sde-dpm-solver++': {
      ...thresholds,
      algorithm_type: 'sde-dpmsolver++',
      final_sigmas_type: end,
      use_karras_sigmas: karras,
    },
    unipc: { ...thresholds, final_sigmas_type: end, use_karras_sigmas: karras },
  }[kind]
  return { _class_name: classNames[kind], ...shared, ...own }
}

/**
 * The model_index.json and the scheduler_config.json of the diffusers pipeline that samples as a learner does.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` where there is none
 */
export function pipelineOf(unet: UNetConfig, schedule: ScheduleConfig, sampler: SamplerConfig) {
  const scheduler = toSchedulerConfig(schedule, sampler)
  const instead = "save it in the format 'model'"
  if (isConditional(unet))
    throw invalid(`save: diffusers' pipelines give a network no labels, which this one takes; ${instead}`)
  if (scheduler === undefined) throw invalid(`save: diffusers has no scheduler for the learner's schedule; ${instead}`)
  const name = pipelineNames[scheduler._class_name as string]
  if (name === undefined) {
    throw invalid(`save: diffusers' pipelines sample by ddim or ddpm, the learner by ${sampler.kind}; ${instead}`)
  }
  const index = {
    _class_name: name,
    _diffusers_version: diffusersVersion,
    scheduler: ['diffusers', scheduler._class_name],
    unet: ['diffusers', 'UNet2DModel'],
  }
  return { index, scheduler }
}

const pipelineNames: Readonly<Record<string, string>> = { DDIMScheduler: 'DDIMPipeline', DDPMScheduler: 'DDPMPipeline' }

function nameOf<K extends string>(names: Readonly<Record<K, string>>, value: string): K | undefined {
  return (Object.keys(names) as K[]).find((name) => names[name] === value)
}
