import { type FileHandle, open } from 'node:fs/promises'
import { isRecord, shown } from '../validation/options.js'
import { badFile as bad } from './bad-file.js'
import { flush } from './flush.js'

/** Arrays that hold each dtype's elements; half floats, which JavaScript lacks, are held as their bits. */
const arrays = {
  F64: Float64Array,
  I64: BigInt64Array,
  F32: Float32Array,
  I32: Int32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  U8: Uint8Array,
} as const

interface Elements {
  F64: Float64Array
  I64: BigInt64Array
  F32: Float32Array
  I32: Int32Array
  F16: Uint16Array
  BF16: Uint16Array
  U8: Uint8Array
}

export type Dtype = keyof Elements

/** A tensor of a file, row-major. */
export type StoredTensor = {
  [D in Dtype]: { readonly dtype: D; readonly shape: readonly number[]; readonly data: Elements[D] }
}[Dtype]

export interface Safetensors {
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly metadata: Readonly<Record<string, string>>
}

/** What the format's own implementation allows for a header. */
const largestHeader = 100_000_000

/** The format has no such limits; no network of this package comes near them, and messages show names and shapes. */
const longestName = 512
const mostDimensions = 64

/** One read call may take at most 2³¹ − 1 bytes on Linux. */
const largestRead = 2 ** 30

interface Entry {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly begin: number
  readonly end: number
}

/**
 * Reads a safetensors file. The header is checked against the file's length before anything is allocated for tensors.
 *
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` that names the file, and the tensor where it is one
 */
export async function readSafetensors(file: string): Promise<Safetensors> {
  const handle = await open(file, 'r').catch((cause: NodeJS.ErrnoException) => {
    throw bad(file, cause.code === 'ENOENT' ? 'there is no such file' : cause.message, cause)
  })
  try {
    const { size } = await handle.stat()
    return await parseSafetensors(file, size, (position, length) => read(handle, file, position, length))
  } finally {
    await handle.close()
  }
}

/**
 * {@link readSafetensors} of a file that is read by `read`.
 *
 * @param size the file's length
 */
export async function parseSafetensors(
  file: string,
  size: number,
  read: (position: number, length: number) => Promise<ArrayBuffer>,
): Promise<Safetensors> {
  const length = size < 8 ? -1 : Number(new DataView(await read(0, 8)).getBigUint64(0, true))
  if (length < 2 || length > Math.min(size - 8, largestHeader)) {
    throw bad(file, `not a safetensors file, or truncated: ${size} bytes, with a header of ${length}`)
  }
  const { entries, metadata } = parseHeader(file, await read(8, length), size - 8 - length)
  const tensors = new Map<string, StoredTensor>()
  for (const { name, dtype, shape, begin, end } of entries) {
    const buffer = await read(8 + length + begin, end - begin)
    tensors.set(name, { dtype, shape, data: new arrays[dtype](buffer) } as StoredTensor)
  }
  return { tensors, metadata }
}

/**
 * Writes a safetensors file, flushed to the disk. The bytes depend on the contents alone: tensors stand by element size, largest
 * first, then by name, as the format's own implementation puts them.
 */
export async function writeSafetensors(
  file: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const sorted = [...tensors].sort(
    ([a, { data: x }], [b, { data: y }]) =>
      y.BYTES_PER_ELEMENT - x.BYTES_PER_ELEMENT || Buffer.compare(bytes(a), bytes(b)),
  )
  const header: Record<string, unknown> = {}
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata
  let offset = 0
  for (const [name, { dtype, shape, data }] of sorted) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] }
    offset += data.byteLength
  }
  const json = Buffer.from(JSON.stringify(header))
  // Spaces bring the data to a multiple of eight bytes, where every dtype can be mapped in place.
  const padded = Buffer.alloc(Math.ceil(json.length / 8) * 8, ' ')
  json.copy(padded)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(padded.length))

  const handle = await open(file, 'w')
  try {
    for (const part of [length, padded, ...sorted.map(([, { data }]) => data)]) {
      await handle.writeFile(Buffer.from(part.buffer, part.byteOffset, part.byteLength))
    }
    await flush(handle)
  } finally {
    await handle.close()
  }
}

