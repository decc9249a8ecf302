import { readFile } from 'node:fs/promises'
import { badFile } from './bad-file.js'

/**
 * A JSON file of a checkpoint; undefined where there is no such file.
 *
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` where it can't be read or is no JSON
 */
export async function readJson(file: string): Promise<unknown> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    throw badFile(file, message, cause)
  }
  try {
    return parseJson(text)
  } catch (cause) {
    throw badFile(file, `not JSON: ${(cause as Error).message}`, cause)
  }
}

/** JSON of a file, past the byte-order mark that some editors begin it with. */
export function parseJson(text: string): unknown {
  return JSON.parse(text.replace(/^\ufeff/, ''))
}
