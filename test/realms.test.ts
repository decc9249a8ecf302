import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { type Dataset, fromArrays, fromAsyncIterable, single, trainTest } from '../lib/index.js'
import { bands, failure, tinyLearner } from './support/tiny.js'

/** A typed array as another realm makes it, such as those that Jest and vm give to tests. */
function foreign<T>(type: string, values: ArrayLike<number>): T {
  return runInNewContext(`new ${type}(values)`, { values: Array.from(values) }) as T
}

it('takes typed arrays of another realm', async () => {
  const own = bands('own', 2)
  const { images: _, labels: __, ...shape } = own
  const images = foreign<Uint8Array>('Uint8Array', own.images)
  const labels = foreign<Int32Array>('Int32Array', own.labels)
  expect(images).not.toBeInstanceOf(Uint8Array)
  expect(fromArrays({ ...own, images, labels }).images).toEqual(own.images)
  const clamped = foreign<Uint8ClampedArray>('Uint8ClampedArray', own.images)
  expect(fromArrays({ ...own, images: clamped, labels }).labels).toEqual(own.labels)
  expect((await fromAsyncIterable([{ image: images.subarray(0, 64), label: 0 }], shape)).labels).toHaveLength(1)
  const dataset: Dataset = { ...own, images, labels }
  const [task] = single(trainTest(dataset, dataset))
  const learner = await tinyLearner()
  const subset = { dataset, indices: foreign<Int32Array>('Int32Array', [0, 1]) }
  expect(await learner.denoisingLoss([subset])).toEqual(
    await learner.denoisingLoss([{ dataset: own, indices: Int32Array.of(0, 1) }]),
  )
  expect(task?.train.indices).toHaveLength(8)
  const [xt, target] = [foreign<Float32Array>('Float32Array', Array(64).fill(1)), new Float32Array(64)]
  const timesteps = foreign<Int32Array>('Int32Array', [3])
  expect(
    (await learner.step({ xt, timesteps, target, weight: foreign('Float32Array', [1]), lr: 1e-3 })).loss,
  ).toBeGreaterThan(0)
})

it('says which type an array of another realm has where it is the wrong one', async () => {
  const own = bands('own', 2)
  const { images: _, labels: __, ...shape } = own
  const images = foreign<Uint8Array>('Float32Array', own.images)
  expect(() => fromArrays({ ...own, images })).toThrow(/images are of type Float32Array; expected a Uint8Array/)
  const { message } = await failure(fromAsyncIterable([{ image: images, label: 0 }], shape))
  expect(message).toContain('the image is Float32Array of 512')
})

it('runs inside another realm, where its errors are its own', async () => {
  const vitest = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url))
  const args = [vitest, 'run', 'test/learn.test.ts', '--pool', 'vmThreads', '-t', 'tells when it diverges']
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    env: { ...process.env, NO_COLOR: '1' },
  })
  expect(stdout).toMatch(/Tests\s+1 passed/)
})
