import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { lockFile } from '../lib/engine/lock-file.js'
import { readFolder, replaceFolder } from '../lib/engine/whole-folder.js'
import { Learner } from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { startScript } from './support/processes.js'
import { failure, tinyLearner } from './support/tiny.js'

const ours = { marker: 'a', isOurs: (name: string) => ['a', 'b'].includes(name) }

/** Makes a folder with two files that say the same. */
async function write(folder: string, text: string): Promise<void> {
  await replaceFolder(folder, ours, async (at) => {
    for (const name of ['a', 'b']) await writeFile(path.join(at, name), text)
  })
}

const read = (folder: string) =>
  readFolder(folder, async (at) => [
    await readFile(path.join(at, 'a'), 'utf8'),
    await readFile(path.join(at, 'b'), 'utf8'),
  ])

describe('replacing a folder', () => {
  it('leaves nothing else behind', async () => {
    const parent = await temporaryFolder()
    for (const text of ['1', '2', '3']) await write(path.join(parent, 'x'), text)
    expect(await readdir(parent)).toEqual(['x'])
    expect(await read(path.join(parent, 'x'))).toEqual(['3', '3'])
  })

  it('by a process that is killed at any moment keeps the name and what is whole; the next one cleans up', async () => {
    const parent = await temporaryFolder()
    const folder = path.join(parent, 'model')
    await (await tinyLearner({ seed: 7 })).save(folder)
    for (let kill = 0; kill < 8; kill++) {
      const { child, ended } = await startScript(`
        const learner = await Learner.load(${JSON.stringify(folder)}, { device: 'cpu' })
        process.stdout.write('loaded')
        for (;;) await learner.save(${JSON.stringify(folder)})`)
      await new Promise((resolve) => child.stdout.once('data', resolve))
      await new Promise((resolve) => setTimeout(resolve, 40 + 11 * kill))
      child.kill('SIGKILL')
      await ended
      expect(await readdir(parent)).toContain('model')
      await using learner = await Learner.load(folder, { device: 'cpu' })
      expect(learner.seed).toBe(7)
    }
    await (await tinyLearner()).save(folder)
    expect(await readdir(parent)).toEqual(['model'])
  }, 120_000)

  it('in two steps, where there are no exchanges, loses nothing if it is killed between them', async () => {
    const parent = await temporaryFolder()
    const folder = path.join(parent, 'x')
    await write(folder, '1')
    const workplace = `${folder}.01234567.tmp`
    await mkdir(path.join(workplace, 'new'), { recursive: true })
    await writeFile(path.join(workplace, 'continual-diffusion.lock'), '')
    await rename(folder, path.join(workplace, 'old'))
    expect(await read(folder)).toEqual(['1', '1'])
    // It is put back before the next one is written: that one may fail.
    await expect(replaceFolder(folder, ours, () => Promise.reject(new Error('enough')))).rejects.toThrow('enough')
    expect(await readdir(parent)).toEqual(['x'])
    expect(await read(folder)).toEqual(['1', '1'])
  })

  it('removes nothing that it did not make, or that another process is making', async () => {
    const parent = await temporaryFolder()
    const folder = path.join(parent, 'x')
    const [theirs, busy] = [`${folder}.00000000.tmp`, `${folder}.11111111.tmp`]
    await mkdir(theirs)
    await writeFile(path.join(theirs, 'photo'), '')
    await mkdir(path.join(busy, 'new'), { recursive: true })
    const lock = lockFile(path.join(busy, 'continual-diffusion.lock'), 'another')
    await write(folder, '1')
    expect((await readdir(parent)).sort()).toEqual([folder, theirs, busy].map((at) => path.basename(at)))
    expect(lock.kind === 'taken' && lock.isOurs()).toBe(true)
    if (lock.kind === 'taken') lock.leave() // as the kernel does at the process's end
    await write(folder, '2')
    expect((await readdir(parent)).sort()).toEqual([folder, theirs].map((at) => path.basename(at)))
  })

  it.each(['.', '..', ''])('refuses the current folder and those it is in (%j)', async (relative) => {
    const folder = path.join(await temporaryFolder(), 'x')
    await write(path.join(folder, 'inner'), '1')
    await rm(path.join(folder, 'inner/a'))
    await rm(path.join(folder, 'inner/b'))
    vi.spyOn(process, 'cwd').mockReturnValue(path.join(folder, 'inner'))
    const all = { marker: 'inner', isOurs: () => true }
    const error = await failure(replaceFolder(path.resolve(relative), all, async () => undefined))
    vi.restoreAllMocks()
    expect(error).toMatchObject({ code: 'ERR_WRITE_FAILED' })
    expect(error.message).toMatch(/current folder of this process/)
    expect(await readdir(folder)).toEqual(['inner'])
  })
})

describe('reading a folder', () => {
  it('that is replaced meanwhile gives what is of one and the same', async () => {
    const folder = path.join(await temporaryFolder(), 'x')
    await write(folder, '1')
    let calls = 0
    const found = await readFolder(folder, async (at) => {
      const a = await readFile(path.join(at, 'a'), 'utf8')
      if (calls++ === 0) await write(folder, '2')
      return [a, await readFile(path.join(at, 'b'), 'utf8')]
    })
    expect(found).toEqual(['2', '2'])
    // Whatever is replaced again and again is told, and not read for ever.
    const error = await failure(readFolder(folder, () => write(folder, '3')))
    expect(error.code).toBe('ERR_BAD_CHECKPOINT')
    expect(error.message).toContain(folder)
  })

  it('by Learner.load never gives the weights of one learner and the numbers of another', async () => {
    const folder = path.join(await temporaryFolder(), 'model')
    const learners = [await tinyLearner({ seed: 1 }), await tinyLearner({ seed: 2 })]
    const [x, t] = [new Float32Array(64).fill(0.5), Int32Array.of(3)]
    const predictions = await Promise.all(learners.map((learner) => learner.predict(x, t)))
    await learners[0]!.save(folder)
    let saving = true
    const saved = (async () => {
      for (let i = 0; saving; i++) await learners[i % 2]!.save(folder)
    })()
    const seen = new Set<number>()
    for (let i = 0; i < 60; i++) {
      await using learner = await Learner.load(folder, { device: 'cpu', precision: 'fp32' })
      seen.add(learner.seed)
      expect(await learner.predict(x, t)).toEqual(predictions[learner.seed - 1])
    }
    saving = false
    await saved
    expect(seen).toEqual(new Set([1, 2]))
  }, 60_000)
})
