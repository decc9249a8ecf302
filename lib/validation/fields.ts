import { z } from 'zod'
import type { Device, Precision } from '../engine/device.js'

/** Schemas of options that many functions take. */

/** 0 … 2³² − 1. */
export const seedSchema = z
  .int()
  .min(0)
  .max(2 ** 32 - 1)

export const deviceSchema = z.custom<Device>(
  (device) => typeof device === 'string' && /^(auto|cpu|cuda(:(0|[1-9]\d*))?)$/.test(device),
  "expected 'auto', 'cpu', 'cuda' or 'cuda:N'",
)

export const precisionSchema = z.enum(['auto', 'fp32', 'tf32', 'bf16']) satisfies z.ZodType<Precision>

export const signalSchema = z.instanceof(AbortSignal)

/** Images in a batch. */
export const batchSizeSchema = z.int().min(1).max(1_000_000)
