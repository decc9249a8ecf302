import {
  type LearnerFolder,
  readLearnerFolder,
  type StoredState,
  writeLearnerFolder,
} from '../checkpoint/learner-folder.js'
import type { StoredPenalty } from '../checkpoint/penalties-file.js'
import { parseSampler, type SamplerConfig } from '../config/sampler.js'
import { isConditional } from '../config/unet.js'
import { call } from '../engine/call.js'
import { resolveDevice } from '../engine/device.js'
import { stateTensors } from '../engine/state.js'
import { readFolder } from '../engine/whole-folder.js'
import { invalid } from '../errors.js'
import { pathSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { checkVariance } from './checks.js'
import { type Core, checkIdle, createCore, freezeTeacher, sound } from './core.js'
import type { LoadOptions, SaveOptions } from './options.js'
import { loadSchema, saveSchema } from './schemas.js'
import { checkChanged } from './soundness.js'

/** See `Learner.load`. */
export async function loadCore(folder: string, options: LoadOptions): Promise<Core> {
  parseOptions(pathSchema, folder, 'Learner.load: folder')
  const parsed = parseOptions(loadSchema, options, 'Learner.load')
  // All is read first: no memory is taken for a network that config.json only claims.
  const read = await readFolder(folder, async (at) => {
    const { readTensors, readPenalties, readMemory, readKept, ...rest } = await readLearnerFolder(at, parsed)
    const parameters = call((addon) => addon.unetParameters(rest.unet))
    const tensors = await readTensors(parameters)
    return {
      ...rest,
      tensors,
      penalties: await readPenalties(parameters),
      memory: await readMemory(),
      kept: await readKept(),
    }
  })
  const { unet, schedule, record, tensors, penalties, memory, kept } = read
  if (parsed.learnedBefore && isConditional(unet)) {
    throw invalid(
      `Learner.load: learnedBefore is ${parsed.learnedBefore}, but the network takes labels, and ${folder} doesn't tell which classes it has learned; ` +
        'expected 0',
    )
  }
  const sampler = parsed.sampler === undefined ? read.sampler : samplerOf(read, parsed.sampler)
  const { threads, group } = parsed
  const { device } = await resolveDevice(parsed.device, 'fp32', group?.localRank)
  // Only CUDA devices have tf32; a CPU computes what was learned so in fp32.
  const saved = record?.precision === 'tf32' && device === 'cpu' ? 'fp32' : record?.precision
  const resolved = await resolveDevice(parsed.device, parsed.precision ?? saved ?? 'auto', group?.localRank)
  const settings = { unet, schedule, sampler, ...resolved, threads, ema: record?.ema ?? parsed.ema ?? 0, group }
  const core = await createCore(settings, record?.seed ?? parsed.seed ?? 0, parsed.images)
  const { native } = core
  try {
    const best = new Map<'student' | 'ema', readonly Float32Array[]>()
    for (const [tensor, values] of tensors) {
      if (tensor === 'best_student') best.set('student', values)
      else if (tensor === 'best_ema') best.set('ema', values)
      else await call(() => native.write(tensor, values))
    }
    if (best.size > 0) core.best = best
    for (const { name, shape, quadratics } of penalties) {
      for (const quadratic of quadratics) await call(() => native.writePenalty({ name, shape, ...quadratic }))
    }
    Object.assign(core, { memory, kept } satisfies Partial<Core>)
    if (record) {
      const { seed, step, optimizerStep, tasksLearned, learnedBefore, taskInProgress } = record
      const taskStep = taskInProgress?.step ?? 0
      await call(() => native.setState({ seed, step, taskStep, optimizerStep }))
      const { classes } = record
      // One that an older version saved tells no tasks, and the labels of a conditional one must go on as they are.
      const names = record.learned.names.length > 0 ? record.learned.names : (classes?.names ?? [])
      const learned = { ...record.learned, names }
      const known = { tasksLearned, learnedBefore, learned, inProgress: taskInProgress, classes }
      Object.assign(core, known satisfies Partial<Core>)
    }
    core.nullLabel = record?.nullLabel
    core.unlike = true
    const weights = tensors.get('student')
    if (record === null && weights && call(() => native.has('ema'))) await call(() => native.write('ema', weights))
    if (record === null && parsed.learnedBefore) {
      core.learnedBefore = parsed.learnedBefore
      await freezeTeacher(core)
    }
    return core
  } catch (error) {
    call(() => native.dispose())
    await core.images.dispose()
    throw error
  }
}

function samplerOf(
  { unet, schedule, sampler }: Pick<LearnerFolder, 'unet' | 'schedule' | 'sampler'>,
  given: unknown,
): SamplerConfig {
  const where = 'Learner.load: sampler'
  const own = parseSampler(schedule, given, where, sampler)
  checkVariance(unet, own, where)
  return own
}

/** See `Learner.save`. */
export async function saveCore(core: Core, folder: string, options: SaveOptions): Promise<void> {
  const native = sound(core, 'save')
  parseOptions(pathSchema, folder, 'save: folder')
  const { format } = parseOptions(saveSchema, options, 'save')
  checkIdle(core, 'save')
  const taskInProgress = core.inProgress && { ...core.inProgress }
  const best = (taskInProgress && core.best) ?? []
  // All is asked for before the first result is awaited: what begins meanwhile comes after it in the engine's queue.
  const { seed, step, optimizerStep } = native.state
  const { memory, kept, tasksLearned, learnedBefore, learned, classes, nullLabel } = core
  const { unet, schedule, sampler, precision, ema } = core.settings
  const { parameters } = native
  const checking = checkChanged(core, 'save')
  const reading = stateTensors
    .filter((tensor) => call(() => native.has(tensor)))
    .map(async (tensor) => [tensor, await call(() => native.read(tensor))] as const)
  const readingPenalties = call(() => native.readPenalties())
  const [read] = await Promise.all([Promise.all(reading), checking])
  const tensors = new Map<StoredState, readonly Float32Array[]>(read)
  for (const [kind, values] of best) tensors.set(`best_${kind}`, values)
  const penalties: StoredPenalty[] = await readingPenalties
  const ofClasses = isConditional(unet) ? { classes, nullLabel } : {}
  const record = {
    seed,
    step,
    optimizerStep,
    tasksLearned,
    ...(learnedBefore > 0 && { learnedBefore }),
    learned,
    taskInProgress,
    ...ofClasses,
    ema,
    precision,
    schedule,
    sampler,
  }
  await writeLearnerFolder(folder, format, { unet, record, parameters, tensors, penalties, memory, kept })
}
