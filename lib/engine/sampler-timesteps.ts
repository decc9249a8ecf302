import { parseSampler, type SamplerConfig } from '../config/sampler.js'
import { type ScheduleConfig, scheduleSchema } from '../config/schedule.js'
import { parseOptions } from '../validation/options.js'
import { call } from './call.js'

/**
 * The timesteps that a sampler visits, from the noisiest, and for each the one that its step goes to (−1: the clean image).
 *
 * @param config what differs from `paperSchedule`
 * @param sampler what differs from `paperSampler`
 *
 * @category Networks, schedules and samplers
 */
export function samplerTimesteps(
  config: Partial<ScheduleConfig> = {},
  sampler: Partial<SamplerConfig> = {},
): { timesteps: Int32Array; previous: Int32Array } {
  const { timesteps, ...schedule } = parseOptions(scheduleSchema, config, 'samplerTimesteps: schedule')
  const checked = parseSampler({ timesteps, ...schedule }, sampler, 'samplerTimesteps: sampler')
  return call((addon) => addon.samplerTimesteps({ timesteps, sampler: checked }))
}
