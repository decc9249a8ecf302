import { z } from 'zod'
import { invalid } from '../errors.js'
import { noiseLevels, type ScheduleConfig, timestepsSchema } from './schedule.js'

/**
 * Where the timesteps of a loss term are drawn: uniformly in a range [from, to), 0 ≤ from < to ≤ T, or from a distribution.
 *
 * @category Networks, schedules and samplers
 */
export type Timesteps = readonly [from: number, to: number] | TimestepDistribution

/**
 * A distribution over the timesteps 0 … T − 1.
 *
 * - `uniform`: each timestep is equally likely;
 * - `logit-normal`: t = ⌊T·u⌋ with logit(u) ~ N(mean, std²) (arXiv 2403.03206): the middle of the schedule more often than its ends, and with a
 *   `mean` above 0 more noise. Defaults: mean 0, std 1;
 * - `log-normal`: the timestep whose ln(σ/α) is nearest to a number from N(mean, std²), as in EDM (arXiv 2206.00364). Defaults: mean −1.2, std 1.2.
 *
 * @category Networks, schedules and samplers
 */
export type TimestepDistribution = (
  | { readonly kind: 'uniform' }
  | { readonly kind: 'logit-normal' | 'log-normal'; readonly mean?: number; readonly std?: number }
) & {
  /** Only timesteps in [from, to), in the same proportions. Default [0, T). */
  readonly range?: readonly [from: number, to: number]
  /**
   * Stratified over a step's batch of n images: one of them is drawn from each n-th of the distribution, in random order, so that the batches differ less
   * from each other. Each image's timestep alone has the same distribution. Default false.
   */
  readonly stratified?: boolean
}

const rest = { range: timestepsSchema.optional(), stratified: z.boolean().default(false) }
const normal = (mean: number, std: number) => ({
  mean: z.number().min(-100).max(100).default(mean),
  std: z.number().min(1e-3).max(100).default(std),
})

/** Schema of {@link Timesteps}. What is drawn like a range, or like no range, is that. */
export const drawnTimestepsSchema = z.union([
  timestepsSchema,
  z
    .discriminatedUnion('kind', [
      z.strictObject({ kind: z.literal('uniform'), ...rest }),
      z.strictObject({ kind: z.literal('logit-normal'), ...normal(0, 1), ...rest }),
      z.strictObject({ kind: z.literal('log-normal'), ...normal(-1.2, 1.2), ...rest }),
    ])
    .transform((given) => (given.kind === 'uniform' && !given.stratified ? given.range : given)),
])

/** {@link Timesteps} with all defaults filled in. */
export type ResolvedTimesteps = NonNullable<z.output<typeof drawnTimestepsSchema>>
type ResolvedDistribution = Extract<ResolvedTimesteps, { kind: string }>

/** The range of timesteps that are drawn; undefined: all. */
export function rangeOf(timesteps: Timesteps | undefined): readonly [from: number, to: number] | undefined {
  return timesteps && ('kind' in timesteps ? timesteps.range : timesteps)
}

/** What timesteps are drawn by that are not uniform. */
export interface TimestepTable {
  /** How likely the range's first 1, 2, … timesteps are together, up to a common factor. */
  readonly cumulative: Float64Array
  readonly stratified: boolean
}

/**
 * The table of a distribution; undefined for a mere range.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a range that the schedule doesn't have, or in which no timestep is likely
 */
export function timestepTable(
  timesteps: ResolvedTimesteps | undefined,
  schedule: ScheduleConfig,
  where: string,
): TimestepTable | undefined {
  const [from, to] = rangeOf(timesteps) ?? [0, schedule.timesteps]
  if (to > schedule.timesteps) {
    throw invalid(`${where} end at ${to}; expected at most the schedule's ${schedule.timesteps} timesteps`)
  }
  if (timesteps === undefined || !('kind' in timesteps)) return undefined
  const below = boundsBelow(timesteps, schedule)
  const cumulative = Float64Array.from({ length: to - from }, (_, i) => below(from + i + 1) - below(from))
  if (cumulative.at(-1)! > 1e-9) return { cumulative, stratified: timesteps.stratified }
  throw invalid(
    `${where} ${from} … ${to - 1} have no probability in the distribution ${JSON.stringify(timesteps)}; expected a range in which it has some`,
  )
}

/** The place of `u`, in [0, 1), in a table: the first whose cumulative probability is larger. */
export function placeIn({ cumulative }: TimestepTable, u: number): number {
  const wanted = u * cumulative.at(-1)!
  let [low, high] = [0, cumulative.length - 1]
  while (low < high) {
    const middle = (low + high) >> 1
    if (cumulative[middle]! > wanted) high = middle
    else low = middle + 1
  }
  return low
}

/** @returns the probability of the timesteps below t, t = 0 … T */
function boundsBelow(distribution: ResolvedDistribution, schedule: ScheduleConfig): (t: number) => number {
  const total = schedule.timesteps
  if (distribution.kind === 'uniform') return (t) => t / total
  const { kind, mean, std } = distribution
  const below = (x: number) => normalBelow((x - mean) / std)
  if (kind === 'logit-normal') return (t) => below(Math.log(t / (total - t)))
  const { alpha, sigma } = noiseLevels(schedule)
  const logs = alpha.map((a, t) => Math.log(sigma[t]! / a))
  return (t) => (t === 0 ? 0 : t === total ? 1 : below((logs[t - 1]! + logs[t]!) / 2))
}

/** The standard normal distribution function, by Marsaglia's series (Journal of Statistical Software 11(4), 2004). */
function normalBelow(x: number): number {
  if (Math.abs(x) > 8) return x < 0 ? 0 : 1
  let sum = x
  for (let term = x, n = 3, before = 0; sum !== before; n += 2) {
    before = sum
    term *= (x * x) / n
    sum += term
  }
  return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI)
}
