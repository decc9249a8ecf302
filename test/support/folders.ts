import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, onTestFinished, vi } from 'vitest'
import { formatIdx } from '../../lib/data/idx.js'

/** A new folder that goes when the test has ended. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'continual-diffusion-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Writes an IDX folder as MNIST's, with `perClass` images of 8 × 8 of each class in both parts; all pixels have one value. */
export async function writeIdxFolder(folder: string, perClass: number, classes = 2, value = 0): Promise<void> {
  const count = perClass * classes
  const images = formatIdx({ shape: [count, 8, 8], data: new Uint8Array(count * 64).fill(value) })
  const labels = formatIdx({ shape: [count], data: Uint8Array.from({ length: count }, (_, i) => i % classes) })
  for (const part of ['train', 't10k']) {
    await writeFile(path.join(folder, `${part}-images-idx3-ubyte`), images)
    await writeFile(path.join(folder, `${part}-labels-idx1-ubyte`), labels)
  }
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
