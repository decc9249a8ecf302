import type { UNetConfig } from '../../lib/config/unet.js'
import { finetune, type Learner, type LearnerOptions, type LearnOptions } from '../../lib/index.js'
import type { Task } from '../../lib/streams/stream.js'
import { bandsStream, collect, tinyLearner, tinyUNet } from './tiny.js'

/** For four classes and the null label. */
export const classUNet = { ...tinyUNet, num_class_embeds: 5 } satisfies UNetConfig
export const classTraining = { steps: 4, batchSize: 8, lr: 1e-3, labelDropout: 0.2 } satisfies LearnOptions

/** The two tasks of the stream of bands. */
export const stream = bandsStream()
export const [first, second] = stream.tasks as [Task, Task]

/** A tiny learner of classes, disposed with the test. */
export const conditional = (options: Partial<LearnerOptions> = {}) => tinyLearner({ unet: classUNet, ...options })

/** One that has learned the first task. */
export async function taught(): Promise<Learner> {
  const learner = await conditional()
  await collect(learner.learn(first, finetune(), classTraining))
  return learner
}

/** One noisy image. */
export const xt = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i))
