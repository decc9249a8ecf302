import { z } from 'zod'
import type { Device, Precision } from './engine/device.js'

/** Schemas of options that many functions take. */

/** 0 … 2³² − 1. */
export const seedSchema = z
  .int()
  .min(0)
  .max(2 ** 32 - 1)

export const deviceSchema = z.union([
  z.enum(['auto', 'cpu', 'cuda']),
  z.templateLiteral(['cuda:', z.int().min(0)], "expected 'auto', 'cpu', 'cuda' or 'cuda:N'"),
]) satisfies z.ZodType<Device>

export const precisionSchema = z.enum(['auto', 'fp32', 'tf32', 'bf16']) satisfies z.ZodType<Precision>

export const signalSchema = z.instanceof(AbortSignal)

/** Images in a batch. */
export const batchSizeSchema = z.int().min(1).max(1_000_000)
