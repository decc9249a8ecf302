import { open, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { constants, gunzip } from 'node:zlib'
import { ContinualDiffusionError, messageOf } from '../errors.js'

/** An array of bytes as an IDX file holds it. */
export interface IdxArray {
  /** Sizes of the dimensions, outermost first. */
  readonly shape: readonly number[]
  /** uint8, row-major. */
  readonly data: Uint8Array
}

/** Types of the IDX format by their code in the header's third byte. */
const dtypes: ReadonlyMap<number, string> = new Map([
  [0x08, 'uint8'],
  [0x09, 'int8'],
  [0x0b, 'int16'],
  [0x0c, 'int32'],
  [0x0d, 'float32'],
  [0x0e, 'float64'],
])

/** Deflate makes nothing smaller than about a 1032nd: two bits for a run of 258 bytes. */
const largestRatio = 1032

/** How much of a packed file is unpacked to see the header; enough for gzip's own header with any usual file name. */
const peekBytes = 4096

/**
 * Reads an array of unsigned bytes in the IDX format (http://yann.lecun.com/exdb/mnist), gzipped or not.
 *
 * The header is checked against the length of the file before anything is allocated, so that a wrong one takes no
 * memory.
 *
 * @param bytes the file's contents
 * @param file what messages call it
 * @param rank the number of dimensions expected: 3 for grey images, 4 for colour images, 1 for labels
 * @throws ContinualDiffusionError `ERR_BAD_DATA` naming the file, the field, the value found and the one expected
 */
export async function parseIdx(bytes: Uint8Array, file: string, rank?: number | readonly number[]): Promise<IdxArray> {
  const packed = isGzip(bytes)
  const { shape, headerBytes } = parseHeader(await unpackStart(bytes, file), file, rank)
  const expected = headerBytes + shape.reduce((a, b) => a * b, 1)
  const most = packed ? bytes.length * largestRatio : bytes.length
  if (!(expected <= most)) throw wrongLength(file, shape, expected, packed ? `at most ${most}` : most)
  const whole = packed ? await unpack(bytes, file, expected) : bytes
  if (whole.length !== expected) throw wrongLength(file, shape, expected, whole.length)
  return { shape, data: whole.subarray(headerBytes) }
}

/**
 * Reads an IDX file; see {@link parseIdx}.
 *
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND` when the file can't be read
 */
export async function readIdx(
  file: string,
  options: { rank?: number | readonly number[]; signal?: AbortSignal } = {},
): Promise<IdxArray> {
  const bytes = await reading(file, () => readFile(file, { signal: options.signal }), options.signal)
  return parseIdx(bytes, file, options.rank)
}

/**
 * Reads no more than an IDX file's header, and returns the shape that it gives; the rest is unchecked.
 *
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND`, or `ERR_BAD_DATA` when the header is damaged
 */
export async function readIdxShape(file: string): Promise<readonly number[]> {
  const bytes = await reading(file, async () => {
    const handle = await open(file)
    try {
      const { buffer, bytesRead } = await handle.read(new Uint8Array(peekBytes), 0, peekBytes, 0)
      return buffer.subarray(0, bytesRead)
    } finally {
      await handle.close()
    }
  })
  return parseHeader(await unpackStart(bytes, file), file).shape
}

/** Writes an array in the IDX format, not packed. */
export function formatIdx({ shape, data }: IdxArray): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * shape.length + data.length)
  const view = new DataView(bytes.buffer)
  bytes[2] = 0x08
  bytes[3] = shape.length
  for (const [i, size] of shape.entries()) view.setUint32(4 + 4 * i, size)
  bytes.set(data, 4 + 4 * shape.length)
  return bytes
}

async function reading(file: string, read: () => Promise<Uint8Array>, signal?: AbortSignal): Promise<Uint8Array> {
  try {
    return await read()
  } catch (cause) {
    signal?.throwIfAborted()
    throw new ContinualDiffusionError(
      'ERR_DATA_NOT_FOUND',
      `${file}: can't be read (${messageOf(cause)}); give the path of an IDX file`,
      { cause },
    )
  }
}

function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b
}

function parseHeader(bytes: Uint8Array, file: string, rank?: number | readonly number[]) {
  const bad = (field: string, found: string | number, expected: string) =>
    new ContinualDiffusionError(
      'ERR_BAD_DATA',
      `${file}: ${field} is ${found}; expected ${expected}. Is this the right file, whole and in IDX format?`,
    )
  if (bytes.length < 4) throw bad('the length', `${bytes.length} bytes`, 'at least 4 bytes of header')
  const [zero0, zero1, type, count] = bytes as unknown as [number, number, number, number]
  const magic = `0x${Buffer.from(bytes.subarray(0, 4)).toString('hex')}`
  const dtype = dtypes.get(type)
  if (zero0 !== 0 || zero1 !== 0 || dtype === undefined) throw bad('the magic number', magic, '0x000008 and a rank')
  if (dtype !== 'uint8') throw bad('the element type', `${dtype} (magic number ${magic})`, 'uint8')
  const ranks = rank === undefined ? undefined : [rank].flat()
  if (count === 0 || (ranks && !ranks.includes(count))) {
    throw bad('the number of dimensions', count, ranks?.join(' or ') ?? 'at least 1')
  }
  const headerBytes = 4 + 4 * count
  if (bytes.length < headerBytes) throw bad('the length', `${bytes.length} bytes`, `${headerBytes} bytes of header`)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  return { shape: Array.from({ length: count }, (_, i) => view.getUint32(4 + 4 * i)), headerBytes }
}

function wrongLength(file: string, shape: readonly number[], expected: number, found: number | string) {
  return new ContinualDiffusionError(
    'ERR_BAD_DATA',
    `${file}: the unpacked length is ${found} bytes; expected ${expected}, as the header gives the shape ` +
      `${shape.join(' × ')}. Get the file again.`,
  )
}

/** The start of a file, unpacked: enough for any header. */
async function unpackStart(bytes: Uint8Array, file: string): Promise<Uint8Array> {
  return isGzip(bytes) ? unpack(bytes.subarray(0, peekBytes), file, undefined, true) : bytes
}

const gunzipAsync = promisify(gunzip)

/** Unpacks at most `most` bytes; of the `start` of a file, as many as it holds. */
async function unpack(bytes: Uint8Array, file: string, most?: number, start = false): Promise<Uint8Array> {
  try {
    return await gunzipAsync(bytes, {
      maxOutputLength: most,
      // One piece with a byte to spare, so that zlib ends in it: pieces would be joined on JavaScript's thread.
      chunkSize: most === undefined ? undefined : Math.min(Math.max(most + 1, constants.Z_MIN_CHUNK), 2 ** 30),
      // Takes what there is of a file that ends early.
      finishFlush: start ? constants.Z_SYNC_FLUSH : undefined,
    })
  } catch (cause) {
    const tooLong = (cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
    throw new ContinualDiffusionError(
      'ERR_BAD_DATA',
      tooLong
        ? `${file}: the unpacked length is more than ${most} bytes; the header gives exactly that. Get the file again.`
        : `${file}: the gzip data is damaged or ends early (${(cause as Error).message}). Get the file again.`,
      { cause },
    )
  }
}
