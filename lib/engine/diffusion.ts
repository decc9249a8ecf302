import { z } from 'zod'
import { parseSampler, type SamplerConfig } from '../config/sampler.js'
import { type ScheduleConfig, scheduleSchema } from '../config/schedule.js'
import { parseOptions } from '../validation/options.js'
import { call } from './call.js'

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
