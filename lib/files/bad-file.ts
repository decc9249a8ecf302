import { ContinualDiffusionError } from '../errors.js'

/** The error of a saved file that isn't as it should be. */
export function badFile(file: string, what: string, cause?: unknown): ContinualDiffusionError {
  return new ContinualDiffusionError('ERR_BAD_CHECKPOINT', `${file}: ${what}`, { cause })
}

/**
 * Says of a file that a newer version of this package wrote that it is one, before anything else in it is looked at.
 *
 * @param known the newest format that this version reads
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT`
 */
export function checkFormat(file: string, json: unknown, known: number): void {
  const found = (json as { format?: unknown } | null)?.format
  if (typeof found === 'number' && found > known) {
    throw badFile(
      file,
      `format is ${found}, from a newer version of continual-diffusion; this version reads formats up to ${known}: install a newer version`,
    )
  }
}
