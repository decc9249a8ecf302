import type { StoredTaskInProgress } from '../checkpoint/learner-folder.js'
import type { MemoryItem } from '../checkpoint/memory-file.js'
import type { ResolvedEma } from '../config/ema.js'
import type { SamplerConfig } from '../config/sampler.js'
import { type ScheduleConfig, scheduleTable } from '../config/schedule.js'
import type { UNetConfig } from '../config/unet.js'
import { call, disposedError } from '../engine/call.js'
import type { Group } from '../engine/group.js'
import type { ImageStore } from '../engine/image-store.js'
import type { NativeLearner } from '../engine/native-learner.js'
import { ResidentImages } from '../engine/resident-images.js'
import { ContinualDiffusionError, invalid } from '../errors.js'
import type { LearnedClasses } from '../streams/learned-classes.js'

/** What a learner is. Only its table of classes may grow. */
export interface Settings {
  readonly unet: UNetConfig
  readonly schedule: ScheduleConfig
  readonly sampler: SamplerConfig
  /** `cpu` or `cuda:N`. */
  readonly device: string
  readonly precision: 'fp32' | 'tf32' | 'bf16'
  /** Threads of the CPU; undefined: libtorch's. */
  readonly threads?: number | undefined
  readonly ema: ResolvedEma
  /** The processes that train it; undefined: this one alone. */
  readonly group?: Group | undefined
}

/** The images of a replay pool, before they are on a device. */
export interface PoolImages {
  /** All that they are a function of. */
  readonly key: string
  /** Pixels; noisy images as float32 N × C × H × W. */
  readonly images: Uint8Array | Float32Array
  /** Each image's label, or 0; where images were stopped, label · T + timestep. */
  readonly labels: Int32Array
}

/** The weights of a moment, by the names of their tensors. */
export type KeptWeights = ReadonlyMap<'student' | 'ema', readonly Float32Array[]>

/** The labels of the data that a conditional learner has learned from. */
export interface LearnedLabels {
  /** Class names; a label is an index into them. */
  readonly names: readonly string[]
  /** Number of training images of each class, in all tasks together; 0: the class has not been learned. */
  readonly counts: readonly number[]
}

/** What the functions of this folder work on: a learner's engine, and what the engine doesn't know of it. */
export interface Core {
  native: NativeLearner
  settings: Settings
  readonly images: ResidentImages
  memory: readonly MemoryItem[]
  /** Generated images of a replay pool with `keep`, of each class those of the first pool that had it. */
  kept: readonly MemoryItem[]
  /** Of a conditional learner that has learned a task. */
  classes: LearnedLabels | undefined
  /**
   * Whether the last row of the table of classes is the null label, which was learned. Not known of a network from elsewhere, or where `step`
   * was told that row.
   */
  nullLabel: boolean | undefined
  /** The classes of the tasks that are complete. */
  learned: LearnedClasses
  /** Number of the last completed task; 0 before the first is complete. */
  tasksLearned: number
  /** Number of tasks that the model learned elsewhere, before task 1. */
  learnedBefore: number
  inProgress: StoredTaskInProgress | undefined
  /** Of the task in progress: the weights of its best validation, where it is to end with them. */
  best: KeptWeights | undefined
  /** Ends the task in progress after the steps that are done. Unknown of a task that was begun by another process. */
  endEarly: (() => Promise<void>) | undefined
  /** How often the teacher changed: what it generated before then is not what it would generate now. */
  teachers: number
  /** The replay pool that was generated last: a solver and the learner may both ask for it. */
  pool: PoolImages | undefined
  /** The generator of `learn`, from its first to its last iteration. A program that has dropped it doesn't end it. */
  learning: WeakRef<object> | undefined
  /** What is changing the weights at the moment. */
  busy: 'learn' | 'step' | undefined
  /** What spoilt the weights, after which nothing can be done with them. */
  diverged: string | undefined
  /** Whether the weights have changed since it was looked at whether the network's prediction is finite. */
  unchecked: boolean
  /** Whether its weights came from a folder, which the processes of its group have not compared yet. */
  unlike: boolean
  warnedOfGraph: boolean
  disposed: boolean
}

