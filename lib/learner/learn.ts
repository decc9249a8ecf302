import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { StoredTaskInProgress } from '../checkpoint/learner-folder.js'
import type { Subset } from '../data/dataset.js'
import { call, trainingMilliseconds, withCancel } from '../engine/call.js'
import type { NativeLearner, NativeSession, NativeTrainReport } from '../engine/native-learner.js'
import { sampledWeights } from '../engine/state.js'
import { ContinualDiffusionError, invalid } from '../errors.js'
import { addToHash } from '../files/checksum.js'
import type { Method } from '../methods/objective.js'
import { checkMethod } from '../methods/objective-schema.js'
import { classNamesOf } from '../streams/learned-classes.js'
import { taskSchema } from '../streams/schemas.js'
import type { Task } from '../streams/stream.js'
import { parseOptions } from '../validation/options.js'
import { warn } from '../validation/printable.js'
import { checkPenalties } from './checks.js'
import { alone, type Core, checkIdle, createNative, divergedError, live, sound } from './core.js'
import { endTask } from './end-of-task.js'
import { type Grown, grow, takeOver } from './grow.js'
import type { ChangeableSetting, LearnOptions, Progress, StepLosses } from './learn-options.js'
import type { ReplayImages } from './options.js'
import { planTask } from './plan.js'
import { fillPools, firstPool, stepsToRefresh } from './replay.js'
import type { LearnedTask } from './schemas.js'
import { checkSame, digestOf, plainSettings, type TaskInProgress } from './task-in-progress.js'
import { isDue, isOver, lastValidation, stepsToValidation, validate, withBest } from './validation.js'

/** Learns a task; see `Learner.learn`. */
export function learn(
  core: Core,
  task: Task,
  method: Method,
  options: LearnOptions,
): AsyncGenerator<Progress, void, undefined> {
  const own = {}
  const steps = learnStepwise(core, new WeakRef(own), task, method, options)
  kept.set(steps, own)
  return steps
}

/** What stands for a generator lives as long as that. */
const kept = new WeakMap<object, object>()

