export { type MethodName, methodByName, methods } from './by-name.js'
export { compose } from './compose.js'
export { type ConditionalDistillationOptions, conditionalDistillation } from './conditional-distillation.js'
export { type EwcOptions, ewc } from './ewc.js'
export { type ExperienceReplayOptions, experienceReplay } from './experience-replay.js'
export { finetune } from './finetune.js'
export {
  type GaussianDistillationOptions,
  gaussianDistillation,
  symmetricGaussianDistillation,
} from './gaussian-distillation.js'
export { generativeDistillation } from './generative-distillation.js'
export { generativeReplay } from './generative-replay.js'
export { type JointOptions, joint } from './joint.js'
export { type LwfDistillationOptions, lwfDistillation } from './lwf-distillation.js'
export type {
  Consolidation,
  Keeps,
  Loss,
  MemoryOptions,
  Method,
  Objective,
  Penalty,
  ReplayPool,
  Source,
  Target,
  Term,
} from './objective.js'
export { partialGenerationDistillation } from './partial-generation-distillation.js'
export type { FisherOptions } from './penalized.js'
export { type RankOneEwcOptions, rankOneEwc } from './rank-one-ewc.js'
export { recommended } from './recommended.js'
export { type SynapticIntelligenceOptions, synapticIntelligence } from './synaptic-intelligence.js'
export { type TeacherToStudentOptions, teacherToStudent } from './teacher-to-student.js'
export type { PooledMethodOptions, TeacherMethodOptions, TeacherOptions, TeacherTermOptions } from './terms.js'
