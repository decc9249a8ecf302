import { parseSampler, type SamplerConfig } from '../config/sampler.js'
import { type ScheduleConfig, scheduleSchema } from '../config/schedule.js'
import { parseOptions } from '../validation/options.js'
import { call } from './call.js'

/**
 * The timesteps that a sampler visits.
 *
 * @param config the schedule; fields that are left out are those of `paperSchedule`
 * @param sampler fields that are left out are those of `paperSampler`
 * @returns `timesteps`: the timestep of each step, the noisiest first; `previous`: the timestep that each step goes to (−1: the clean image)
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