async function* learnStepwise(
  core: Core,
  self: WeakRef<object>,
  givenTask: Task,
  givenMethod: Method,
  options: LearnOptions,
): AsyncGenerator<Progress, void, undefined> {
  sound(core, 'learn')
  const given = parseOptions(taskSchema, givenTask, 'learn: task')
  const method = {
    ...checkMethod(givenMethod, 'learn: method'),
    objective: (k: number) => givenMethod.objective(k),
  }
  const where = `learn, task ${given.number} by ${method.name}`
  const plan = planTask(core, given, method, options, where)
  warnOfOrder(core, given, where)
  const { task, objective, keeps, steps, pools, validation, onStep, callback, callbackEvery } = plan
  const filling = { task, where, ...plan.filling }
  const { signal, weights } = plan.filling
  const { labelDropout } = plan
  if (objective.penalties?.length) await checkPenalties(core, objective.penalties, where)
  if (core.learning?.deref()) {
    throw invalid(
      `${where}: the learner is already learning a task; wait for its end. An iterator of learn() that is not iterated to its end ` +
        'keeps the learner: end it by its return()',
    )
  }
  const penalties = objective.penalties?.map(({ name }) => name) ?? []
  // True while, or once it failed in it, a group's processes sum something else than steps.
  let sumsOther = false
  const apart = async (work: () => Promise<void>) => {
    sumsOther = true
    await work()
    sumsOther = false
  }

  let session: NativeSession | undefined
  let grown: Grown | undefined
  core.learning = self
  try {
    signal?.throwIfAborted()
    const { training, progress } = await alone(core, 'learn', where, async () => {
      const digests = {
        images: await digestOf(plan.subsets),
        memory: await digestOf(plan.memory),
        ...(validation && { heldOut: await digestOf(validation.heldOut) }),
      }
      await checkAlike(core, digests, plan.settings, where, signal)
      const settings = plainSettings({ ...plan.settings, ...digests })
      const resumed = plan.resume ? toResume(core, task.number, settings, plan.change, where) : undefined
      // First what may be refused, and changes nothing: what the learner grows to stands beside it.
      if (resumed === undefined && plan.growth) grown = await grow(core, plan.growth)
      const begun = await core.images.using(async () => {
        const images = { task: await core.images.pool(plan.subsets), memory: await core.images.pool(plan.memory) }
        const { numbers, timesteps, batch, adam } = plan
        const options = { objective, pools: numbers, timesteps, ...batch, ...images, optimizer: adam }
        return call(() => (grown?.native ?? live(core)).beginSession(options))
      })
      session = begun
      const progress = resumed ?? { task: task.number, step: 0, steps, settings }
      if (progress.step < steps) await apart(() => fillPools(core, begun, pools, progress.step, true, filling))
      live(core)
      if (resumed === undefined) {
        core.inProgress = undefined
        core.best = undefined
        if (grown) takeOver(core, grown)
        const { native } = core
        await call(() => native.beginTask(plan.keepOptimizer))
        if (method.weights === 'fresh' && plan.k > 1) await renewWeights(core, task.number)
        await call(() => native.followPath(keeps.consolidations?.some(({ kind }) => kind === 'path-integral') ?? false))
      }
      if (labelDropout > 0) core.nullLabel = true
      else if (grown) core.nullLabel = false
      core.inProgress = progress
      return { training: begun, progress }
    })
    const learnedFrom = (kind: string, subsets: readonly Subset[]) =>
      objective.terms.some(({ source }) => source.kind === kind) ? subsets : []
    const learned = { tasks: learnedFrom('task', plan.subsets), kept: learnedFrom('memory', plan.memory) }
    const end = withBest.bind(undefined, core, async () => {
      await endTask(core, task, keeps, { names: plan.names, ...learned, weights }, training, where, signal)
      // Until then the teacher may know it.
      if (method.weights === 'fresh' && plan.k > 1 && weights) core.nullLabel = labelDropout > 0
    })
    const over = () => isOver(validation, progress, steps)
    const pause = async (steps: number) => {
      if (isDue(validation, progress, steps)) {
        await apart(() => validate(core, validation, progress, signal))
        plan.onValidation?.(lastValidation(progress)!)
      }
      if (isOver(validation, progress, steps)) await end()
    }
    let ending: Promise<void> | undefined
    core.endEarly = () => {
      ending = alone(core, 'learn', where, () => pause(progress.step))
      return ending
    }
    if (progress.step > 0) await alone(core, 'learn', where, () => pause(steps))
    const start = performance.now()
    const first = progress.step
    const { step: stepBefore } = core.native.state
    // The first steps are told of soon, however fast they are.
    let most = 1
    while (!over()) {
      live(core)
      const { step: from } = progress
      const toCallback = callbackEvery - (from % callbackEvery)
      const toPause = Math.min(stepsToRefresh(pools, from), stepsToValidation(validation, from), toCallback)
      const wanted = Math.min(most, steps - from, toPause)
      const done = await alone(core, 'learn', where, async () => {
        if (from > first) await apart(() => fillPools(core, training, pools, from, false, filling))
        const done = await train(core, training, progress, wanted, penalties, onStep, signal, where, stepBefore)
        await pause(steps)
        return done
      })
      most = done.length * 4
      const { step } = progress
      const stepsPerSecond = ((step - first) * 1000) / (performance.now() - start)
      const secondsLeft = (steps - step) / stepsPerSecond
      const last = lastValidation(progress)
      const told = {
        ...{ ...meanOf(done), task: task.number, step, steps, stepsPerSecond, secondsLeft },
        ...(last && { validation: last }),
      }
      if (done.length === toCallback || over()) await callback?.(told)
      yield told
      if (ending === undefined) continue
      // Who ended the task early is told what went wrong.
      await ending.catch(() => {})
      if (core.inProgress === undefined) return
      ending = undefined
    }
  } finally {
    // Where the others go on with steps, they are told. Elsewhere they are when this process ends: a sum of another kind must not meet theirs.
    const ours = session
    if (ours && !sumsOther && core.settings.group && core.inProgress && core.inProgress.step < steps) {
      await call(() => ours.stop(Int32Array.of(1)))
    }
    session?.dispose()
    if (grown && grown.native !== core.native) grown.native.dispose()
    core.learning = undefined
    core.endEarly = () => endAt(core, { ...givenTask, ...(given as object) }, method, options)
  }
}

