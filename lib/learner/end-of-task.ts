import { isConditional } from '../config/unet.js'
import type { Subset } from '../data/dataset.js'
import { call, withCancel } from '../engine/call.js'
import type { NativeSession } from '../engine/native-learner.js'
import type { Keeps } from '../methods/objective.js'
import { withTask } from '../streams/learned-classes.js'
import { type Core, freezeTeacher, live } from './core.js'
import { classesAfter } from './labels.js'
import { remember } from './memory.js'
import type { LearnedTask } from './schemas.js'
import { checkSound } from './soundness.js'

/** What a task was learned from. */
interface Learned {
  /** Names of the classes of all data so far. */
  readonly names: readonly string[]
  /** The real images of tasks, perhaps none. */
  readonly tasks: readonly Subset[]
  /** Those of a memory. */
  readonly kept: readonly Subset[]
  /** Of the classes that the teacher generated, for a network that takes labels. */
  readonly weights: Float64Array | undefined
}

/**
 * What a task leaves behind: penalties, memory and teacher, all of it or, after an abort, nothing.
 *
 * @throws ContinualDiffusionError `ERR_DIVERGED`
 */
export async function endTask(
  core: Core,
  task: LearnedTask,
  { consolidations = [], memory, teacherDecay }: Keeps,
  { names, tasks, kept, weights }: Learned,
  session: NativeSession,
  where: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const native = live(core)
  const { inProgress } = core
  await checkSound(core, where)
  // Whatever fails from here on leaves an end that can't be done again: only an abort that changed nothing can.
  core.inProgress = undefined
  if (consolidations.length > 0) {
    let over = false
    const consolidating = withCancel(signal, async (flag) => {
      over = await call(() => session.consolidate(consolidations, flag)).then(() => true)
    })
    await consolidating.catch((error: unknown) => {
      if (over) return // the abort came too late
      if (signal?.aborted) core.inProgress = inProgress
      throw error
    })
  }
  if (memory) core.memory = await remember(core.memory, task, memory, native.state.seed)
  await freezeTeacher(core, teacherDecay)
  if (call(() => native.has('path_start'))) await call(() => native.followPath(false))
  if (isConditional(core.settings.unet)) {
    const anew = tasks.length > 1 || task.number <= core.tasksLearned
    core.classes = classesAfter(core.classes, names, { tasks, kept }, anew, weights)
  }
  core.learned = withTask(core.learned, task)
  core.tasksLearned = Math.max(core.tasksLearned, task.number)
}
