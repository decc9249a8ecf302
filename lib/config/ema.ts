import { z } from 'zod'

/**
 * The moving average of the weights: its decay, 0 ≤ decay < 1, or a decay with warm-up. 0: no average.
 *
 * @category Learner
 */
export type Ema = number | EmaWarmup

/**
 * A decay of the moving average that rises from 0 to `decay` over the steps of each task, as in diffusers' `EMAModel`, so that the average follows the
 * weights at once while few steps are done. At step t of the task, from 0, the decay is at most
 *
 * - `ratio`: (1 + t)/(10 + t), and 0 for t = 0;
 * - `power`: 1 − (1 + t/invGamma)^−power, which diffusers calls `use_ema_warmup`.
 *
 * @category Learner
 */
export interface EmaWarmup {
  /** The largest decay, 0 < decay < 1. */
  readonly decay: number
  readonly warmup: 'ratio' | 'power'
  /** Of `power`: diffusers' `inv_gamma`, > 0. Default 1. */
  readonly invGamma?: number
  /** Of `power`: > 0. Default 2/3. */
  readonly power?: number
}

const positive = z.number().positive().max(1e6)
const decay = z.number().gt(0).lt(1)

/** Schema of {@link Ema}. */
export const emaSchema = z.union([
  z.number().min(0).lt(1),
  z.discriminatedUnion('warmup', [
    z.strictObject({ decay, warmup: z.literal('ratio') }),
    z.strictObject({
      decay,
      warmup: z.literal('power'),
      invGamma: positive.default(1),
      power: positive.default(2 / 3),
    }),
  ]),
])

/** {@link Ema} with all defaults filled in. */
export type ResolvedEma = z.output<typeof emaSchema>

/** The largest decay; 0: there is no average. */
export function emaDecay(ema: Ema): number {
  return typeof ema === 'number' ? ema : ema.decay
}