/** A native learner with fresh weights, drawn from the seed. */
export function createNative(settings: Omit<Settings, 'sampler'>, seed: number): Promise<NativeLearner> {
  const { unet, schedule, device, precision, ema, group } = settings
  const threads = settings.threads ?? group?.threads
  const { prediction } = schedule
  const table = scheduleTable(schedule, unet.time_embedding_type === 'fourier')
  return call((addon) =>
    addon.createLearner({
      ...{ unet, schedule: table, prediction, device, precision, threads, seed, ema },
      group: group?.native,
    }),
  )
}

/** @param images where images are kept on the device; without one, in a store of the learner's own */
export async function createCore(given: Settings, seed: number, images: ImageStore | undefined): Promise<Core> {
  const settings = { ...given, group: given.group && given.group.size > 1 ? given.group : undefined }
  settings.group?.noteDevice(settings.device)
  // Of a network without a size no images are asked for.
  const resident = new ResidentImages(settings.device, settings.unet.sample_size ?? 0, images)
  return {
    native: await createNative(settings, seed),
    settings,
    images: resident,
    memory: [],
    kept: [],
    classes: undefined,
    nullLabel: false,
    learned: { names: [], tasks: [] },
    tasksLearned: 0,
    learnedBefore: 0,
    inProgress: undefined,
    best: undefined,
    endEarly: undefined,
    teachers: 0,
    pool: undefined,
    learning: undefined,
    busy: undefined,
    diverged: undefined,
    unchecked: false,
    unlike: false,
    warnedOfGraph: false,
    disposed: false,
  }
}

/** Makes the weights that sampling uses the teacher, see `Keeps.teacherDecay`. */
export async function freezeTeacher(core: Core, decay?: number): Promise<void> {
  core.teachers++
  core.pool = undefined
  await call(() => core.native.freezeTeacher(decay))
}

/** @throws ContinualDiffusionError `ERR_DISPOSED` */
export function live(core: Core, what = 'the learner'): NativeLearner {
  if (core.disposed) throw disposedError(what)
  return core.native
}

/**
 * The learner's engine, for what uses or keeps its weights.
 *
 * @throws ContinualDiffusionError `ERR_DISPOSED`; `ERR_DIVERGED` where the weights are not usable
 */
export function sound(core: Core, where: string, what?: string): NativeLearner {
  const native = live(core, what && `${where}: ${what}`)
  if (core.diverged === undefined) return native
  throw new ContinualDiffusionError(
    'ERR_DIVERGED',
    `${where}: ${what ?? 'the learner'} has diverged in ${core.diverged}, and its weights are not usable: load an earlier save, or make a new learner`,
  )
}

/** The error of a task that spoilt the weights: nothing of it is in progress, and {@link sound} refuses them from now on. */
export function divergedError(core: Core, where: string, found: string, cause?: unknown): ContinualDiffusionError {
  core.diverged = where
  core.inProgress = undefined
  const message = `${where}: ${found} The learner's weights are not usable: load an earlier save, and lower the learning rate`
  return new ContinualDiffusionError('ERR_DIVERGED', message, { cause })
}

/** @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` while something changes the weights */
export function checkIdle({ busy }: Core, where: string): void {
  if (busy === 'learn') throw invalid(`${where}: learn() is taking steps; wait for its next progress`)
  if (busy === 'step') throw invalid(`${where}: a step() is in progress; wait for its end`)
}

/** Does what changes the weights in several calls of the engine, with nothing else that does so between them. */
export async function alone<T>(core: Core, what: 'learn' | 'step', where: string, work: () => Promise<T>): Promise<T> {
  checkIdle(core, where)
  const { group } = core.settings
  core.busy = what
  try {
    return await (group ? group.alone(where, work) : work())
  } finally {
    core.busy = undefined
  }
}
