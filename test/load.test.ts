import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
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
async function load(libtorch: string | null, addon: string | null): Promise<unknown> {
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

test('an addon whose libtorch is gone', async () => {
  const gone = join(folder, 'gone')
  await expect(load(gone, 'not a shared object')).rejects.toMatchObject({
    code: 'ERR_LIBTORCH_NOT_FOUND',
    message: expect.stringContaining(`${gone}, which no longer exists`),
    cause: expect.any(Error),
  })
})
