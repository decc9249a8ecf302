import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { loadAddon } from '../lib/engine/load.js'

const root = fileURLToPath(new URL('../', import.meta.url))
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'load-'))
  mkdirSync(join(folder, 'build', 'Release'), { recursive: true })
  for (const part of ['errors.ts', 'engine']) {
    cpSync(join(root, 'lib', part), join(folder, 'lib', part), { recursive: true })
  }
  cpSync(join(root, 'package.json'), join(folder, 'package.json'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Loads the addon of a package folder with the given record and addon file. */
async function load(libtorch: string | null, addon: string | Buffer | null): Promise<unknown> {
  const record = { libtorch: { path: libtorch, version: '2.13.0', variant: 'cpu', source: 'LIBTORCH' } }
  if (libtorch !== null) writeFileSync(join(folder, 'build', 'engine.json'), JSON.stringify(record))
  if (addon !== null) writeFileSync(join(folder, 'build', 'Release', 'continual_diffusion.node'), addon)
  const there = (await import(join(folder, 'lib', 'engine', 'load.ts'))) as { loadAddon: typeof loadAddon }
  return there.loadAddon()
}

test('gives the same addon each time', () => {
  expect(loadAddon()).toBe(loadAddon())
})

test('an addon that was never built', async () => {
  await expect(load(null, null)).rejects.toMatchObject({
    code: 'ERR_ADDON_NOT_BUILT',
    message: expect.stringMatching(/not built.*Node v\d+.*no libtorch is recorded.*npm rebuild/),
  })
})

test('an addon that cannot be loaded while its libtorch is there', async () => {
  await expect(load(folder, 'not a shared object')).rejects.toMatchObject({
    code: 'ERR_ADDON_NOT_BUILT',
    message: expect.stringMatching(/cannot be loaded.*which exists.*npm rebuild/),
    cause: expect.any(Error),
  })
})

describe('a rebuild is advised only where it can help', () => {
  /** Makes a shared library of a line of C. */
  const library = (name: string, code: string, ...links: string[]) => {
    const [source, file] = [join(folder, 'source.c'), join(folder, name)]
    writeFileSync(source, code)
    const options = ['-shared', '-fPIC', '-Wl,-z,now', `-Wl,-soname,${name}`, '-o', file]
    execFileSync(process.env.CXX ?? 'c++', [...options, '-x', 'c', source, '-x', 'none', ...links])
    return file
  }
  /** An addon that needs a library, which is removed. */
  const addonWithout = (name: string) => {
    const needed = library(name, 'int needed(void) { return 1; }')
    const addon = library('addon.so', 'int needed(void); int addon(void) { return needed(); }', needed)
    rmSync(needed)
    return readFileSync(addon)
  }

  test('another libtorch lacks what the addon calls', async () => {
    const addon = library('addon.so', 'int gone(void); int addon(void) { return gone(); }')
    await expect(load(folder, readFileSync(addon))).rejects.toMatchObject({
      code: 'ERR_ADDON_NOT_BUILT',
      message: expect.stringMatching(/undefined symbol: gone\. .*npm rebuild/),
    })
  })

  test('a library of libtorch is missing', async () => {
    await expect(load(folder, addonWithout('libtorch_more.so'))).rejects.toMatchObject({
      code: 'ERR_LIBTORCH_NOT_FOUND',
      message: expect.stringMatching(/not whole: libtorch_more\.so: .*npm rebuild/),
    })
  })

  test('a library of the system is missing', async () => {
    await expect(load(folder, addonWithout('libother.so.1'))).rejects.toMatchObject({
      code: 'ERR_ADDON_NOT_BUILT',
      message: expect.stringMatching(
        /libother\.so\.1: cannot open(?!.*npm rebuild).*does not help: install the library/,
      ),
    })
  })
})

test('an addon whose libtorch is gone', async () => {
  const gone = join(folder, 'gone')
  await expect(load(gone, 'not a shared object')).rejects.toMatchObject({
    code: 'ERR_LIBTORCH_NOT_FOUND',
    message: expect.stringContaining(`${gone}, which no longer exists`),
    cause: expect.any(Error),
  })
})
