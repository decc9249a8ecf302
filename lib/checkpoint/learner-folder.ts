import { mkdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { type Ema, emaSchema } from '../config/ema.js'
import { defaultSampler, parseSampler, type SamplerConfig, samplerSchema } from '../config/sampler.js'
import { paperSchedule, type ScheduleConfig, scheduleSchema } from '../config/schedule.js'
import { hasClassTable, readUNetConfig, toDiffusersConfig, type UNetConfig } from '../config/unet.js'
import { type ParameterInfo, type StateTensor, sampledWeights } from '../engine/state.js'
import { replaceFolder } from '../engine/whole-folder.js'
import { type ContinualDiffusionError, invalid } from '../errors.js'
import { syncFolder, writeJson } from '../files/atomic.js'
import { badFile as bad, checkFormat } from '../files/bad-file.js'
import { readJson } from '../files/read-json.js'
import { readSafetensors, type StoredTensor, writeSafetensors } from '../files/safetensors.js'
import { learnedClassesSchema } from '../streams/learned-classes.js'
import { isShallow, shallowExpected } from '../validation/depth.js'
import { mostSteps, seedSchema } from '../validation/fields.js'
import { isRecord, parseOptions } from '../validation/options.js'
import { warn } from '../validation/printable.js'
import { type MemoryItem, memoryRecord, memorySchema, readMemory, writeMemory } from './memory-file.js'
import { isRunFolder, missingFile } from './missing-file.js'
import { readWeights, weightFiles, weightsFile } from './model-weights.js'
import { nameParameters, pickParameters as pick } from './parameters.js'
import { penaltiesSchema, readPenalties, type StoredPenalty, writePenalties } from './penalties-file.js'
import { parseSchedulerConfig, pipelineOf, toSchedulerConfig } from './scheduler-config.js'

/** The U-Net that the weights are for, and the scheduler: the file names that diffusers gives them. */
const configFile = 'config.json'
const schedulerFile = 'scheduler_config.json'
/** Of a diffusers pipeline's folder: its file, and the folders of its U-Net and its scheduler. */
const pipelineFile = 'model_index.json'
const [unetFolder, schedulerFolder] = ['unet', 'scheduler']
/** What diffusers has no place for. */
export const learnerFile = 'learner.json'
const trainingFile = 'training.safetensors'
/** Only where there is something in it. */
const penaltiesFile = 'penalties.safetensors'
const memoryFile = 'memory.safetensors'
const keptFile = 'kept.safetensors'

const files = [weightsFile, configFile, schedulerFile, learnerFile, trainingFile, penaltiesFile, memoryFile, keptFile]

/** Version of learner.json and of the tensors' names in training.safetensors. */
const format = 1

/** So far that no position in the data overflows. */
const count = z.int().min(0).max(mostSteps)

/** Schema of what learner.json says of the task in progress. */
const taskInProgressSchema = z
  .strictObject({
    task: z.int().min(1),
    step: z.int().min(0),
    steps: z.int().min(1),
    // They are written again when the learner is saved in mid-task.
    settings: z.record(z.string(), z.unknown()).refine(isShallow, shallowExpected),
    // The last validation, the best, and how many have come since that.
    validation: z
      .strictObject({
        step: z.int().min(1),
        value: z.number(),
        best: z.strictObject({ step: z.int().min(1), value: z.number() }),
        waited: z.int().min(0),
      })
      .optional(),
  })
  .refine(({ step, steps }) => step <= steps, 'expected step ≤ steps')

/** With what decides each of its steps: to go on with it by other settings would be another training. */
export type StoredTaskInProgress = z.output<typeof taskInProgressSchema>

const learnerSchema = z
  .strictObject({
    format: z.literal(format),
    seed: seedSchema,
    step: count,
    optimizerStep: count,
    tasksLearned: count,
    learnedBefore: count.default(0),
    learned: learnedClassesSchema.default({ names: [], tasks: [] }),
    taskInProgress: taskInProgressSchema.optional(),
    // Of a class-conditional learner.
    classes: z
      .strictObject({ names: z.array(z.string()).readonly(), counts: z.array(count).readonly() })
      .refine(({ names, counts }) => names.length === counts.length, 'expected a count for each name')
      .optional(),
    nullLabel: z.boolean().optional(),
    ema: emaSchema,
    precision: z.enum(['fp32', 'tf32', 'bf16']),
    schedule: scheduleSchema,
    sampler: samplerSchema.transform((sampler): SamplerConfig => sampler),
    penalties: penaltiesSchema,
    memory: memorySchema,
    kept: memorySchema,
  })
  .refine(({ step, optimizerStep }) => optimizerStep <= step, {
    path: ['optimizerStep'],
    message: 'expected at most step',
  })

/** The tensors of a learner, and the weights of the best validation of its task in progress. */
export type StoredState = StateTensor | 'best_student' | 'best_ema'

/** The numbers of a learner besides its tensors. */
export type LearnerRecord = Omit<z.output<typeof learnerSchema>, 'format'>

/** A learner's folder, or a diffusers model folder, as read. */
export interface LearnerFolder {
  readonly unet: UNetConfig
  readonly schedule: ScheduleConfig
  readonly sampler: SamplerConfig
  /** Null for a folder that is a diffusers model and no more. */
  readonly record: LearnerRecord | null
  /** Reads and checks the tensors, once the names and shapes that the network has are known. */
  readTensors(parameters: readonly ParameterInfo[]): Promise<Map<StoredState, Float32Array[]>>
  readPenalties(parameters: readonly ParameterInfo[]): Promise<StoredPenalty[]>
  readMemory(): Promise<MemoryItem[]>
  /** The generated images that a replay pool keeps. */
  readKept(): Promise<MemoryItem[]>
  /** Paths of the files of a diffusers model, all that it is made of. */
  modelFiles(): Promise<readonly string[]>
}

/** What a diffusers folder may leave open. */
export interface Given {
  /** The schedule to take where the folder has none. */
  readonly schedule?: ScheduleConfig | undefined
  /** The variant of the weights. */
  readonly variant?: string | undefined
  /** Number of tasks that the model learned elsewhere. */
  readonly learnedBefore?: number | undefined
  readonly sampler?: unknown
  readonly seed?: number | undefined
  readonly ema?: Ema | undefined
  /** What to take in place of the `sample_size` in config.json. */
  readonly sampleSize?: UNetConfig['sample_size'] | undefined
}

/**
 * Reads a folder's small files. Of a diffusers pipeline's folder it reads the U-Net and the scheduler in it.
 *
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` that names the file and what is wrong in it; `ERR_INVALID_ARGUMENT` where something is given that the
 *   folder has
 */
export async function readLearnerFolder(named: string, given: Given = {}): Promise<LearnerFolder> {
  const isPipeline =
    (await readJson(path.join(named, configFile))) === undefined &&
    (await readJson(path.join(named, pipelineFile))) !== undefined
  const folder = isPipeline ? path.join(named, unetFolder) : named
  const file = (name: string) => path.join(folder, name)
  const config = await readJson(file(configFile))
  if (config === undefined) throw await missingFile(folder, configFile)
  if (isRecord(config) && 'methods' in config && 'stream' in config) {
    throw bad(file(configFile), isRunFolder)
  }
  const unet = readUNetConfig(config, file(configFile), given.sampleSize)

  const own = await readJson(file(learnerFile))
  if (own !== undefined) {
    if (given.schedule !== undefined) throw hasSchedule(file(learnerFile))
    for (const option of ['variant', 'sampler', 'learnedBefore', 'seed', 'ema'] as const) {
      if (given[option] === undefined) continue
      throw invalid(
        `Learner.load: ${option} is given, but ${folder} is a saved learner's, which says what it is; leave it out`,
      )
    }
    checkFormat(file(learnerFile), own, format)
    const { format: _, ...record } = parseOptions(learnerSchema, own, file(learnerFile), 'ERR_BAD_CHECKPOINT')
    const { schedule, classes, nullLabel } = record
    const names = classes?.names.length ?? 0
    const rows = unet.num_class_embeds ?? 0
    if (hasClassTable(unet) && names + (nullLabel ? 1 : 0) > rows) {
      throw bad(
        file(learnerFile),
        `it has ${names} classes${nullLabel ? ' and the null label' : ''}; expected at most ${rows} in all, which is num_class_embeds in ` +
          configFile,
      )
    }
    const sampler = parseSampler(schedule, record.sampler, file(learnerFile), defaultSampler, 'ERR_BAD_CHECKPOINT')
    return {
      unet,
      schedule,
      sampler,
      record,
      readTensors: (parameters) => readAll(folder, parameters, record),
      readPenalties: (parameters) => readPenalties(file(penaltiesFile), record.penalties, parameters),
      readMemory: () => readMemory(file(memoryFile), record.memory),
      readKept: () => readMemory(file(keptFile), record.kept),
      modelFiles: async () => [],
    }
  }
  const isLearners = await stat(file(trainingFile)).then(Boolean, () => false)
  if (isLearners) {
    throw bad(
      file(learnerFile),
      `there is no such file, but there is ${trainingFile}: the folder is a saved learner's that lost it. Put it back, or remove ` +
        `${trainingFile} too, and the folder is a diffusers model that has learned no task`,
    )
  }
  const { schedule, sampler, file: scheduler } = await schedulerOf(folder, given.schedule)
  return {
    unet,
    schedule,
    sampler,
    record: null,
    readTensors: async (parameters) =>
      new Map([[sampledWeights(0), await readWeights(folder, parameters, given.variant)]]),
    readPenalties: async () => [],
    readMemory: async () => [],
    readKept: async () => [],
    modelFiles: async () => [
      ...[file(configFile), ...(scheduler === undefined ? [] : [scheduler])],
      ...(await weightFiles(folder, given.variant)),
    ],
  }
}

/**
 * The schedule and the sampler of a diffusers model folder: of the scheduler's file in it, as `save` writes it, or of the pipeline that the folder is part
 * of. Where neither is there the weights don't tell which schedule they were trained with.
 */
async function schedulerOf(folder: string, given: ScheduleConfig | undefined) {
  const beside = path.join(path.dirname(path.resolve(folder)), schedulerFolder, schedulerFile)
  for (const file of [path.join(folder, schedulerFile), beside]) {
    const scheduler = await readJson(file)
    if (scheduler === undefined) continue
    const found = parseSchedulerConfig(scheduler, file)
    if (given !== undefined && !isDeepStrictEqual(given, found.schedule)) throw hasSchedule(file)
    return { ...found, file }
  }
  if (given === undefined) {
    warn(
      `${folder} has no ${schedulerFile}, nor is there a scheduler folder beside it: the noise schedule is taken to be the paper's. ` +
        `If the network was trained with another, put its ${schedulerFile} there, or give Learner.load, or an experiment, a schedule`,
      'CONTINUAL_DIFFUSION_NO_SCHEDULE',
    )
  }
  return { schedule: given ?? paperSchedule, sampler: defaultSampler, file: undefined }
}

function hasSchedule(file: string): ContinualDiffusionError {
  return invalid(`Learner.load: schedule is given, but ${file} says the network's; leave the option out, or the file`)
}

/** What {@link writeLearnerFolder} writes. */
export interface LearnerContents {
  readonly unet: UNetConfig
  readonly record: Omit<LearnerRecord, 'penalties' | 'memory' | 'kept' | 'learnedBefore'> & {
    readonly learnedBefore?: number
  }
  readonly parameters: readonly ParameterInfo[]
  /** The tensors that the learner has. */
  readonly tensors: ReadonlyMap<StoredState, readonly Float32Array[]>
  readonly penalties: readonly StoredPenalty[]
  readonly memory: readonly MemoryItem[]
  readonly kept: readonly MemoryItem[]
}

/**
 * Writes a learner's folder, whole or not at all; it is a diffusers model folder too, or in a pipeline's folder the U-Net's. An earlier
 * learner's folder of the same format is replaced when it holds nothing else; any other folder that isn't empty is refused.
 *
 * @throws ContinualDiffusionError `ERR_WRITE_FAILED`; `ERR_INVALID_ARGUMENT` where diffusers has no pipeline that samples as the learner does
 */
export async function writeLearnerFolder(
  folder: string,
  format: 'model' | 'pipeline',
  contents: LearnerContents,
): Promise<void> {
  const { unet, record } = contents
  if (format === 'model') {
    const ours = { marker: learnerFile, isOurs: (name: string) => files.includes(name) }
    return replaceFolder(folder, ours, (temporary) => writeFiles(temporary, contents))
  }
  const pipeline = pipelineOf(unet, record.schedule, record.sampler)
  const names = [
    pipelineFile,
    ...[schedulerFolder, path.join(schedulerFolder, schedulerFile), unetFolder],
    ...files.map((name) => path.join(unetFolder, name)),
  ]
  const ours = { marker: path.join(unetFolder, learnerFile), isOurs: (name: string) => names.includes(name) }
  await replaceFolder(folder, ours, async (temporary) => {
    const [model, scheduler] = [unetFolder, schedulerFolder].map((name) => path.join(temporary, name)) as [
      string,
      string,
    ]
    await mkdir(model)
    await writeFiles(model, contents)
    await syncFolder(model)
    await mkdir(scheduler)
    await writeJson(path.join(scheduler, schedulerFile), pipeline.scheduler)
    await syncFolder(scheduler)
    await writeJson(path.join(temporary, pipelineFile), pipeline.index)
  })
}

async function writeFiles(folder: string, contents: LearnerContents): Promise<void> {
  const { unet, record, parameters, tensors, penalties, memory, kept } = contents
  const sampled = sampledWeights(record.ema)
  const file = (name: string) => path.join(folder, name)
  await writeJson(file(configFile), toDiffusersConfig(unet))
  const scheduler = toSchedulerConfig(record.schedule, record.sampler)
  if (scheduler) await writeJson(file(schedulerFile), scheduler)
  const weights = new Map<string, StoredTensor>()
  const training = new Map<string, StoredTensor>()
  for (const [which, values] of tensors) {
    const isSampled = which === sampled
    for (const [name, tensor] of nameParameters(values, parameters, isSampled ? '' : `${which}.`)) {
      const target = isSampled ? weights : training
      target.set(name, tensor)
    }
  }
  await writeSafetensors(file(weightsFile), weights, { format: 'pt' })
  await writeSafetensors(file(trainingFile), training)
  if (penalties.length > 0) await writePenalties(file(penaltiesFile), penalties, parameters)
  if (memory.length > 0) await writeMemory(file(memoryFile), memory)
  if (kept.length > 0) await writeMemory(file(keptFile), kept)
  await writeJson(file(learnerFile), {
    format,
    ...record,
    penalties: penalties.map(({ name, shape, quadratics }) => ({ name, shape, parts: quadratics.length })),
    memory: memoryRecord(memory),
    kept: memoryRecord(kept),
  })
}

async function readAll(folder: string, parameters: readonly ParameterInfo[], record: LearnerRecord) {
  const tensors = new Map<StoredState, Float32Array[]>([
    [sampledWeights(record.ema), await readWeights(folder, parameters)],
  ])

  const training = path.join(folder, trainingFile)
  const groups = new Map<StoredState, Map<string, StoredTensor>>()
  for (const [name, tensor] of (await readSafetensors(training)).tensors) {
    const dot = name.indexOf('.')
    const which = trainingTensors.find((known) => known === name.slice(0, dot))
    if (which === undefined || tensors.has(which))
      throw bad(training, `unexpected tensor '${name}'; a learner has no such tensor`)
    const group = groups.get(which) ?? new Map<string, StoredTensor>()
    groups.set(which, group.set(name.slice(dot + 1), tensor))
  }
  for (const [which, group] of groups) tensors.set(which, pick(training, group, parameters, `${which}.`))
  const { validation, settings } = record.taskInProgress ?? {}
  const keepsBest = validation !== undefined && isRecord(settings?.validation) && settings.validation.keepBest === true
  const needed: StoredState[] = [
    ...(keepsBest ? ([`best_${sampledWeights(record.ema)}`, 'best_student'] as const) : []),
    'student',
    ...(record.tasksLearned + record.learnedBefore > 0 ? (['teacher'] as const) : []),
    ...(record.optimizerStep > 0 ? (['exp_avg', 'exp_avg_sq'] as const) : []),
    ...((['path_start', 'path_integral'] as const).some((which) => tensors.has(which))
      ? (['path_start', 'path_integral'] as const)
      : []),
  ]
  for (const which of needed) {
    if (!tensors.has(which))
      throw bad(
        training,
        `the tensors '${which}.…' are missing; expected them, as learner.json says that the learner has trained`,
      )
  }
  return tensors
}

const trainingTensors: readonly StoredState[] = [
  'student',
  'teacher',
  'exp_avg',
  'exp_avg_sq',
  'path_start',
  'path_integral',
  'best_student',
  'best_ema',
]
