/**
 * The kind of an error, as a constant that programs can compare with.
 *
 * @category Errors
 */
export type ErrorCode =
  | 'ERR_LIBTORCH_NOT_FOUND'
  | 'ERR_ADDON_NOT_BUILT'
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_BAD_DATA'
  | 'ERR_BAD_CHECKPOINT'
  | 'ERR_DATA_NOT_FOUND'
  | 'ERR_DOWNLOAD_FAILED'
  | 'ERR_WRITE_FAILED'
  | 'ERR_RUN_LOCKED'
  /** A device that the machine doesn't have, or that doesn't work with this driver and libtorch. */
  | 'ERR_DEVICE_UNAVAILABLE'
  /** A device that failed during work: only a new process can use it again. */
  | 'ERR_DEVICE_FAILED'
  | 'ERR_OUT_OF_MEMORY'
  | 'ERR_DIVERGED'
  | 'ERR_DISPOSED'
  | 'ERR_ENGINE'

/**
 * The only error class of this package. `message` says what is wrong, where, what was found, what was expected, and what to do. `code` is
 * stable across versions. `cause` is the underlying error, if there is one.
 *
 * @category Errors
 */
export class ContinualDiffusionError extends Error {
  override readonly name = 'ContinualDiffusionError'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** What went wrong, of whatever was thrown, also in another realm, whose errors are no `instanceof Error`. @internal */
export function messageOf(thrown: unknown): string {
  const { message } = (thrown ?? {}) as { message?: unknown }
  return typeof message === 'string' ? message : String(thrown)
}

/** The commonest of them. @internal */
export function invalid(message: string, cause?: unknown): ContinualDiffusionError {
  return new ContinualDiffusionError('ERR_INVALID_ARGUMENT', message, cause === undefined ? undefined : { cause })
}
