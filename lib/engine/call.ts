import { types } from 'node:util'
import { ContinualDiffusionError, type ErrorCode } from '../errors.js'
import type { Addon } from './addon.js'
import { loadAddon } from './load.js'
import type { CancelFlag } from './native-values.js'

/**
 * Calls into the addon. What it throws, or rejects with, comes out as a ContinualDiffusionError whose stack is the
 * caller's: an error that is made on the engine thread knows none.
 */
export function call<T>(run: (addon: Addon) => T): T {
  const site: { stack?: string } = {}
  Error.captureStackTrace(site, call)
  try {
    const result = run(loadAddon())
    if (!types.isPromise(result)) return result
    return result.catch((error: unknown) => {
      throw toError(error, site)
    }) as T
  } catch (error) {
    throw toError(error, site)
  }
}

/** What the addon sets as `code`; any other failure is `ERR_ENGINE`. */
const nativeCodes: ReadonlySet<string> = new Set<ErrorCode>([
  'ERR_INVALID_ARGUMENT',
  'ERR_BAD_DATA',
  'ERR_BAD_CHECKPOINT',
  'ERR_DEVICE_UNAVAILABLE',
  'ERR_DEVICE_FAILED',
  'ERR_OUT_OF_MEMORY',
  'ERR_OUT_OF_RESOURCES',
  'ERR_DIVERGED',
  'ERR_GROUP',
  'ERR_DISPOSED',
  'ERR_ENGINE',
])

function toError(cause: unknown, site: { stack?: string }): unknown {
  if (cause instanceof ContinualDiffusionError) return cause
  const { code, message } = cause as { code?: unknown; message?: unknown }
  const known = typeof code === 'string' && nativeCodes.has(code)
  const error = new ContinualDiffusionError(known ? (code as ErrorCode) : 'ERR_ENGINE', String(message ?? cause), {
    cause,
  })
  const frames = site.stack?.slice(site.stack.indexOf('\n    at ')) ?? ''
  error.stack = `${error.name}: ${error.message}${frames}`
  return error
}

/** How long a call that trains should last: progress and aborts come about that often. */
export const trainingMilliseconds = 200

/**
 * Runs a cancellable call: an abort of `signal` sets the flag that the engine polls, and once the call has come back the
 * promise rejects with `signal.reason`, whatever it came back with.
 *
 * @param onDone told now and then how much is done, 0 … 1, of a call that says it; what it throws ends the call, and is thrown
 */
export async function withCancel<T>(
  signal: AbortSignal | undefined,
  run: (flag: CancelFlag) => Promise<T>,
  onDone?: (fraction: number) => void,
): Promise<T> {
  signal?.throwIfAborted()
  const flag = new Int32Array(2)
  const cancel = () => Atomics.store(flag, 0, 1)
  let thrown: { readonly error: unknown } | undefined
  const tell = () => {
    if (thrown) return
    try {
      onDone?.(Atomics.load(flag, 1) / 10_000)
    } catch (error) {
      thrown = { error } // nobody could catch what a timer throws
      cancel()
    }
  }
  const timer = onDone && setInterval(tell, trainingMilliseconds)
  signal?.addEventListener('abort', cancel)
  const check = () => {
    if (thrown) throw thrown.error
    signal?.throwIfAborted()
  }
  try {
    const result = await run(flag)
    check()
    return result
  } catch (error) {
    check()
    throw error
  } finally {
    clearInterval(timer)
    signal?.removeEventListener('abort', cancel)
  }
}

/** The error of using `what` after its `dispose()`. */
export function disposedError(what: string): ContinualDiffusionError {
  return new ContinualDiffusionError('ERR_DISPOSED', `${what} was disposed; create or load a new one`)
}
