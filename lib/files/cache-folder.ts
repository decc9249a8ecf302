import { homedir } from 'node:os'
import path from 'node:path'

/**
 * The user's cache folder of this package, as the XDG base directory specification has it; undefined where there is no home. The system is
 * asked when a cache is used, and not before: a home is needed for nothing else.
 */
export function cacheFolder(): string | undefined {
  const base = process.env.XDG_CACHE_HOME || homeCache()
  return base === undefined ? undefined : path.join(base, 'continual-diffusion')
}

function homeCache(): string | undefined {
  try {
    const home = homedir()
    return home === '' ? undefined : path.join(home, '.cache')
  } catch {
    return undefined // a user without an entry in the system's list of users
  }
}

export const noCacheFolder = 'there is no home folder; set XDG_CACHE_HOME to a folder that can be written'

/** Says that what was made or got will have to be made or got again. */
export function warnNotKept(what: string, why: string): void {
  process.emitWarning(`${what} is used but not kept for the next time: ${why}`, {
    code: 'CONTINUAL_DIFFUSION_NO_CACHE',
  })
}
