import { createHash, randomUUID } from 'node:crypto'
import { open, readdir, readlink, realpath, rename, rm, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { ContinualDiffusionError } from '../errors.js'
import { flush, writeFlushed } from './flush.js'
import { makeFolder } from './make-folder.js'

/**
 * Makes a file whole or not at all: `write` writes a temporary sibling, which is then renamed to `file`. Siblings that killed processes of
 * this machine left are removed.
 *
 * @throws ContinualDiffusionError `ERR_WRITE_FAILED`, also where a folder, a device or a pipe has that name; then `file` is as it was before
 */
export async function replaceFile(file: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const target = await follow(file)
  const temporary = temporaryBeside(target, 'tmp')
  try {
    await makeFolder(path.dirname(target))
    const present = await stat(target).catch(() => undefined)
    if (present && !present.isFile()) {
      // A rename would put a file in the place of /dev/null itself.
      const what = present.isDirectory() ? 'a folder; name a file, e.g. one in it' : 'no file; name a new file'
      throw new ContinualDiffusionError('ERR_WRITE_FAILED', `${target} is ${what}`)
    }
    // A rest does no harm where it can't be removed.
    for (const left of await leftBeside(target, 'tmp')) await rm(left, { force: true }).catch(() => {})
    await write(temporary)
    await rename(temporary, target)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined)
    throw writeError(target, error)
  }
}

/** Tells machines that share a file system apart: process numbers are each machine's own. */
function machine(): string {
  return createHash('sha256').update(hostname()).digest('hex').slice(0, 8)
}

/** A name beside a file for what becomes this file, which says whose it is. */
export function temporaryBeside(target: string, extension: string): string {
  return `${target}.${machine()}-${process.pid}.${randomUUID().slice(0, 8)}.${extension}`
}

/** What killed processes of this machine left beside a file under such names. */
export async function leftBeside(target: string, extension: string): Promise<string[]> {
  const begin = `${path.basename(target)}.${machine()}-`
  const folder = path.dirname(target)
  const names = await readdir(folder).catch(() => [])
  const left = names.filter((name) => {
    const rest = name.startsWith(begin) ? name.slice(begin.length).split('.') : []
    const [pid = '', id = '', last] = rest
    const isSuch = rest.length === 3 && last === extension && /^\d+$/.test(pid) && /^[0-9a-f]{8}$/.test(id)
    return isSuch && !isRunning(Number(pid))
  })
  return left.map((name) => path.join(folder, name))
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

/** Writes a JSON file for people and programs, flushed to the disk. */
export async function writeJson(file: string, value: unknown): Promise<void> {
  await writeFlushed(file, `${JSON.stringify(value, null, 2)}\n`)
}

/** The absolute path; where a symbolic link leads, also to nothing yet, so that what it points to is replaced and not the link. */
export async function follow(target: string): Promise<string> {
  const real = await realpath(target).catch(() => undefined)
  if (real !== undefined) return real
  const leads = await readlink(target).catch(() => undefined)
  return leads === undefined ? path.resolve(target) : path.resolve(path.dirname(target), leads)
}

/** Flushes a folder's entries to the disk. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await flush(handle)
  } finally {
    await handle.close()
  }
}

/** An error of the system while `target` was written as one of ours, with what to do; any other as it is. */
export function writeError(target: string, cause: unknown): unknown {
  if (cause instanceof ContinualDiffusionError) return cause
  const { code, message } = cause as NodeJS.ErrnoException
  if (code === undefined) return cause
  const advice =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? 'make room, or name a folder on another disk'
      : code === 'EFBIG'
        ? 'raise the limit on the size of files (ulimit -f), or name a folder on a disk that takes larger files'
        : 'name a folder that can be written to'
  return new ContinualDiffusionError('ERR_WRITE_FAILED', `${target} could not be written: ${message}; ${advice}`, {
    cause,
  })
}
