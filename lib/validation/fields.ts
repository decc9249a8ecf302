import { z } from 'zod'

/** Schemas of options that many functions take. */

/** 0 … 2³² − 1. */
export const seedSchema = z
  .int()
  .min(0)
  .max(2 ** 32 - 1)

/**
 * Where to compute; `auto`: on the first CUDA device when there is one that works, else on the CPU.
 *
 * @category Learner
 */
export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

export const deviceSchema = z.custom<Device>(
  (device) => typeof device === 'string' && /^(auto|cpu|cuda(:(0|[1-9]\d*))?)$/.test(device),
  "expected 'auto', 'cpu', 'cuda' or 'cuda:N'",
)

/**
 * In what to multiply: `fp32`; `tf32`, CUDA only; `bf16`, with weights, optimiser state and losses kept in float32.
 * `auto`: bf16 where the hardware multiplies bf16 natively, else fp32.
 *
 * @category Learner
 */
export type Precision = 'auto' | 'fp32' | 'tf32' | 'bf16'

export const precisionSchema = z.enum(['auto', 'fp32', 'tf32', 'bf16']) satisfies z.ZodType<Precision>

export const signalSchema = z.instanceof(AbortSignal)

/** Images in a batch. */
export const batchSizeSchema = z.int().min(1).max(1_000_000)
