import { ContinualDiffusionError } from '../errors.js'

/** How much of images one call copies on JavaScript's thread, in bytes: about a millisecond's work. */
export const copiedAtOnce = 2 ** 22

/**
 * Memory for images.
 *
 * @param what for messages
 * @throws ContinualDiffusionError `ERR_OUT_OF_MEMORY`
 */
export function allocate(bytes: number, what: string): Uint8Array {
  try {
    return new Uint8Array(bytes)
  } catch (cause) {
    throw new ContinualDiffusionError('ERR_OUT_OF_MEMORY', `${what} take ${bytes} bytes; take a smaller size`, {
      cause,
    })
  }
}
