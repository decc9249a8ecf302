import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { badFile } from './bad-file.js'
import { jsonProblem } from './json-text.js'

/** Bytes of the largest file that is read: no file of a checkpoint comes near it. */
const largest = 100_000_000

/**
 * A JSON file of a checkpoint; undefined where there is no such file.
 *
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` where it can't be read or is no JSON
 */
export async function readJson(file: string): Promise<unknown> {
  let text: string
  try {
    // Without waiting for whoever writes into a pipe of that name.
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const stats = await handle.stat()
      if (!stats.isFile()) throw new Error('it is no file; expected a JSON file')
      if (stats.size > largest) throw new Error(`it has ${stats.size} bytes; expected at most ${largest}`)
      text = await handle.readFile('utf8')
    } finally {
      await handle.close()
    }
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
 *
 * @throws SyntaxError that tells line and column
 */
export function parseJson(text: string): unknown {
  const marked = text.replace(/^\ufeff/, '')
  try {
    return JSON.parse(marked)
  } catch (error) {
    const finite = marked.replace(/"(?:[^"\\]|\\.)*"|Infinity|NaN/g, (token) =>
      token === 'Infinity' ? '1e999' : token === 'NaN' ? '"NaN"' : token,
    )
    try {
      return JSON.parse(finite)
    } catch {
      throw new SyntaxError(jsonProblem(marked) ?? (error as Error).message)
    }
  }
}
