import type { Part } from '../report/live/entries.js'
import type { MethodRun } from '../report/results.js'

/**
 * Estimates the seconds left of a whole run: those of the task in progress, and for its evaluation and each later part the mean of the
 * parts done; undefined while none is done.
 *
 * @param ofTask seconds left of the task in progress
 */
export function secondsLeftOf(
  runs: readonly MethodRun[],
  { part, parts }: Pick<Part, 'part' | 'parts'>,
  ofTask: number,
): number | undefined {
  const done = runs.flatMap(({ tasks }) => tasks).filter(({ sharedFrom }) => sharedFrom === undefined)
  if (done.length === 0) return undefined
  const mean = (which: 'learn' | 'evaluate') => done.reduce((sum, { seconds }) => sum + seconds[which], 0) / done.length
  return ofTask + mean('evaluate') + (parts - part) * (mean('learn') + mean('evaluate'))
}
