import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, onTestFinished, vi } from 'vitest'

/** A new folder that goes when the test has ended. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'continual-diffusion-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Runs something that file permissions bind, which they don't root. */
export async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return work()
  process.seteuid?.(65534)
  try {
    return await work()
  } finally {
    process.seteuid?.(0)
  }
}

/** Paths of all files below a folder, relative to it. */
export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort()
}

/** Gives the tests of a file a cache of their own, so that classifiers are trained once for it and not taken from the user's. */
export function ownCache(): void {
  let cache = ''
  beforeAll(async () => {
    cache = await mkdtemp(path.join(tmpdir(), 'continual-diffusion-'))
    vi.stubEnv('XDG_CACHE_HOME', cache)
  })
  afterAll(async () => {
    vi.unstubAllEnvs()
    await rm(cache, { recursive: true })
  })
}
