import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import { type Entry, fromRandomAccessReaderPromise, RandomAccessReader, type ZipFile } from 'yauzl'
import { ContinualDiffusionError } from '../errors.js'

function refused(file: string, why: string, cause?: unknown): ContinualDiffusionError {
  return new ContinualDiffusionError(
    'ERR_BAD_CHECKPOINT',
    `${file}: ${why}; expected a TorchScript file that torch.jit.save wrote`,
    { cause },
  )
}

/** What yauzl reads a file by. Its own reader takes positions as they come, and `fs.read` throws at those of 2^53 and more. */
class Positions extends RandomAccessReader {
  constructor(
    readonly file: string,
    readonly handle: FileHandle,
    readonly size: number,
  ) {
    super()
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    const read = async () => {
      if (position + length > this.size) throw new Error('unexpected end of file')
      await this.handle.read(buffer, offset, length, position)
    }
    // Not from within the promise: what the callback throws is no error of the reading.
    read().then(
      () => setImmediate(callback, null),
      (error) => setImmediate(callback, error),
    )
  }

  override _readStreamForRange(start: number, end: number): Readable {
    return createReadStream(this.file, { start, end: end - 1 }) // one of the handle's own would close it
  }
}

/**
 * SHA-256 of a TorchScript file, in hexadecimal, once all records of its archive (zip) are seen to be as their checksums say. libtorch
 * doesn't look: it takes memory for what a damaged record claims, and reads past the end of one that is shorter than its tensor.
 *
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT`, which names file and record
 */
export async function checkedTorchArchive(file: string): Promise<string> {
  let handle: FileHandle | undefined
  try {
    handle = await open(file)
    const hash = createHash('sha256')
    for await (const chunk of handle.createReadStream({ start: 0, autoClose: false })) hash.update(chunk)
    const { size } = await handle.stat()
    // Names as bytes: whatever the archive's folder is called, it is not a path to anything here.
    const archive = await fromRandomAccessReaderPromise(new Positions(file, handle, size), size, {
      decodeStrings: false,
    })
    for await (const entry of archive.eachEntry()) await checkRecord(file, archive, entry)
    return hash.digest('hex')
  } catch (cause) {
    if (cause instanceof ContinualDiffusionError) throw cause
    const { message, syscall } = cause as NodeJS.ErrnoException
    throw refused(
      file,
      syscall === undefined ? `is no archive, or damaged (${message})` : `cannot be read (${message})`,
      cause,
    )
  } finally {
    await handle?.close()
  }
}

async function checkRecord(file: string, archive: ZipFile, entry: Entry): Promise<void> {
  const record = `its record ${JSON.stringify(String(entry.fileName).slice(0, 200))}`
  // libtorch leaves what such a record would fill as it finds it.
  if ((entry.externalFileAttributes & 0x10) !== 0) throw refused(file, `is damaged: ${record} is marked as a folder`)
  let found = 0
  for await (const chunk of await archive.openReadStreamPromise(entry)) found = crc32(chunk, found)
  if (found === entry.crc32) return
  const hex = (sum: number) => sum.toString(16).padStart(8, '0')
  throw refused(file, `is damaged: the CRC-32 of ${record} is ${hex(found)}, not ${hex(entry.crc32)}`)
}
