import { networkCalls, teacherSamplerSchema } from '../config/sampler.js'
import { poolImages } from '../learner/plan-pools.js'
import type { Objective } from '../methods/objective.js'

/**
 * How often the teacher's network runs over a batch in one training step, on average: once for every denoising step of every kind of image
 * that it generates, and once for every kind of input that it predicts for. Terms of the same source and timesteps share both; those of
 * the same source share its replay pools, whose cost is spread over all steps.
 *
 * @param training.steps number of steps that the task was planned with: pools are made for these
 * @param training.done number of steps that it took, where it ended earlier
 */
export function teacherCalls(
  { terms }: Objective,
  training: { steps: number; done?: number; batchSize: number },
): number {
  const { done = training.steps, batchSize } = training
  const generating = new Map<string, number>()
  const predicting = new Set<string>()
  for (const { source, target, timesteps } of terms) {
    const input = JSON.stringify([source, timesteps])
    if (target === 'teacher') predicting.add(input)
    if (source.kind !== 'teacher') continue
    const steps = networkCalls(teacherSamplerSchema.parse(source.sampler))
    if (source.pool === undefined) generating.set(input, steps)
    else {
      const { images, refresh } = poolImages(source.pool, training)
      const all = images * Math.ceil(done / refresh)
      // What the networks are told of its images is no other pool.
      const { labels: _, ...same } = source
      generating.set(JSON.stringify(same), (steps * all) / (done * batchSize))
    }
  }
  return [...generating.values()].reduce((sum, calls) => sum + calls, predicting.size)
}
