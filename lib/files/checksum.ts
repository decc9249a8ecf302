import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'

/** What a file, or its beginning, is known again by. */
export interface Checksum {
  readonly bytes: number
  /** Hexadecimal. */
  readonly sha256: string
}

/**
 * @param bytes how much of the file, from its beginning; default: all of it
 * @throws the system's error where the file can't be read
 */
export async function checksumOf(file: string, bytes?: number): Promise<Checksum> {
  const hash = createHash('sha256')
  const length = bytes ?? (await stat(file)).size
  let read = 0
  if (length > 0) {
    for await (const part of createReadStream(file, { end: length - 1, highWaterMark: 2 ** 20 })) {
      hash.update(part)
      read += (part as Buffer).length
    }
  }
  return { bytes: read, sha256: hash.digest('hex') }
}
