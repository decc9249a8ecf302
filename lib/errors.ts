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
  /** No more files, threads or processes for this process: what was being read or written is not at fault. */
  | 'ERR_OUT_OF_RESOURCES'
  /** The processes of a group don't find each other, differ, or one of them failed. */
  | 'ERR_GROUP'
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
    // Whoever reads or writes blames the file; where the machine lacked something the file has no part in it.
    const lack = lackOf(options?.cause)
    super(lack?.message ?? message, options)
    this.code = lack?.code ?? code
  }
}

const lacks: readonly (readonly [sign: RegExp, code: ErrorCode, advice: string])[] = [
  [
    /^E[MN]FILE|Too many open files/,
    'ERR_OUT_OF_RESOURCES',
    'no more files can be opened: close some, or raise the limit (ulimit -n); no file is damaged',
  ],
  [
    /^EAGAIN|^spawn EAGAIN|Resource temporarily unavailable/,
    'ERR_OUT_OF_RESOURCES',
    'no more processes or threads can be started: end some, or raise the limit (ulimit -u)',
  ],
  [
    /^ENOMEM|^spawn ENOMEM|[Cc]annot allocate memory|Array buffer allocation failed/,
    'ERR_OUT_OF_MEMORY',
    'there is not enough memory: end other processes, or raise the limit (ulimit -v); no file is damaged',
  ],
]

/**
 * What the machine lacked, where that is why something failed.
 *
 * @internal
 */
export function lackOf(cause: unknown): { code: ErrorCode; message: string } | undefined {
  if (cause instanceof ContinualDiffusionError) {
    const isLack = cause.code === 'ERR_OUT_OF_RESOURCES' || cause.code === 'ERR_OUT_OF_MEMORY'
    return isLack ? { code: cause.code, message: cause.message } : undefined
  }
  if (typeof cause !== 'object' || cause === null) return undefined
  const message = messageOf(cause)
  const found = lacks.find(([sign]) => sign.test(message))
  if (found === undefined) return lackOf((cause as { cause?: unknown }).cause) // fetch hides it there
  return { code: found[1], message: `${message}; ${found[2]}` }
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
