import { open, readFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, expect, it, vi } from 'vitest'
import { Learner } from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { failure, tinyLearner } from './support/tiny.js'

afterEach(() => void vi.restoreAllMocks())

async function refuseFlushing(code: string): Promise<void> {
  const handle = await open('/dev/null')
  const error = Object.assign(new Error(`${code}: fsync`), { code })
  vi.spyOn(Object.getPrototypeOf(handle) as typeof handle, 'sync').mockRejectedValue(error)
  await handle.close()
}

it.each(['EINVAL', 'ENOTSUP', 'ENOSYS'])('a save does without flushing where it is refused by %s', async (code) => {
  await refuseFlushing(code)
  const folder = path.join(await temporaryFolder(), 'learner')
  const learner = await tinyLearner()
  await learner.save(folder)
  JSON.parse(await readFile(path.join(folder, 'config.json'), 'utf8'))
  await using loaded = await Learner.load(folder, { device: 'cpu' })
  expect(loaded.stepsDone).toBe(0)
})

it('a save fails where flushing does', async () => {
  await refuseFlushing('EIO')
  const learner = await tinyLearner()
  const error = await failure(learner.save(path.join(await temporaryFolder(), 'learner')))
  expect([error.code, error.message]).toEqual(['ERR_WRITE_FAILED', expect.stringContaining('EIO')])
})