/**
 * A tensor's elements in float32: half and bfloat16 without loss.
 *
 * @returns undefined for a dtype that float32 can't hold
 */
export function toFloat32(tensor: StoredTensor): Float32Array | undefined {
  switch (tensor.dtype) {
    case 'F32':
      return tensor.data
    case 'BF16': {
      const bits = new Uint32Array(tensor.data.length)
      for (let i = 0; i < bits.length; i++) bits[i] = (tensor.data[i] as number) << 16
      return new Float32Array(bits.buffer)
    }
    case 'F16':
      return Float32Array.from(tensor.data, fromHalf)
    default:
      return undefined
  }
}

/** IEEE 754 binary16: 1 bit of sign, 5 of exponent, 10 of fraction. */
function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 0x1f) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

function parseHeader(file: string, buffer: ArrayBuffer, dataLength: number) {
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(buffer))
  } catch (cause) {
    throw bad(file, 'the header is not JSON', cause)
  }
  if (!isRecord(header)) throw bad(file, 'the header is not an object')
  const { __metadata__: metadata = {}, ...described } = header
  if (!isRecord(metadata) || Object.values(metadata).some((value) => typeof value !== 'string')) {
    throw bad(file, '__metadata__ is not a map of strings')
  }
  const entries = Object.entries(described).map(([name, value]) => parseEntry(file, name, value))
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end)
  let end = 0
  for (const entry of entries) {
    if (entry.begin !== end) throw bad(file, `tensor '${entry.name}' begins at byte ${entry.begin}; expected ${end}`)
    end = entry.end
    if (end > dataLength) {
      throw bad(file, `truncated: tensor '${entry.name}' ends at byte ${end} of the data, which has ${dataLength}`)
    }
  }
  if (end !== dataLength) throw bad(file, `the tensors end at byte ${end} of the data, which has ${dataLength}`)
  return { entries, metadata: metadata as Record<string, string> }
}

function parseEntry(file: string, name: string, value: unknown): Entry {
  if (name.length > longestName) {
    throw bad(file, `the name ${shown(name)} has ${name.length} characters; expected at most ${longestName}`)
  }
  const { dtype, shape, data_offsets: offsets } = isRecord(value) ? value : {}
  if (!isDtype(dtype)) {
    throw bad(file, `tensor '${name}' has dtype ${shown(dtype)}; expected ${Object.keys(arrays).join(', ')}`)
  }
  if (!isSizes(shape) || shape.length > mostDimensions) {
    throw bad(file, `tensor '${name}' has shape ${shown(shape)}; expected a list of at most ${mostDimensions} sizes`)
  }
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw bad(file, `tensor '${name}' has data_offsets ${shown(offsets)}; expected two byte positions`)
  }
  const [begin, end] = offsets as [number, number]
  const expected = shape.reduce((product, size) => product * size, arrays[dtype].BYTES_PER_ELEMENT)
  if (end - begin !== expected) {
    throw bad(file, `tensor '${name}', ${dtype} [${shape}], has ${end - begin} bytes; expected ${expected}`)
  }
  return { name, dtype, shape, begin, end }
}

async function read(handle: FileHandle, file: string, position: number, length: number): Promise<ArrayBuffer> {
  const buffer = new ArrayBuffer(length)
  let done = 0
  while (done < length) {
    const part = new Uint8Array(buffer, done, Math.min(length - done, largestRead))
    const { bytesRead } = await handle.read(part, 0, part.length, position + done)
    if (bytesRead === 0) throw bad(file, `truncated while it was read: it ends at byte ${position + done}`)
    done += bytesRead
  }
  return buffer
}

function bytes(text: string): Buffer {
  return Buffer.from(text)
}

function isDtype(value: unknown): value is Dtype {
  return typeof value === 'string' && Object.hasOwn(arrays, value)
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0)
}
