import fc from 'fast-check'

/** Numbers at which sizes, counts and indices go wrong. */
const edges = [
  0,
  1,
  2,
  127,
  128,
  255,
  256,
  65_535,
  65_536,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53,
  2 ** 60,
]

/** One change of a byte sequence, by a kind, where, and a value. */
type Edit = readonly [kind: number, at: number, value: number]

const edit: fc.Arbitrary<Edit> = fc.tuple(fc.nat(6), fc.nat(), fc.nat())

/** Valid files with some bytes changed, added or left out, mostly near the beginning, where headers are; and any bytes at all. */
export function damagedBytes(valid: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  const changed = fc
    .tuple(fc.nat(valid.length - 1), fc.array(edit, { maxLength: 6 }))
    .map(([which, edits]) => edits.reduce(applyEdit, valid[which] as Uint8Array))
  return fc.oneof({ weight: 9, arbitrary: changed }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 64 }) })
}

function applyEdit(bytes: Uint8Array, [kind, at, value]: Edit): Uint8Array {
  const range = at % 2 === 0 ? Math.min(bytes.length, 64) : bytes.length
  const place = Math.floor(at / 2) % (range + 1)
  const edge = edges[value % edges.length] as number
  switch (kind) {
    case 0: // leave out the end
      return bytes.slice(0, place)
    case 1: // say something twice
      return Buffer.concat([bytes.subarray(0, place), bytes.subarray(Math.max(0, place - 16))])
    case 2: // leave out something
      return Buffer.concat([bytes.subarray(0, place), bytes.subarray(place + 1 + (value % 16))])
    case 3: // any byte
      return overwrite(bytes, place, Uint8Array.of(value))
    case 4: // another bit
      return overwrite(bytes, place, Uint8Array.of((bytes[place] ?? 0) ^ (1 << (value % 8))))
    case 5: {
      const size = new Uint8Array(8)
      new DataView(size.buffer).setBigUint64(0, BigInt(edge), value % 2 === 0)
      return overwrite(bytes, place, value % 3 === 0 ? size.subarray(4) : size)
    }
    default: // a number in text
      return overwrite(bytes, place, new TextEncoder().encode(String(edge)))
  }
}

function overwrite(bytes: Uint8Array, at: number, by: Uint8Array): Uint8Array {
  const result = new Uint8Array(Math.max(bytes.length, at + by.length))
  result.set(bytes)
  result.set(by, at)
  return result
}

/** Values that are nested so deeply that walking them by recursion fails, with their text. */
const nested: ReadonlyMap<unknown, string> = new Map(
  (['[]', '{"a":}'] as const).map((pair) => {
    const text = `${pair.slice(0, -1).repeat(20_000)}1${pair.slice(-1).repeat(20_000)}`
    return [JSON.parse(text), text]
  }),
)

/** What `JSON.parse` can give, with what is likely to be mistaken for something else. */
const anyJson: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(...edges, -1, -0, 0.5, 1e-300, 1e308, 4096, 65_537) },
  {
    weight: 2,
    arbitrary: fc.constantFrom('', '../../x', '/etc/passwd', '__proto__', 'a\0b', '\ud800', 'x'.repeat(5000)),
  },
  { weight: 8, arbitrary: fc.constantFrom(null, true, false, [], {}, [[]], JSON.parse('{"__proto__":1}')) },
  { weight: 1, arbitrary: fc.constantFrom(...nested.keys()) },
  { weight: 8, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
)

/** A change of a JSON value: the way to it, what happens there, and with what. */
type Change = readonly [path: readonly number[], kind: number, value: unknown]

/**
 * Valid JSON values with some parts replaced, left out, added or moved; and any at all.
 *
 * @param depth levels of a value that changes may reach down to
 */
export function damagedJson(valid: readonly unknown[], depth = 5): fc.Arbitrary<unknown> {
  const change: fc.Arbitrary<Change> = fc.tuple(
    fc.array(fc.nat(), { minLength: 1, maxLength: depth }),
    fc.nat(3),
    anyJson,
  )
  const changed = fc
    .tuple(fc.nat(valid.length - 1), fc.array(change, { maxLength: 4 }))
    .map(([which, changes]) => changes.reduce(applyChange, valid[which]))
  return fc.oneof({ weight: 9, arbitrary: changed }, { weight: 1, arbitrary: anyJson })
}

function applyChange(value: unknown, [path, kind, replacement]: Change): unknown {
  const [first = 0, ...rest] = path
  if (typeof value !== 'object' || value === null || nested.has(value)) return replacement
  const keys = Object.keys(value)
  const key = keys[first % keys.length]
  if (key === undefined) return replacement
  const inside = (value as Record<string, unknown>)[key]
  const copy = Array.isArray(value) ? [...value] : { ...value }
  const set = (name: string, to: unknown) =>
    Object.defineProperty(copy, name, { value: to, enumerable: true, configurable: true, writable: true })
  if (rest.length > 0 && typeof inside === 'object' && inside !== null) {
    return set(key, applyChange(inside, [rest, kind, replacement]))
  }
  switch (kind) {
    case 0:
      return set(key, replacement)
    case 1: {
      delete (copy as Record<string, unknown>)[key]
      return Array.isArray(copy) ? copy.flat(0) : copy
    }
    case 2: // something that isn't known, or one more
      return Array.isArray(copy) ? [...copy, replacement] : set(`${key}x`, replacement)
    default: // what belongs elsewhere
      return set(key, (value as Record<string, unknown>)[keys[(first + 1) % keys.length] as string])
  }
}

/** `JSON.stringify`, but also of what {@link damagedJson} nests too deeply for it. */
export function jsonText(value: unknown): string {
  const text = nested.get(value)
  if (text !== undefined) return text
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(jsonText)}]`
  return `{${Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)}:${jsonText(inner)}`)}}`
}
