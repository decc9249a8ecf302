/**
 * Continual learning of diffusion models: one U-Net learns a stream of tasks, one after the other, without forgetting the earlier ones.
 * Start with {@link Learner}, a stream such as {@link classIncremental} and a method such as {@link generativeDistillation}.
 *
 * @packageDocumentation
 */
export { type Classified, Classifier, type ClassifierOptions } from './classifier.js'
export {
  type ArraysOptions,
  type Dataset,
  fashionMnist,
  fromArrays,
  type IdxFiles,
  type IdxOptions,
  type ImageBatch,
  type KnownOptions,
  loadIdx,
  mnist,
  type Subset,
  type TrainTest,
  trainTest,
} from './data/index.js'
export {
  paperSampler,
  paperSchedule,
  type SamplerConfig,
  type ScheduleConfig,
  samplerStep,
  samplerTimesteps,
  schedule,
  type Tensor,
} from './diffusion.js'
export type { Device, Precision } from './engine/device.js'
export { ContinualDiffusionError, type ErrorCode } from './engine/errors.js'
export * from './evaluation/index.js'
export {
  Learner,
  type LearnerOptions,
  type LearnOptions,
  type Progress,
  type SampleOptions,
  type StepOptions,
  type UpdateOptions,
} from './learner.js'
export * from './methods/index.js'
export { presets } from './presets.js'
export * from './streams/index.js'
export { parseUNetConfig, toDiffusersConfig, type UNetConfig } from './unet.js'
