import { constants } from 'node:fs'
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

/** A tensor as a file's header describes it. */
export interface TensorEntry {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  /** Its bytes within the file. */
  readonly begin: number
  readonly end: number
}

/** A safetensors file whose header is read and whose tensors are not yet. */
export interface OpenSafetensors {
  /** By name, in the order of the data. */
  readonly entries: ReadonlyMap<string, TensorEntry>
  readonly metadata: Readonly<Record<string, string>>
  /** Reads one tensor. */
  read(entry: TensorEntry): Promise<StoredTensor>
  /** Reads one tensor of F32, F16 or BF16 as float32, in parts: the file's own numbers are never in memory beside them as a whole. */
  readFloats(entry: TensorEntry): Promise<Float32Array>
}

/** Reads so many bytes from a position; a shorter result means that the file ends. */
type Read = (position: number, length: number) => Promise<ArrayBuffer>

/**
 * Opens a safetensors file for as long as `use` takes. The header is checked against the file's length before anything is allocated for
 * tensors.
 *
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` that names the file, and the tensor where it is one
 */
export async function withSafetensors<T>(file: string, use: (opened: OpenSafetensors) => Promise<T>): Promise<T> {
  // Without waiting for whoever writes into a pipe of that name.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK).catch((cause: NodeJS.ErrnoException) => {
    throw bad(file, cause.code === 'ENOENT' ? 'there is no such file' : cause.message, cause)
  })
  try {
    const stats = await handle.stat()
    if (!stats.isFile()) throw bad(file, 'it is no file; expected a safetensors file')
    return await use(
      await parseSafetensors(file, stats.size, (position, length) => read(handle, file, position, length)),
    )
  } finally {
    await handle.close()
  }
}

/** Reads all of a safetensors file; see {@link withSafetensors}. */
export async function readSafetensors(file: string): Promise<Safetensors> {
  return withSafetensors(file, readTensors)
}

/** Reads all tensors of a file. */
export async function readTensors({ entries, metadata, read }: OpenSafetensors): Promise<Safetensors> {
  const tensors = new Map<string, StoredTensor>()
  for (const [name, entry] of entries) tensors.set(name, await read(entry))
  return { tensors, metadata }
}

/**
 * {@link withSafetensors} of a file that is read by `read`.
 *
 * @param size the file's length
 */
export async function parseSafetensors(file: string, size: number, read: Read): Promise<OpenSafetensors> {
  const length = size < 8 ? -1 : Number(new DataView(await read(0, 8)).getBigUint64(0, true))
  if (length < 2 || length > Math.min(size - 8, largestHeader)) {
    const begin = new TextDecoder().decode(await read(0, Math.min(size, 8)))
    throw bad(
      file,
      begin === 'version '
        ? "it is a pointer of Git LFS to the weights, not the weights; get them with 'git lfs pull'"
        : `not a safetensors file, or truncated: ${size} bytes, with a header of ${length}`,
    )
  }
  const { entries, metadata } = parseHeader(file, await read(8, length), 8 + length, size)
  return {
    entries: new Map(entries.map((entry) => [entry.name, entry])),
    metadata,
    read: async ({ dtype, shape, begin, end }) =>
      ({ dtype, shape, data: new arrays[dtype](await read(begin, end - begin)) }) as StoredTensor,
    readFloats: async (entry) => {
      const { dtype, begin, end } = entry
      if (dtype === 'F32') return new Float32Array(await read(begin, end - begin))
      const floats = new Float32Array((end - begin) / 2)
      const convert = converters[dtype as Half]
      for (let at = begin; at < end; at += partBytes) {
        const bits = new Uint16Array(await read(at, Math.min(partBytes, end - at)))
        convert(bits, floats.subarray((at - begin) / 2))
      }
      return floats
    },
  }
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

type Half = 'F16' | 'BF16'

/** Whether {@link OpenSafetensors.readFloats} can read a dtype. */
export function isFloat(dtype: Dtype): dtype is 'F32' | Half {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16'
}

/** Numbers of 16 bits are converted in parts of so many bytes: a few milliseconds of the event loop for each. */
const partBytes = 2 ** 20

/** Half floats and bfloat16 to float32, without loss. */
const converters: Readonly<Record<Half, (bits: Uint16Array, floats: Float32Array) => void>> = {
  BF16: (bits, floats) => {
    const words = new Uint32Array(floats.buffer, floats.byteOffset, bits.length)
    for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16
  },
  // IEEE 754 binary16 has 5 bits of exponent and 10 of fraction, float32 8 and 23; the exponents' zeros lie 127 − 15 = 112 apart.
  F16: (bits, floats) => {
    const words = new Uint32Array(floats.buffer, floats.byteOffset, bits.length)
    for (let i = 0; i < bits.length; i++) {
      const word = ((bits[i]! & 0x8000) << 16) | ((bits[i]! & 0x7fff) << 13)
      const hasValue = (bits[i]! & 0x7c00) !== 0x7c00
      words[i] = hasValue ? word : word | 0x7f800000
      if (hasValue) floats[i]! *= 2 ** 112
    }
  },
}

/**
 * A tensor's elements in float32: half and bfloat16 without loss.
 *
 * @returns undefined for a dtype that float32 can't hold
 */
export function toFloat32({ dtype, data }: StoredTensor): Float32Array | undefined {
  if (dtype === 'F32') return data
  if (!isFloat(dtype)) return undefined
  const floats = new Float32Array(data.length)
  converters[dtype](data as Uint16Array, floats)
  return floats
}

/** @param data where the data begins in the file */
function parseHeader(file: string, buffer: ArrayBuffer, data: number, size: number) {
  const dataLength = size - data
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
  return {
    entries: entries.map((entry) => ({ ...entry, begin: data + entry.begin, end: data + entry.end })),
    metadata: metadata as Record<string, string>,
  }
}

/** An entry whose bytes are counted from the beginning of the data. */
function parseEntry(file: string, name: string, value: unknown): TensorEntry {
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
