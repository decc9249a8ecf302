import { mkdir, stat } from 'node:fs/promises'
import path from 'node:path'

/**
 * Makes a folder and those above it, where they are not there. Node's `mkdir` with `recursive` never comes back from a file system that
 * takes no new folders and says ENOENT, as /proc does.
 *
 * @throws the system's error
 */
export async function makeFolder(folder: string): Promise<void> {
  const make = () => mkdir(folder)
  await make()
    .catch(async (error: NodeJS.ErrnoException) => {
      const parent = path.dirname(folder)
      if (error.code !== 'ENOENT' || parent === folder || (await isFolder(parent))) throw error
      await makeFolder(parent)
      await make()
    })
    .catch(async (error: unknown) => {
      if (!(await isFolder(folder))) throw error
    })
}

function isFolder(at: string): Promise<boolean> {
  return stat(at).then(
    (found) => found.isDirectory(),
    () => false,
  )
}
