import { isUtf8 } from 'node:buffer'

/** A name in a folder as the system has it, which need not be UTF-8. */
export interface ByteName {
  readonly bytes: Buffer
  /** Its code points as Python reads them: U+DC00 + b for a byte b that belongs to no UTF-8 character. */
  readonly points: readonly number[]
  /** For people: such a byte is written as `\xe9`. */
  readonly text: string
}

export function byteName(bytes: Buffer): ByteName {
  const points: number[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = [1, 2, 3, 4].find((n) => at + n <= bytes.length && isUtf8(bytes.subarray(at, at + n)))
    points.push(length === undefined ? 0xdc00 + bytes[at]! : bytes.toString('utf8', at, at + length).codePointAt(0)!)
    at += length ?? 1
  }
  return { bytes, points, text: points.map(shownPoint).join('') }
}

/** The order in which Python sorts names. JavaScript compares UTF-16 units, in which U+10000 comes before U+FF41. */
export function byCodePoint({ points: a }: ByteName, { points: b }: ByteName): number {
  const at = a.findIndex((point, i) => point !== b[i])
  return at < 0 ? a.length - b.length : a[at]! - (b[at] ?? -1)
}

function shownPoint(point: number): string {
  return point >> 8 === 0xdc ? `\\x${(point & 0xff).toString(16)}` : String.fromCodePoint(point)
}
