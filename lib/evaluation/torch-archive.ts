import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { crc32 } from 'node:zlib'
import { type Entry, openPromise, type ZipFile } from 'yauzl'
import { ContinualDiffusionError } from '../engine/errors.js'

function refused(file: string, why: string, cause?: unknown): ContinualDiffusionError {
  return new ContinualDiffusionError(
    'ERR_BAD_CHECKPOINT',
    `${file}: ${why}; expected a TorchScript file as torch.jit.save wrote it`,
    { cause },
  )
}

/**
 * SHA-256 of a TorchScript file, in hexadecimal, once all records of its archive (zip) are seen to be as their checksums say. libtorch
 * doesn't look: it takes memory for what a damaged record claims, and reads past the end of one that is shorter than its tensor.
 *
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT`, which names file and record
 */
export async function checkedTorchArchive(file: string): Promise<string> {
  const hash = createHash('sha256')
  try {
    await pipeline(createReadStream(file), hash)
  } catch (cause) {
    throw refused(file, `cannot be read (${(cause as Error).message})`, cause)
  }
  let archive: ZipFile
  try {
    // Names as bytes: whatever the archive's folder is called, it is not a path to anything here.
    archive = await openPromise(file, { decodeStrings: false })
  } catch (cause) {
    throw refused(file, `is no zip archive (${(cause as Error).message})`, cause)
  }
  try {
    for await (const entry of archive.eachEntry()) await checkRecord(file, archive, entry)
  } catch (cause) {
    if (cause instanceof ContinualDiffusionError) throw cause
    throw refused(file, `is a damaged archive (${(cause as Error).message})`, cause)
  } finally {
    archive.close()
  }
  return hash.digest('hex')
}

async function checkRecord(file: string, archive: ZipFile, entry: Entry): Promise<void> {
  const record = `its record '${String(entry.fileName).slice(0, 200)}'`
  // libtorch leaves what such a record would fill as it finds it.
  if ((entry.externalFileAttributes & 0x10) !== 0) throw refused(file, `is damaged: ${record} is marked as a folder`)
  let found = 0
  for await (const chunk of await archive.openReadStreamPromise(entry)) found = crc32(chunk, found)
  if (found === entry.crc32) return
  const hex = (sum: number) => sum.toString(16).padStart(8, '0')
  throw refused(file, `is damaged: the CRC-32 of ${record} is ${hex(found)}, not ${hex(entry.crc32)}`)
}
