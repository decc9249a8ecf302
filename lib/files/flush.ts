import { type FileHandle, open } from 'node:fs/promises'

/** What file systems say that flush no folders, or nothing: some on a network, and some of FUSE's. */
const refusals: readonly unknown[] = ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']

/** Flushes a file or a folder to the disk, where its file system can. */
export async function flush(handle: FileHandle): Promise<void> {
  await handle.sync().catch((error: NodeJS.ErrnoException) => {
    if (!refusals.includes(error.code)) throw error
  })
}

export async function writeFlushed(file: string, contents: Uint8Array | string): Promise<void> {
  const handle = await open(file, 'w')
  try {
    await handle.writeFile(contents)
    await flush(handle)
  } finally {
    await handle.close()
  }
}
