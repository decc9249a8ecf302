import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { lstat, mkdir, open, readdir, rename, rm, rmdir, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { ContinualDiffusionError } from '../errors.js'
import { follow, syncFolder, writeError } from '../files/atomic.js'
import { badFile } from '../files/bad-file.js'
import { makeFolder } from '../files/make-folder.js'
import { call } from './call.js'
import { type FileLock, lockFile } from './lock-file.js'

/**
 * A folder is replaced from a workplace beside it, `<folder>.<8 hex digits>.tmp`, which holds:
 *
 * - `continual-diffusion.lock`, locked by the process that works there: a workplace whose lock is free was left by a kill
 * - `new`: what is being written, and after the exchange what was there before
 * - `old`: what was there before, only where the file system can't exchange two folders in one step
 */
const lockName = 'continual-diffusion.lock'
const workplaceName = /\.[0-9a-f]{8}\.tmp$/

/** A load that meets as many saves in a row is told so. */
const attempts = 20

/**
 * Makes a folder whole or not at all: `fill` writes into a new folder, which then takes the place of `folder` in one step
 * (renameat2). Where the file system can't exchange folders there are two steps, and {@link readFolder} finds what was there before
 * if the process ends between them. An existing folder is replaced when it is empty, or shows itself as one of ours: it holds the file
 * `marker`, and nothing whose path in it `isOurs` doesn't know. What killed processes left beside it is removed.
 *
 * @throws ContinualDiffusionError `ERR_WRITE_FAILED`; then `folder` is as it was before
 */
export async function replaceFolder(
  folder: string,
  { marker, isOurs }: { marker: string; isOurs: (name: string) => boolean },
  fill: (temporary: string) => Promise<void>,
): Promise<void> {
  const target = await follow(folder)
  try {
    await mend(target)
    const present = await pathsIn(target, isOurs)
    const foreign = present.find((name) => !isOurs(name)) ?? (present.includes(marker) ? undefined : present[0])
    if (foreign !== undefined) {
      throw refused(
        `${target} holds ${foreign}, ${isOurs(foreign) ? `but no ${marker}` : 'which this package did not write'}`,
        'or empty this one',
      )
    }
    if (`${currentFolder()}${path.sep}`.startsWith(`${target}${path.sep}`)) {
      throw refused(`${target} is the current folder of this process or holds it`, 'e.g. a new one inside it')
    }
    await makeFolder(path.dirname(target))
    await working(target, async (workplace) => {
      const made = path.join(workplace, 'new')
      await mkdir(made)
      await fill(made)
      await syncFolder(made)
      await putInPlace(made, target, path.join(workplace, 'old'))
      await syncFolder(path.dirname(target))
    })
  } catch (error) {
    throw writeError(target, error)
  }
}

/**
 * Reads a folder that {@link replaceFolder} may replace meanwhile: all that `read` reads is of one and the same.
 *
 * @param read is called again where the folder was replaced while it read
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` where it is replaced again and again, and what `read` throws
 */
export async function readFolder<T>(folder: string, read: (at: string) => Promise<T>): Promise<T> {
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const at = await whereItIs(folder)
    // While it is open, no other folder gets its number.
    const handle = await open(at, constants.O_RDONLY | constants.O_DIRECTORY).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return undefined
      const what = cause.code === 'ENOTDIR' ? 'it is not a folder; name the folder, not a file in it' : cause.message
      throw badFile(folder, what, cause)
    })
    const before = await handle?.stat({ bigint: true })
    const isSame = async () => {
      const now = await stat(await whereItIs(folder), { bigint: true }).catch(() => undefined)
      return now?.ino === before?.ino && now?.dev === before?.dev
    }
    try {
      const value = await read(at)
      if (await isSame()) return value
    } catch (error) {
      if (await isSame()) throw error
    } finally {
      await handle?.close()
    }
  }
  throw badFile(folder, `it was replaced ${attempts} times while it was read; load it when nothing saves there`)
}

/** Whether a folder is a workplace, and not something of the user's that has such a name. */
export async function isWorkplace(folder: string): Promise<boolean> {
  return workplaceName.test(folder) && ((await contents(folder).catch(() => [])) ?? []).includes(lockName)
}

