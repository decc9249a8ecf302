import { z } from 'zod'
import { invalid } from '../errors.js'
import { expectation, withArticle } from './expectation.js'

/** Schemas of options that many functions take. */

/** 0 … 2³² − 1. */
export const seedSchema = z
  .int()
  .min(0)
  .max(2 ** 32 - 1)

/**
 * The device that computes. `auto`: the first CUDA device if one works, else the CPU.
 *
 * @category Learner
 */
export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

export const deviceSchema = z.custom<Device>(
  (device) => typeof device === 'string' && /^(auto|cpu|cuda(:(0|[1-9]\d*))?)$/.test(device),
  "expected 'auto', 'cpu', 'cuda' or 'cuda:N'",
)

/**
 * The number type of products: `fp32`; `tf32` (only on CUDA); `bf16`. Weights, optimiser state and losses are float32 in any case. `auto`:
 * bf16 where it is faster than fp32 (on CUDA, and on CPUs with AMX), else fp32.
 *
 * @category Learner
 */
export type Precision = 'auto' | 'fp32' | 'tf32' | 'bf16'

export const precisionSchema = z.enum(['auto', 'fp32', 'tf32', 'bf16']) satisfies z.ZodType<Precision>

/** Threads on the CPU. */
export const threadsSchema = z.int().min(1).max(1024)

// What another realm made (Jest, vm) is no `instanceof` of this one's classes.

/** Of Node or of a DOM. */
export const signalSchema = z.custom<AbortSignal>(
  (value) => isSignal(value as Partial<AbortSignal> | null | undefined),
  'expected an AbortSignal',
)

/** Of a file or a folder. */
export const pathSchema = z
  .string('expected a path, as a string')
  .refine((path) => path !== '' && !path.includes('\0'), 'expected a path: not empty, and without NUL')

/** So far that no position in the data overflows. */
export const mostSteps = 2 ** 40

/**
 * Steps of so many passes over so many images.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function countSteps(epochs: number, images: number, batchSize: number, where: string): number {
  const steps = Math.ceil((epochs * images) / batchSize)
  if (steps <= mostSteps) return steps
  throw invalid(`${where}: epochs is ${epochs}, which makes ${steps} steps; expected at most ${mostSteps} steps`)
}

/** Images in a batch. */
export const batchSizeSchema = z.int().min(1).max(1_000_000)

/** A function; what it takes and returns can't be checked. */
export function functionSchema<T>(what = 'a function'): z.ZodType<T> {
  return z.custom<T>((value) => typeof value === 'function', `expected ${what}`)
}

/** A schema that checks a value as `schema` does, but gives back the value and not a copy. */
export function itself<T>(schema: z.ZodType): z.ZodType<T> {
  return z.custom<T>().superRefine((value, context) => {
    for (const issue of schema.safeParse(value, { error: expectation }).error?.issues ?? [])
      context.addIssue({ ...issue })
  })
}

/** A typed array, of whatever realm, whose memory is there. */
export function arraySchema<T extends ArrayBufferView>(type: new () => T): z.ZodType<T> {
  const isOne = (value: unknown): value is T =>
    ArrayBuffer.isView(value) && (value as Partial<Uint8Array>)[Symbol.toStringTag] === type.name
  return z.custom<T>((value) => isOne(value) && !isDetached(value), {
    error: ({ input }) =>
      `expected ${withArticle(type.name)}${isOne(input) ? ` with its memory; the memory of this one was ${transferred}` : ''}`,
  })
}

/** How much an array holds, for messages. */
export function held(array: ArrayBufferView & { readonly length: number }, unit = 'elements'): string {
  return isDetached(array) ? `no ${unit}, as their memory was ${transferred}` : `${array.length} ${unit}`
}

const transferred = 'transferred, e.g. to a worker (its buffer is detached)'

function isDetached({ buffer }: ArrayBufferView): boolean {
  try {
    return new Uint8Array(buffer).length < 0
  } catch {
    return true
  }
}

function isSignal(value: Partial<AbortSignal> | null | undefined): boolean {
  const methods = [value?.throwIfAborted, value?.addEventListener, value?.removeEventListener]
  return typeof value?.aborted === 'boolean' && methods.every((method) => typeof method === 'function')
}
