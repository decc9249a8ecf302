import { describe, expect, it } from 'vitest'
import { failure, tinyLearner } from './support/tiny.js'

describe('sample', () => {
  it('same seed, same images, whatever the batch size; another seed, others', async () => {
    const learner = await tinyLearner()
    const [one, again, other] = [
      await learner.sample({ count: 8, seed: 3 }),
      await learner.sample({ count: 8, seed: 3, batchSize: 4 }),
      await learner.sample({ count: 8, seed: 4 }),
    ]
    expect(one).toMatchObject({ count: 8, height: 8, width: 8, channels: 1 })
    expect(one.data).toHaveLength(8 * 64)
    expect(again.data).toEqual(one.data)
    expect(other.data).not.toEqual(one.data)
  })

  it('takes what a call says before what the learner says', async () => {
    const learner = await tinyLearner({ sampler: { steps: 3 } })
    const { data: three } = await learner.sample({ count: 2 })
    expect((await learner.sample({ count: 2, sampler: { steps: 3 } })).data).toEqual(three)
    expect((await learner.sample({ count: 2, sampler: { steps: 2 } })).data).not.toEqual(three)
    const error = await failure(learner.sample({ count: 2, sampler: { steps: 1001 } }))
    expect(error.message).toMatch(/^sample: sampler: steps is 1001; expected at most/)
  })

  it('ends with what onProgress throws, and not the process', async () => {
    const learner = await tinyLearner()
    const onProgress = () => {
      throw new Error('mine')
    }
    await expect(learner.sample({ count: 20_000, sampler: { steps: 100 }, onProgress })).rejects.toThrow('mine')
    expect(await learner.sample({ count: 1 })).toMatchObject({ count: 1 })
  })

  it('tells how many images are done', async () => {
    const learner = await tinyLearner()
    const told: { done: number; total: number }[] = []
    const controller = new AbortController()
    const onProgress = (progress: { done: number; total: number }) => {
      told.push(progress)
      if (progress.done > 0) controller.abort('enough')
    }
    const options = { count: 20_000, sampler: { steps: 100 }, signal: controller.signal, onProgress }
    await expect(learner.sample(options)).rejects.toBe('enough')
    expect(told.every(({ total }) => total === 20_000)).toBe(true)
    const counts = told.map(({ done }) => done)
    expect(counts).toEqual([...counts].sort((a, b) => a - b))
    expect(counts.at(-1)).toBeGreaterThan(0)
    expect(counts.at(-1)).toBeLessThan(20_000)
  })

  it('aborted in the middle, rejects with the reason', async () => {
    const learner = await tinyLearner()
    const controller = new AbortController()
    const images = learner.sample({ count: 100_000, sampler: { steps: 1000 }, signal: controller.signal })
    setTimeout(() => controller.abort('enough'), 50)
    await expect(images).rejects.toBe('enough')
    expect((await learner.sample({ count: 1 })).count).toBe(1)
  })
})
