import { z } from 'zod'
import { paperSampler, parseSampler, type SamplerConfig } from '../config/sampler.js'
import { type ScheduleConfig, scheduleSchema } from '../config/schedule.js'
import { diffusersVersion } from '../config/unet.js'
import { parseOptions } from '../validation/options.js'

const betaNames = { linear: 'linear', scaled_linear: 'scaled-linear', squaredcos_cap_v2: 'cosine' } as const
const predictionNames = { epsilon: 'epsilon', sample: 'sample', v_prediction: 'v' } as const
const samplerNames = { DDIMScheduler: 'ddim', DDPMScheduler: 'ddpm' } as const

/** Keys of a diffusers scheduler_config.json with diffusers' defaults, and only the values that this package has. */
const schema = z.looseObject({
  _class_name: z.enum(['DDIMScheduler', 'DDPMScheduler']),
  num_train_timesteps: z.int().default(1000),
  beta_start: z.number().default(1e-4),
  beta_end: z.number().default(0.02),
  beta_schedule: z.enum(['linear', 'scaled_linear', 'squaredcos_cap_v2']).default('linear'),
  prediction_type: z.enum(['epsilon', 'sample', 'v_prediction']).default('epsilon'),
  rescale_betas_zero_snr: z.boolean().default(false),
  clip_sample: z.boolean().default(true),
  clip_sample_range: z.literal(1, 'expected 1: images are in [−1, 1]').default(1),
  timestep_spacing: z.enum(['leading', 'trailing']).default('leading'),
  steps_offset: z.literal(0, 'expected 0').default(0),
  set_alpha_to_one: z.literal(true, 'expected true: the last step goes to the clean image').default(true),
  thresholding: z.literal(false, 'expected false').default(false),
  trained_betas: z.null('expected null').default(null),
  variance_type: z.literal('fixed_small', "expected 'fixed_small'").default('fixed_small'),
})

/** The contents of a diffusers scheduler_config.json, of a DDIMScheduler or a DDPMScheduler. */
export function parseSchedulerConfig(
  json: unknown,
  file: string,
): { schedule: ScheduleConfig; sampler: SamplerConfig } {
  const config = parseOptions(schema, json, file, 'ERR_BAD_CHECKPOINT')
  const given = {
    timesteps: config.num_train_timesteps,
    betas: betaNames[config.beta_schedule],
    betaStart: config.beta_start,
    betaEnd: config.beta_end,
    zeroTerminalSnr: config.rescale_betas_zero_snr,
    prediction: predictionNames[config.prediction_type],
  }
  const schedule = parseOptions(scheduleSchema, given, file, 'ERR_BAD_CHECKPOINT')
  const kind = samplerNames[config._class_name]
  // How many steps to take is no part of the file; an ancestral sampler is made for all of them.
  const steps = kind === 'ddpm' ? schedule.timesteps : undefined
  const chosen = { kind, steps, clip: config.clip_sample, spacing: config.timestep_spacing }
  return { schedule, sampler: parseSampler(schedule, chosen, file, paperSampler, 'ERR_BAD_CHECKPOINT') }
}

/** The scheduler_config.json of diffusers' DDIMScheduler that has this schedule, and this sampler's clipping and spacing. */
export function toSchedulerConfig(schedule: ScheduleConfig, sampler: SamplerConfig): Record<string, unknown> {
  return {
    _class_name: 'DDIMScheduler',
    _diffusers_version: diffusersVersion,
    beta_end: schedule.betaEnd,
    beta_schedule: nameOf(betaNames, schedule.betas),
    beta_start: schedule.betaStart,
    clip_sample: sampler.clip,
    clip_sample_range: 1,
    dynamic_thresholding_ratio: 0.995,
    num_train_timesteps: schedule.timesteps,
    prediction_type: nameOf(predictionNames, schedule.prediction),
    rescale_betas_zero_snr: schedule.zeroTerminalSnr,
    sample_max_value: 1,
    set_alpha_to_one: true,
    steps_offset: 0,
    thresholding: false,
    timestep_spacing: sampler.spacing,
    trained_betas: null,
  }
}

function nameOf(names: Readonly<Record<string, string>>, value: string): string | undefined {
  return Object.keys(names).find((name) => names[name] === value)
}
