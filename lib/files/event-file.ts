import { open, readFile } from 'node:fs/promises'

/**
 * Event files as TensorBoard reads them: TFRecords, each an `Event` of tensorboard/compat/proto/event.proto, of which only scalars and PNG
 * images are written here.
 */
export interface LoggedEvent {
  /** Seconds since 1970. */
  readonly time: number
  readonly step: number
  /** Numbers by their tags. */
  readonly scalars?: Readonly<Record<string, number>>
  /** PNG files by their tags. */
  readonly images?: Readonly<Record<string, Uint8Array>>
}

/** What begins every event file. */
export function fileVersion(time: number): Uint8Array {
  return record(Buffer.concat([float64(1, time), bytes(3, Buffer.from('brain.Event:2'))]))
}

/** The record of an event. */
export function eventRecord({ time, step, scalars = {}, images = {} }: LoggedEvent): Uint8Array {
  const values = [
    ...Object.entries(scalars).map(([tag, value]) => [bytes(1, Buffer.from(tag)), float32(2, value)]),
    ...Object.entries(images).map(([tag, png]) => [bytes(1, Buffer.from(tag)), bytes(4, imageMessage(png))]),
  ]
  const summary = Buffer.concat(values.map((fields) => bytes(1, Buffer.concat(fields))))
  return record(Buffer.concat([float64(1, time), integer(2, step), bytes(5, summary)]))
}

/** A PNG's header has width and height at bytes 16 and 20. TensorBoard's `colorspace` is a number of channels, which the PNG says itself. */
function imageMessage(png: Uint8Array): Buffer {
  const view = Buffer.from(png.buffer, png.byteOffset, png.byteLength)
  return Buffer.concat([
    integer(1, view.readUInt32BE(20)),
    integer(2, view.readUInt32BE(16)),
    integer(3, 4),
    bytes(4, view),
  ])
}

/** A record of an event file: where it ends, its step, and the tags of its values. */
export interface FoundEvent {
  readonly end: number
  readonly step: number
  readonly tags: readonly string[]
}

/** Reads the records of an event file, up to the first that is cut off or damaged. */
export async function readEventFile(file: string): Promise<FoundEvent[]> {
  const all = await readFile(file)
  const found: FoundEvent[] = []
  for (let at = 0; at + 16 <= all.length; ) {
    const length = Number(all.readBigUInt64LE(at))
    const end = at + 16 + length
    if (end > all.length) break
    const data = all.subarray(at + 12, end - 4)
    if (all.readUInt32LE(at + 8) !== masked(all.subarray(at, at + 8)) || all.readUInt32LE(end - 4) !== masked(data))
      break
    const fields = [...fieldsOf(data)]
    const values = fields.filter(({ field }) => field === 5).flatMap(({ value }) => [...fieldsOf(value as Buffer)])
    const tags = values.flatMap(({ value }) => [...fieldsOf(value as Buffer)].filter(({ field }) => field === 1))
    found.push({
      end,
      step: Number(fields.find(({ field }) => field === 2)?.value ?? 0),
      tags: tags.map(({ value }) => String(value)),
    })
    at = end
  }
  return found
}

/** Appends to a file. */
export async function append(file: string, records: Uint8Array): Promise<void> {
  const handle = await open(file, 'a')
  try {
    await handle.write(records)
  } finally {
    await handle.close()
  }
}

/** The length, the data, and a checksum of either. */
function record(data: Uint8Array): Buffer {
  const head = Buffer.alloc(12)
  head.writeBigUInt64LE(BigInt(data.length))
  head.writeUInt32LE(masked(head.subarray(0, 8)), 8)
  const tail = Buffer.alloc(4)
  tail.writeUInt32LE(masked(data))
  return Buffer.concat([head, data, tail])
}

/** CRC-32C (Castagnoli), by its table. */
const table = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1
  return value
})

export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of data) crc = table[(crc ^ byte) & 0xff]! ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}

/** As TFRecords keep it, so that a checksum of data with checksums in it is none of these. */
function masked(data: Uint8Array): number {
  const crc = crc32c(data)
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

// The wire format of protocol buffers: a field's number and wire type, then its value.

function varint(value: number): Buffer {
  const out: number[] = []
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) out.push((rest % 0x80) | 0x80)
  return Buffer.from([...out, rest])
}

function integer(field: number, value: number): Buffer {
  return Buffer.concat([varint(field << 3), varint(value)])
}

function float64(field: number, value: number): Buffer {
  const out = Buffer.alloc(8)
  out.writeDoubleLE(value)
  return Buffer.concat([varint((field << 3) | 1), out])
}

function float32(field: number, value: number): Buffer {
  const out = Buffer.alloc(4)
  out.writeFloatLE(value)
  return Buffer.concat([varint((field << 3) | 5), out])
}

function bytes(field: number, value: Uint8Array): Buffer {
  return Buffer.concat([varint((field << 3) | 2), varint(value.length), value])
}

/** The fields of a message; its checksum was right, so that nothing is cut off. */
function* fieldsOf(message: Buffer): Generator<{ field: number; value: number | Buffer }> {
  let at = 0
  const read = () => {
    let [value, factor] = [0, 1]
    for (let byte = 0x80; byte & 0x80; factor *= 0x80) {
      byte = message[at++] ?? 0
      value += (byte & 0x7f) * factor
    }
    return value
  }
  while (at < message.length) {
    const key = read()
    const type = key & 7
    const length = type === 1 ? 8 : type === 5 ? 4 : type === 2 ? read() : undefined
    const value = length === undefined ? read() : message.subarray(at, at + length)
    at += length ?? 0
    yield { field: key >>> 3, value }
  }
}
