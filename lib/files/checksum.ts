import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'

/** How much is hashed in one turn of the event loop, in bytes: a millisecond or two. */
export const hashedAtOnce = 2 ** 20

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
    for await (const part of createReadStream(file, { end: length - 1, highWaterMark: hashedAtOnce })) {
      hash.update(part)
      read += (part as Buffer).length
    }
  }
  return { bytes: read, sha256: hash.digest('hex') }
}

/** Adds an array's bytes to a hash, part by part, so that JavaScript's thread never hashes for long. */
export async function addToHash(hash: Hash, { buffer, byteOffset, byteLength }: NodeJS.ArrayBufferView): Promise<void> {
  for (let at = 0; at < byteLength; at += hashedAtOnce) {
    hash.update(new Uint8Array(buffer, byteOffset + at, Math.min(hashedAtOnce, byteLength - at)))
    await setImmediate()
  }
}
