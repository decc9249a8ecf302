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

/**
 * JSON of a file: past the byte-order mark that some editors begin it with, and with the numbers that JSON hasn't as Python writes them,
 * `Infinity`, `-Infinity` and `NaN`; the last becomes the string 'NaN', which no number is.
 */
export function parseJson(text: string): unknown {
  const marked = text.replace(/^\ufeff/, '')
  try {
    return JSON.parse(marked)
  } catch (error) {
    const finite = marked.replace(/"(?:[^"\\]|\\.)*"|Infinity|NaN/g, (token) =>
      token === 'Infinity' ? '1e999' : token === 'NaN' ? '"NaN"' : token,
    )
    if (finite === marked) throw error
    return JSON.parse(finite)
  }
}