/** Puts a folder in another's place, which may be there or not. */
async function putInPlace(made: string, target: string, old: string): Promise<void> {
  try {
    return await rename(made, target) // one that is not there, or empty
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error
  }
  if (call((addon) => addon.exchange(made, target))) return
  await rename(target, old)
  try {
    await rename(made, target)
  } catch (error) {
    await rename(old, target)
    throw error
  }
}

/** Does something in a new workplace beside `target`, which is removed then. */
async function working(target: string, work: (workplace: string) => Promise<void>): Promise<void> {
  const { workplace, lock } = await newWorkplace(target)
  try {
    await work(workplace)
  } finally {
    // What was to be written is in its place, or the error is what matters: a rest does no harm.
    await clear(workplace, lock).catch(() => undefined)
  }
}

async function newWorkplace(target: string): Promise<{ workplace: string; lock: TakenLock }> {
  for (;;) {
    const workplace = `${target}.${randomUUID().slice(0, 8)}.tmp`
    await mkdir(workplace)
    try {
      const lock = lockFile(path.join(workplace, lockName), `process ${process.pid} on ${hostname()}`)
      if (lock.kind === 'taken') return { workplace, lock }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        await rm(workplace, { recursive: true, force: true }).catch(() => undefined)
        throw error
      }
    }
    // Another process took it for a rest before it was locked.
  }
}

type TakenLock = Extract<FileLock, { kind: 'taken' }>

/** The lock goes last: until then the workplace shows whose it is. */
async function clear(workplace: string, lock: TakenLock): Promise<void> {
  try {
    for (const part of ['new', 'old']) await rm(path.join(workplace, part), { recursive: true, force: true })
  } finally {
    lock.unlock()
  }
  await rmdir(workplace)
}

/** Removes the workplaces that killed processes left beside `target`, and puts back what one of them had moved away. */
async function mend(target: string): Promise<void> {
  for (const workplace of await workplaces(target)) {
    if (!(await isWorkplace(workplace))) {
      await rmdir(workplace).catch(() => undefined) // killed before it was locked, if it is empty
      continue
    }
    let lock: FileLock
    try {
      lock = lockFile(path.join(workplace, lockName), '')
    } catch {
      continue // gone meanwhile, or not ours to remove
    }
    if (lock.kind === 'held') continue
    // Without locks nobody knows whether it is still in use.
    if (!lock.supported) lock.leave()
    else {
      if ((await contents(target)) === undefined) {
        await rename(path.join(workplace, 'old'), target).catch(() => undefined)
      }
      await clear(workplace, lock).catch(() => undefined)
    }
  }
}

/** The folder, or where what was in it stands while it is replaced in two steps. */
async function whereItIs(folder: string): Promise<string> {
  const isThere = (at: string) => stat(at).then(Boolean, () => false)
  if (await isThere(folder)) return folder
  for (const workplace of await workplaces(await follow(folder))) {
    const old = path.join(workplace, 'old')
    if ((await isWorkplace(workplace)) && (await isThere(old))) return old
  }
  return folder
}

/** Paths of what is named like a workplace of `target`. */
async function workplaces(target: string): Promise<string[]> {
  const parent = path.dirname(target)
  const begin = `${path.basename(target)}.`
  const names = (await contents(parent).catch(() => [])) ?? []
  return names
    .filter((name) => name.startsWith(begin) && workplaceName.test(name) && name.length === begin.length + 12)
    .map((name) => path.join(parent, name))
}

/** Empty where it was removed. */
function currentFolder(): string {
  try {
    return process.cwd()
  } catch {
    return ''
  }
}

function refused(why: string, advice: string): ContinualDiffusionError {
  return new ContinualDiffusionError(
    'ERR_WRITE_FAILED',
    `${why}, so it is not replaced; name another folder, ${advice}`,
  )
}

/** Paths of what is in a folder, and in those folders in it that are `known`. */
async function pathsIn(folder: string, known: (name: string) => boolean, within = ''): Promise<string[]> {
  const at = path.join(folder, within)
  const names = ((await contents(at)) ?? []).map((name) => path.join(within, name))
  const inside = names.filter(known).map(async (name) => {
    const isFolder = (await lstat(path.join(folder, name))).isDirectory()
    return isFolder ? pathsIn(folder, known, name) : []
  })
  return [...names, ...(await Promise.all(inside)).flat()]
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
