/**
 * Continual learning of diffusion models: one U-Net learns a stream of tasks, one after the other, without forgetting the earlier tasks.
 * Start with {@link Learner}, a stream such as {@link classIncremental} and a method such as {@link generativeDistillation}.
 *
 * @module continual-diffusion
 */
export { Classifier, type ClassifierOptions } from './classifiers/classifier.js'
export { Solver } from './classifiers/solver.js'
export type { SolverLearnOptions, SolverOptions } from './classifiers/solver-options.js'
export type { Ema, EmaWarmup } from './config/ema.js'
export { presets } from './config/presets.js'
export {
  type Guidance,
  paperSampler,
  type SamplerConfig,
  type SamplerOptions,
  type Thresholding,
} from './config/sampler.js'
export { noiseLevels, paperSchedule, type ScheduleConfig, schedule } from './config/schedule.js'
export type { TimestepDistribution, Timesteps } from './config/timesteps.js'
export { parseUNetConfig, toDiffusersConfig, type UNetConfig, type UNetOptions } from './config/unet.js'
export type { DownBlockType, UpBlockType } from './config/unet-config.js'
export {
  type ArraysOptions,
  type AsyncIterableOptions,
  type CifarOptions,
  type Dataset,
  fashionMnist,
  fromArrays,
  fromAsyncIterable,
  type IdxFiles,
  type IdxOptions,
  type ImageBatch,
  type ImageFolderOptions,
  type KnownOptions,
  type LabelledImage,
  loadCifar10,
  loadCifar100,
  loadIdx,
  loadImageFolder,
  mnist,
  type SplitOptions,
  type Subset,
  type TrainTest,
  trainTest,
  trainTestSplit,
} from './data/index.js'
export type { Classified } from './engine/classifier.js'
export { Group, type GroupOptions } from './engine/group.js'
export { ImageStore } from './engine/image-store.js'
export { samplerTimesteps } from './engine/sampler-timesteps.js'
export { ContinualDiffusionError, type ErrorCode } from './errors.js'
export * from './evaluation/index.js'
export type {
  ChangeableSetting,
  Learning,
  LearnOptions,
  LearnSettings,
  LrSchedule,
  LrScheduleKind,
  PoolProgress,
  Progress,
  ReplayClassifier,
  StepLosses,
  TaskLength,
  TrainOptions,
} from './learner/learn-options.js'
export { Learner, type SampleOptions } from './learner/learner.js'
export type {
  DenoisingLoss,
  DenoisingLossOptions,
  FloatImages,
  Label,
  LearnerOptions,
  LoadOptions,
  NetworkLabels,
  ReplayImages,
  SaveOptions,
  StepOptions,
  UpdateOptions,
} from './learner/options.js'
export type { TaskInProgress } from './learner/task-in-progress.js'
export type { Validation, ValidationOptions } from './learner/validation-options.js'
export * from './methods/index.js'
export * from './streams/index.js'
export type { Device, Precision } from './validation/fields.js'
export type { ImageSize } from './validation/size.js'
