import type { FileHandle } from 'node:fs/promises'

type Files = typeof import('node:fs/promises')

/** Files that are only in memory, by path; see {@link withMemoryFiles}. */
export const memoryFiles = new Map<string, Uint8Array>()

/** Paths that begin so are looked for in memory alone. */
export const memoryFolder = '/only-in-memory/'

/** Node's file functions, of which `readFile` and `open` look into memory for paths in {@link memoryFolder}. */
export function withMemoryFiles(real: Files): Files {
  const find = (file: string): Uint8Array => {
    const bytes = memoryFiles.get(file)
    if (bytes === undefined) throw Object.assign(new Error(`no such file: ${file}`), { code: 'ENOENT' })
    return bytes
  }
  const isOurs = (file: unknown): file is string => typeof file === 'string' && file.startsWith(memoryFolder)
  const readFile = async (file: string, encoding?: BufferEncoding) => {
    if (!isOurs(file)) return real.readFile(file, encoding)
    const bytes = find(file)
    return encoding === undefined ? bytes : Buffer.from(bytes).toString(encoding)
  }
  const open = async (file: string, flags?: string | number) =>
    isOurs(file) ? handle(find(file)) : real.open(file, flags)
  return { ...real, readFile, open } as Files
}

function handle(bytes: Uint8Array): FileHandle {
  const read = async (into: Uint8Array, offset: number, length: number, position: number) => {
    const part = bytes.subarray(position, position + length)
    into.set(part, offset)
    return { bytesRead: part.length, buffer: into }
  }
  const stat = async () => ({ size: bytes.length, isFile: () => true })
  const readFile = async (encoding: BufferEncoding) => Buffer.from(bytes).toString(encoding)
  return { stat, read, readFile, close: async () => undefined } as unknown as FileHandle
}
