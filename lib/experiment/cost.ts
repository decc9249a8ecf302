import { teacherSamplerSchema } from '../config/sampler.js'
import type { Objective } from '../methods/objective.js'

/**
 * How often the teacher's network runs over a batch in one training step: once for every denoising step of every kind of image
 * that it generates, and once for every kind of input that it predicts for. Terms of the same source and timesteps share both.
 */
export function teacherCalls({ terms }: Objective): number {
  const inputs = new Map<string, { generates: number; predicts: boolean }>()
  for (const { source, target, timesteps } of terms) {
    const key = JSON.stringify([source, timesteps])
    const generates = source.kind === 'teacher' ? teacherSamplerSchema.parse(source.sampler).steps : 0
    inputs.set(key, { generates, predicts: target === 'teacher' || inputs.get(key)?.predicts === true })
  }
  return [...inputs.values()].reduce((sum, { generates, predicts }) => sum + generates + (predicts ? 1 : 0), 0)
}
