import { homedir } from 'node:os'
import path from 'node:path'
import { warn } from '../validation/printable.js'

/**
 * A folder in the user's cache folder of this package, as the XDG base directory specification has it; undefined where there is no home. A
 * relative `XDG_CACHE_HOME` counts as none. The system is asked when a cache is used, and not before: a home is needed for nothing else.
 */
export function cacheFolder(name: string): string | undefined {
  const base = [process.env.XDG_CACHE_HOME ?? '', path.join(home(), '.cache')].find(path.isAbsolute)
  return base && path.join(base, 'continual-diffusion', name)
}

/** Empty for a user without an entry in the system's list of users. */
function home(): string {
  try {
    return homedir()
  } catch {
    return ''
  }
}

export const noCacheFolder = 'there is no home folder; set XDG_CACHE_HOME to a folder that can be written'

/** Says that what was made or got will have to be made or got again. */
export function warnNotKept(what: string, why: string): void {
  warnOfCache(`${what} is used but not kept for the next time: ${why}`)
}

/** Says that a cache is not used. */
export function warnOfCache(message: string): void {
  warn(message, 'CONTINUAL_DIFFUSION_NO_CACHE')
}