/** See `Learner.endTask`. */
export async function endEarly(core: Core): Promise<void> {
  sound(core, 'endTask')
  checkIdle(core, 'endTask')
  const { inProgress } = core
  if (inProgress === undefined) throw invalid('endTask: no task is in progress; begin one by learn() or train()')
  const { task, step } = inProgress
  if (step === 0) throw invalid(`endTask: no step of task ${task} is done; expected at least one`)
  if (core.endEarly === undefined) {
    throw invalid(
      `endTask: task ${task} was begun before this learner was loaded, and its images are not known; end it by ` +
        `train(task, method, { …, steps: ${step}, resume: { change: ['steps'] } })`,
    )
  }
  await core.endEarly()
}

/** Ends the task in progress, which is no longer iterated, with no more steps. */
async function endAt(core: Core, task: Task, method: Method, options: LearnOptions): Promise<void> {
  const steps = core.inProgress?.step ?? 0
  const changed = { epochs: undefined, steps, resume: { change: ['steps'] }, signal: undefined } as const
  for await (const _ of learn(core, task, method, { ...options, ...changed }));
}

/** See `Learner.replayPool`. */
export async function replayPool(
  core: Core,
  givenTask: Task,
  method: Method,
  options: LearnOptions,
): Promise<ReplayImages | undefined> {
  sound(core, 'replayPool')
  const given = parseOptions(taskSchema, givenTask, 'replayPool: task')
  checkMethod(method, 'replayPool: method')
  const where = `replayPool, task ${given.number} by ${method.name}`
  const { task, pools, filling } = planTask(core, given, method, options, where)
  return firstPool(core, pools, { task, where, ...filling })
}

/** The task in progress, if it is this one, with the settings that may change as they are now; undefined where it is to be begun. */
function toResume(
  { inProgress, tasksLearned }: Core,
  task: number,
  settings: Record<string, unknown>,
  change: readonly ChangeableSetting[],
  where: string,
): StoredTaskInProgress | undefined {
  if (inProgress !== undefined) {
    checkSame(inProgress, task, settings, change, where)
    const steps = settings.steps as number
    if (steps < inProgress.step) {
      throw invalid(`${where}: steps is ${steps}; expected at least ${inProgress.step}, the steps that are done`)
    }
    return { ...inProgress, steps, settings }
  }
  if (task > tasksLearned) return undefined
  throw invalid(
    `${where}: there is nothing to resume: ${tasksLearned === 1 ? 'task 1 is' : `tasks 1–${tasksLearned} are`} complete; expected a later task`,
  )
}

/** Draws the student's weights anew: for each task others, all of them a function of the learner's seed. */
async function renewWeights({ native, settings }: Core, task: number): Promise<void> {
  const seed = (native.state.seed ^ Math.imul(task, 0x9e3779b9)) >>> 0
  const fresh = await createNative({ ...settings, ema: 0 }, seed)
  try {
    const weights = await call(() => fresh.read('student'))
    await call(() => native.write('student', weights))
    if (sampledWeights(settings.ema) === 'ema') await call(() => native.write('ema', weights))
  } finally {
    call(() => fresh.dispose())
  }
}

/** Checks that all processes of a learner's group begin the same task with the same learner. */
async function checkAlike(
  core: Core,
  digests: Record<string, string>,
  settings: Record<string, unknown>,
  where: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { native } = core
  const { unet, schedule, precision, ema, group } = core.settings
  if (group === undefined) return
  const learner = JSON.stringify([unet, schedule, precision, ema, native.state])
  const facts = { learner, 'method and settings': JSON.stringify(settings), ...digests }
  // Those that were drawn from the seed, and trained alike, may differ in their last bits where processors do.
  const weights = core.unlike ? await digestOfWeights(native) : 'of the seed'
  await group.agree({ ...facts, weights }, where, signal)
  core.unlike = false
}

async function digestOfWeights(native: NativeLearner): Promise<string> {
  const hash = createHash('sha256')
  for (const weights of await call(() => native.read('student'))) await addToHash(hash, weights)
  return hash.digest('hex')
}

/**
 * Takes at most so many steps of the task in progress; those before an abort count and are told too.
 *
 * @param stepBefore the learner's step when `learn` began, with weights that nothing has spoilt
 */
