import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, realpath, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { ContinualDiffusionError } from '../errors.js'

/**
 * Makes a folder whole or not at all: `fill` writes into a temporary sibling, which is then renamed to `folder`. An
 * existing folder is replaced when it is empty, or shows itself as one of ours: it holds the file `marker`, and no file whose name
 * `isOurs` doesn't know.
 *
 * @throws ContinualDiffusionError `ERR_WRITE_FAILED`; then `folder` is as it was before
 */
export async function replaceFolder(
  folder: string,
  { marker, isOurs }: { marker: string; isOurs: (name: string) => boolean },
  fill: (temporary: string) => Promise<void>,
): Promise<void> {
  const target = await follow(folder)
  const temporary = sibling(target)
  const old = sibling(target)
  try {
    const present = await contents(target)
    const foreign = present?.find((name) => !isOurs(name)) ?? (present?.includes(marker) ? undefined : present?.[0])
    if (foreign !== undefined) {
      const what = isOurs(foreign) ? `but no ${marker}` : 'which this package did not write'
      throw new ContinualDiffusionError(
        'ERR_WRITE_FAILED',
        `${target} holds ${foreign}, ${what}, so it is not replaced; name another folder, or empty this one`,
      )
    }
    await mkdir(path.dirname(target), { recursive: true })
    await mkdir(temporary)
    await fill(temporary)
    await syncFolder(temporary)
    // A folder can't be renamed onto a full one. At every moment one of the two is whole on the disk.
    if (present !== undefined) await rename(target, old)
    try {
      await rename(temporary, target)
    } catch (error) {
      if (present !== undefined) await rename(old, target)
      throw error
    }
    await syncFolder(path.dirname(target))
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined)
    throw writeError(target, error)
  }
  // What was to be written is there; a rest of the old folder does no harm.
  await rm(old, { recursive: true, force: true }).catch(() => undefined)
}

/** Makes a file whole or not at all, as {@link replaceFolder} does a folder. */
export async function replaceFile(file: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const target = await follow(file)
  const temporary = sibling(target)
  try {
    await mkdir(path.dirname(target), { recursive: true })
    await write(temporary)
    await rename(temporary, target)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined)
    throw writeError(target, error)
  }
}

/** Writes a JSON file for people and programs, flushed to the disk. */
export async function writeJson(file: string, value: unknown): Promise<void> {
  await writeFile(file, `${JSON.stringify(value, null, 2)}\n`, { flush: true })
}

/** The absolute path; where a symbolic link leads, so that what it points to is replaced and not the link. */
async function follow(target: string): Promise<string> {
  return realpath(target).catch(() => path.resolve(target))
}

function sibling(target: string): string {
  return `${target}.${randomUUID().slice(0, 8)}.tmp`
}

/** Undefined where there is no such folder. */
async function contents(folder: string): Promise<string[] | undefined> {
  try {
    return await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
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
    code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG'
      ? 'make room, or name a folder on another disk'
      : 'name a folder that can be written to'
  return new ContinualDiffusionError('ERR_WRITE_FAILED', `${target} could not be written: ${message}; ${advice}`, {
    cause,
  })
}
