export { type MethodName, methodByName, methods } from './by-name.js'
export { finetune } from './finetune.js'
export {
  type GaussianDistillationOptions,
  gaussianDistillation,
  symmetricGaussianDistillation,
} from './gaussian-distillation.js'
export { type GenerativeDistillationOptions, generativeDistillation } from './generative-distillation.js'
export { type GenerativeReplayOptions, generativeReplay } from './generative-replay.js'
export { joint } from './joint.js'
export { type LwfDistillationOptions, lwfDistillation } from './lwf-distillation.js'
export type { Loss, Method, Objective, Source, Target, Term } from './objective.js'
export {
  type PartialGenerationDistillationOptions,
  partialGenerationDistillation,
} from './partial-generation-distillation.js'
export { type TeacherToStudentOptions, teacherToStudent } from './teacher-to-student.js'
export type { TeacherOptions } from './terms.js'