async function train(
  core: Core,
  session: NativeSession,
  progress: StoredTaskInProgress,
  steps: number,
  penalties: readonly string[],
  onStep: LearnOptions['onStep'],
  signal: AbortSignal | undefined,
  where: string,
  stepBefore: number,
): Promise<readonly StepLosses[]> {
  let done: readonly StepLosses[] = []
  await withCancel(signal, async (flag) => {
    try {
      core.unchecked = true
      const report = await call(() => session.run({ steps, milliseconds: trainingMilliseconds }, flag))
      done = stepsOf(report, progress, penalties)
      if (report.graphFailure !== undefined) warnOfGraph(core, report.graphFailure)
    } catch (error) {
      const hasDiverged = error instanceof ContinualDiffusionError && error.code === 'ERR_DIVERGED'
      if (hasDiverged && core.native.state.step === stepBefore) {
        const message = `${where}: ${error.message} No step was taken: the weights are unchanged`
        throw new ContinualDiffusionError(error.code, message, { cause: error })
      }
      if (hasDiverged) throw divergedError(core, where, error.message, error)
      // Which steps were taken before isn't known.
      core.inProgress = undefined
      throw error
    }
    progress.step += done.length
    if (onStep) for (const losses of done) onStep(losses)
  })
  return done
}

/** Methods weigh their terms by the task's number, and a teacher knows what was learned before. */
function warnOfOrder({ tasksLearned, learned }: Core, given: LearnedTask, where: string): void {
  const task = given.number
  if (tasksLearned === 0 || task === tasksLearned + 1) return
  if (task === tasksLearned) {
    const before = learned.tasks.find(({ number }) => number === task)?.classes.map((c) => learned.names[c])
    const names = classNamesOf(given)
    if (before === undefined || isDeepStrictEqual(new Set(before), new Set(names))) return
    warn(
      `${where}: the learner has learned task ${task}, of the classes ${before.join(', ')}, and now learns it again, of ${names.join(', ')}; ` +
        `expected the same classes. nextTask(data, learner) makes of further data task ${task + 1}: with this number the method doesn't take task ` +
        `${task} for an earlier one, and nothing is done against its forgetting`,
      'CONTINUAL_DIFFUSION_TASK_ORDER',
    )
    return
  }
  warn(
    `${where}: the last task that the learner has learned is ${tasksLearned}; expected task ${tasksLearned + 1}: methods weigh their terms by a ` +
      "task's number, as if all tasks before it were learned, and no later one",
    'CONTINUAL_DIFFUSION_TASK_ORDER',
  )
}

function warnOfGraph(core: Core, failure: string): void {
  if (core.warnedOfGraph) return
  core.warnedOfGraph = true
  warn(
    `steps on ${core.settings.device} can't be recorded as a CUDA graph, and run one operation after the other, which is slower: ` +
      failure,
    'CONTINUAL_DIFFUSION_NO_GRAPH',
  )
}

/** A report step by step. */
function stepsOf(report: NativeTrainReport, { step, steps }: TaskInProgress, names: readonly string[]): StepLosses[] {
  const terms = report.terms.length / report.steps
  return Array.from({ length: report.steps }, (_, i) => ({
    step: step + i + 1,
    steps,
    loss: report.losses[i] as number,
    terms: [...report.terms.subarray(i * terms, (i + 1) * terms)],
    penalties: Object.fromEntries(names.map((name, n) => [name, report.penalties[i * names.length + n] as number])),
    gradNorm: report.gradNorms[i] as number,
    lr: report.learningRates[i] as number,
  }))
}

function meanOf(steps: readonly StepLosses[]): Omit<StepLosses, 'step' | 'steps'> {
  const [first] = steps as [StepLosses]
  const mean = (of: (losses: StepLosses) => number) => steps.reduce((sum, losses) => sum + of(losses), 0) / steps.length
  return {
    loss: mean(({ loss }) => loss),
    terms: first.terms.map((_, i) => mean(({ terms }) => terms[i] as number)),
    penalties: Object.fromEntries(
      Object.keys(first.penalties).map((name) => [name, mean(({ penalties }) => penalties[name] as number)]),
    ),
    gradNorm: mean(({ gradNorm }) => gradNorm),
    lr: steps.at(-1)?.lr as number,
  }
}
