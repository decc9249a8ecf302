import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { resolveExperiment } from '../lib/experiment/config.js'
import { RunFolder } from '../lib/experiment/folder.js'
import { runExperiment } from '../lib/experiment/run.js'
import { ContinualDiffusionError } from '../lib/index.js'
import { filesBelow, ownCache, temporaryFolder } from './support/folders.js'
import { brokenExperiment } from './support/runs.js'
import { failure } from './support/tiny.js'

ownCache()

describe('a run whose folder was removed', () => {
  it('leaves alone the run that has it now', async () => {
    const out = path.join(await temporaryFolder(), 'run')
    const before = await RunFolder.create(out, 'run', {})
    await rm(out, { recursive: true })
    const now = await RunFolder.create(out, 'run', {})
    for (const writing of [
      () => before.writeJson('results.json', {}),
      () => before.write('samples/a.png', 'x'),
      () => before.log({}),
      () => before.remove('config.json'),
    ]) {
      expect((await failure(writing())).code).toBe('ERR_RUN_LOCKED')
    }
    expect(await filesBelow(out)).toEqual(['config.json', 'run.lock'])
    before.release()
    // The lock still keeps a third one out.
    expect((await failure(RunFolder.open(out))).code).toBe('ERR_RUN_LOCKED')
    now.release()
    ;(await RunFolder.open(out)).release()
  })

  it('stops, and does not make it again', async () => {
    const parent = await temporaryFolder()
    const out = path.join(parent, 'run')
    const error = await failure(
      runExperiment(
        { ...brokenExperiment, train: { steps: 1_000_000, batchSize: 4 }, checkpoints: { everyMinutes: 0 }, out },
        { onEvent: ({ kind }) => void (kind === 'learn' && rm(out, { recursive: true, force: true })) },
      ),
    )
    expect(error.code).toBe('ERR_RUN_LOCKED')
    expect(error.message).toContain(out)
    expect(await readdir(parent)).toEqual([])
  }, 60_000)
})

describe('what a killed run left', () => {
  it('is removed, and nothing else that has such a name', async () => {
    const out = path.join(await temporaryFolder(), 'run')
    ;(await RunFolder.create(out, 'run', {})).release()
    const put = async (file: string) => {
      await mkdir(path.dirname(path.join(out, file)), { recursive: true })
      await writeFile(path.join(out, file), '')
    }
    const theirs = ['notes.deadbeef.tmp', 'samples/x.deadbeef.tmp/seed-1/task-1.png', 'learners/x.deadbeef.tmp/a/b']
    for (const file of theirs) await put(file)
    await put('results.json.deadbeef.tmp')
    await put('samples/x/seed-1/task-1.png.deadbeef.tmp')
    await put('checkpoints/1.deadbeef.tmp/continual-diffusion.lock')
    ;(await RunFolder.open(out)).release()
    expect(await filesBelow(out)).toEqual(['config.json', ...theirs].sort())
  })

  it.each(['x.deadbeef.tmp', 'real', '..', 'a/b', 'x'.repeat(101), 'a\nb'])(
    'is not mistaken for a method, as no method may be labelled %j',
    (label) => {
      const methods = [{ name: 'finetune' as const, label }]
      expect(() => resolveExperiment({ preset: 'demo', methods })).toThrow(ContinualDiffusionError)
    },
  )
})
