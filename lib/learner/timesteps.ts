import { isDeepStrictEqual } from 'node:util'
import type { ScheduleConfig } from '../config/schedule.js'
import { type ResolvedTimesteps, type TimestepTable, timestepTable } from '../config/timesteps.js'
import type { NativeSessionOptions } from '../engine/native-learner.js'
import type { ResolvedObjective } from '../methods/objective.js'

/** An objective whose terms draw their timesteps as they say, or else as `timesteps` says. */
export function drawingAt(objective: ResolvedObjective, timesteps: ResolvedTimesteps | undefined): ResolvedObjective {
  if (timesteps === undefined) return objective
  return { ...objective, terms: objective.terms.map((term) => ({ timesteps, ...term })) }
}

/**
 * The distributions of an objective's timesteps, as the engine draws from them.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for timesteps that the schedule doesn't have, or that are never drawn
 */
export function planTimesteps(
  { terms }: ResolvedObjective,
  schedule: ScheduleConfig,
  where: string,
): NonNullable<NativeSessionOptions['timesteps']> {
  const tables: TimestepTable[] = []
  const numbers = terms.map(({ timesteps }) => {
    const table = timestepTable(timesteps, schedule, `${where}: timesteps`)
    if (table === undefined) return -1
    const known = tables.findIndex((other) => isDeepStrictEqual(other, table))
    return known < 0 ? tables.push(table) - 1 : known
  })
  return { tables, numbers }
}
