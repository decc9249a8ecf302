/** Tags of a TIFF file's directory (TIFF 6.0, section 8). */
const compression = 259
const photometric = 262
const jpeg = 7
const yCbCr = 6

/** What libvips makes colours of: grey levels, RGB, a palette, inks and CIELab. */
const read = [0, 1, 2, 3, 5, 8]
const names: Readonly<Record<number, string>> = {
  4: 'a mask',
  [yCbCr]: 'YCbCr, not compressed as JPEG',
  9: 'ICCLab',
  10: 'ITULab',
  32803: 'a colour filter array',
  32844: 'LogL',
  32845: 'LogLuv',
  34892: 'linear raw',
}

/**
 * What the samples of a TIFF file are, where libvips would take them for something else; undefined where it reads them rightly, and for what is no TIFF
 * file. The file's first image counts.
 */
export function misreadColours(bytes: Uint8Array): string | undefined {
  const isLittle = bytes[0] === 0x49 && bytes[1] === 0x49
  if (!isLittle && !(bytes[0] === 0x4d && bytes[1] === 0x4d)) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  try {
    // 43: a BigTIFF file, whose numbers are wider.
    const isBig = view.getUint16(2, isLittle) === 43
    if (!isBig && view.getUint16(2, isLittle) !== 42) return undefined
    const wide = (at: number) => Number(view.getBigUint64(at, isLittle))
    const at = isBig ? wide(8) : view.getUint32(4, isLittle)
    const entries = isBig ? wide(at) : view.getUint16(at, isLittle)
    const [first, length, value] = isBig ? [at + 8, 20, 12] : [at + 2, 12, 8]
    const found = new Map<number, number>()
    for (let i = 0; i < Math.min(entries, 65_536); i++) {
      const entry = first + i * length
      const tag = view.getUint16(entry, isLittle)
      if (tag === compression || tag === photometric) found.set(tag, view.getUint16(entry + value, isLittle))
    }
    const kind = found.get(photometric)
    if (kind === undefined || read.includes(kind)) return undefined
    if (kind === yCbCr && found.get(compression) === jpeg) return undefined
    return names[kind] ?? `of the photometric interpretation ${kind}`
  } catch (error) {
    // What ends too soon is the decoder's to refuse.
    if (error instanceof RangeError) return undefined
    throw error
  }
}
