import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { call } from './call.js'

const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW } = constants

/** What came of an attempt to lock a file. */
export type FileLock =
  /** `supported` is false where the file system knows no locks, so that nobody else is kept out. */
  | {
      readonly kind: 'taken'
      readonly supported: boolean
      /** Whether the file still has its name; where it was removed or replaced, another process may hold the lock of that name. */
      isOurs(): boolean
      /** Removes the file, if it is still ours. Doing it again does nothing. */
      unlock(): void
      /** Unlocks the file and leaves it there. */
      leave(): void
    }
  /** `holder`: what the holder wrote into the file. */
  | { readonly kind: 'held'; readonly holder: string }

/**
 * Makes and locks a file that is removed when it is unlocked. The lock is the kernel's (flock): it ends with the process, however
 * that ends, and depends neither on process numbers nor on any clock.
 *
 * @param holder what others read who find it locked
 * @throws the system's error where the file can't be made; ELOOP where it is a symbolic link, whose target would be emptied
 */
export function lockFile(file: string, holder: string): FileLock {
  for (;;) {
    const fd = openSync(file, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW)
    let taken = false
    try {
      const answer = call((addon) => addon.lockFile(fd))
      if (answer === 'held') return { kind: 'held', holder: readFileSync(fd, 'utf8').trim() }
      // Whoever held it may have removed it since it was opened: what counts is a lock on the file that has the name.
      if (!names(file, fd)) continue
      ftruncateSync(fd)
      writeSync(fd, `${holder}\n`)
      taken = true
      let locked = true
      const release = (remove: boolean) => {
        if (!locked) return
        locked = false
        try {
          if (remove && names(file, fd)) rmSync(file)
        } catch {
          // On a disk that can't be written any more. The file does no harm: what counts is who has locked it.
        }
        closeSync(fd)
      }
      return {
        kind: 'taken',
        supported: answer === 'taken',
        isOurs: () => locked && names(file, fd),
        unlock: () => release(true),
        leave: () => release(false),
      }
    } finally {
      if (!taken) closeSync(fd)
    }
  }
}

/** Whether a name stands for an open file. */
function names(file: string, fd: number): boolean {
  const [named, open] = [statSync(file, { throwIfNoEntry: false, bigint: true }), fstatSync(fd, { bigint: true })]
  return named?.ino === open.ino && named.dev === open.dev
}
