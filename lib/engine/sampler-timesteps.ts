import { parseSampler, type SamplerOptions } from '../config/sampler.js'
import { type ScheduleConfig, scheduleSchema, scheduleTable } from '../config/schedule.js'
import { parseOptions } from '../validation/options.js'
import { call } from './call.js'

/**
 * The timesteps that a sampler visits.
 *
 * @param config the schedule; fields that are left out are those of `paperSchedule`
 * @param sampler fields that are left out are DDIM's in 10 steps
 * @returns `timesteps`: the timestep of each step, the noisiest first, with a fraction where the sampler has one; `previous`: the timestep that each
 *   step goes to (−1: the clean image)
 *
 * @category Networks, schedules and samplers
 */
export function samplerTimesteps(
  config: Partial<ScheduleConfig> = {},
  sampler: SamplerOptions = {},
): { timesteps: Float64Array; previous: Float64Array } {
  const schedule = parseOptions(scheduleSchema, config, 'samplerTimesteps: schedule')
  const checked = parseSampler(schedule, sampler, 'samplerTimesteps: sampler')
  return call((addon) => addon.samplerTimesteps({ schedule: scheduleTable(schedule), sampler: checked }))
}
