import type { Solver } from '../classifiers/solver.js'
import type { SolverLearnOptions } from '../classifiers/solver-options.js'
import { memoryUse } from '../engine/memory.js'
import type { TaskEvaluation } from '../evaluation/per-task.js'
import { imageGrid, rowsByClass } from '../images/grid.js'
import type { LearnOptions, PoolProgress, Progress, StepLosses, TaskLength } from '../learner/learn-options.js'
import type { Learner } from '../learner/learner.js'
import type { Validation } from '../learner/validation-options.js'
import type { Part } from '../report/live/entries.js'
import type { TaskResult } from '../report/results.js'
import type { Stream, Task } from '../streams/stream.js'
import type { Checkpoint } from './checkpoint.js'
import { teacherCalls } from './cost.js'
import { isKept, learnerPath } from './kept-learners.js'
import type { Logged } from './logger.js'
import { LossRecorder } from './loss-recorder.js'
import { needsClassifier, type ResolvedMethod, solverOptions } from './methods.js'
import { keep, type RunState } from './run-state.js'
import { secondsLeftOf } from './seconds-left.js'

/** A task that is to be learned, and by whom. */
interface Work {
  readonly learner: Learner
  readonly solver: Solver | undefined
  readonly entry: ResolvedMethod
  readonly seed: number
  readonly stream: Stream
  readonly task: Task
  /** What is known of the task, where it was begun before an interruption. */
  readonly begun: Checkpoint['task']
}

/** Learns a task, or the rest of it, judges the learner and draws with it. */
export async function runTask(run: RunState, work: Work): Promise<TaskResult> {
  const { config, judge, folder, signal, onEvent } = run
  const { learner, entry, seed, stream, task, begun } = work
  const { label, method } = entry
  const { number } = task
  const part: Part = {
    method: label,
    seed,
    task: number,
    tasks: stream.tasks.length,
    part: ++run.part,
    parts: run.parts,
  }

  const saved = learnerPath(label, seed, number)
  // Before the learner goes on: what it replays are the tasks before this one.
  const { known, spent: teaching } = begun ? { known: begun.solver, spent: 0 } : await teachSolver(run, work, part)
  const { losses, spent } = await learn(run, work, part, { known, teaching, saved })
  const learned = performance.now()
  const judged = config.evaluation.after === 'every' || number === stream.tasks.length
  const report = judged
    ? await judge.evaluate(learner, stream.seen(task), {
        signal,
        seed,
        onProgress: (progress) => onEvent({ kind: 'evaluate', part, ...progress }),
      })
    : undefined
  const evaluated = performance.now()

  const use = { purpose: 'grid', part: number } as const
  const { columns } = config.samples
  const rows = learner.classesLearned
  const { count, labels } = rowsByClass(rows, columns) ?? { count: config.samples.count }
  const images = await learner.sampleFor(use, { count, seed, signal, ...(labels && { labels }) })
  const samples = samplesPath(label, seed, number)
  const grid = await imageGrid(images, { columns })
  await folder.write(samples, grid)

  const result: TaskResult = {
    task: number,
    name: task.name,
    classes: task.classes,
    steps: losses.steps,
    seconds: { learn: seconds(spent), evaluate: seconds(evaluated - learned) },
    loss: losses.mean,
    teacherCalls: teacherCalls(method.objective(learner.learnedBefore + number), {
      steps: losses.planned,
      done: losses.steps,
      batchSize: config.train.batchSize * (config.train.accumulate ?? 1),
    }),
    metrics: report?.values ?? {},
    alone: report?.tasks?.map(withoutDetails),
    denoising: report?.denoising,
    solver: known,
    samples,
    ...(labels && { rows }),
    realSamples: samplesPath('real', seed, number),
    learner: isKept(config, number, stream.tasks.length) ? saved : undefined,
  }
  const values = Object.fromEntries(Object.entries(result.metrics).map(([name, { value }]) => [name, value]))
  if (judged) await folder.log({ kind: 'evaluate', method: label, seed, task: number, ...values })
  await logTask(run, result, grid, part)
  onEvent({ kind: 'task', part, result })
  return result
}

/** A task alone without the numbers behind its values: where tasks and classes are many, these would be most of the results. */
function withoutDetails({ values, ...task }: TaskEvaluation): TaskEvaluation {
  const bare = Object.entries(values).map(([name, { detail: _, ...value }]) => [name, value])
  return { ...task, values: Object.fromEntries(bare) }
}

/** Tells the loggers what was found after a task, which stands among the results only after that. */
export async function logTask(run: RunState, result: TaskResult, grid: Uint8Array, of: Logged): Promise<void> {
  const { steps, metrics } = result
  const values = Object.entries(metrics).flatMap(([name, { value }]) =>
    value === null ? [] : [[`metrics/${name}`, value]],
  )
  const step = stepsBefore(run) + steps
  if (values.length > 0) await run.loggers.scalars(step, Object.fromEntries(values), of)
  await run.loggers.image(step, 'samples', grid, of)
}

/** Steps taken so far by the method in progress, its task in progress not counted. */
function stepsBefore({ runs }: RunState): number {
  return (runs.at(-1)?.tasks ?? []).reduce((sum, { steps }) => sum + steps, 0)
}

/** A line of losses as loggers take it. */
function scalarsOf(line: StepLosses, task: number, stepsPerSecond: number, memory: number): Record<string, number> {
  const { loss, gradNorm, lr, terms, penalties } = line
  const named = {
    ...{ loss, gradNorm, lr, stepsPerSecond, memory },
    ...Object.fromEntries(terms.map((value, i) => [`term-${i + 1}`, value])),
    ...Object.fromEntries(Object.entries(penalties).map(([name, value]) => [`penalty-${name}`, value])),
  }
  return { task, ...Object.fromEntries(Object.entries(named).map(([name, value]) => [`train/${name}`, value])) }
}

/**
 * Teaches the solver a task: with the replay pool that the method begins the task with, where it has one.
 *
 * @returns the row of its accuracies, and the milliseconds that count for the method: those on its pool, and those on a solver that it needs
 */
async function teachSolver(
  run: RunState,
  work: Work,
  part: Part,
): Promise<{ known: readonly number[] | undefined; spent: number }> {
  const { config, signal } = run
  const { learner, solver, entry, task } = work
  if (solver === undefined) return { known: undefined, spent: 0 }
  const before = performance.now()
  const replay = await learner.replayPool(task, entry.method, learnOptions(run, work, part))
  const generated = performance.now()
  const known = await taught(solver, task, learner, {
    ...solverOptions(config, entry.method),
    ...solverProgress(run, part),
    replay,
    signal,
  })
  const needed = needsClassifier(entry.method, config.unet)
  return { known, spent: (needed ? performance.now() : generated) - before }
}

/** Teaches a solver a task of an experiment, all of whose earlier tasks have test images. */
export async function taught(solver: Solver, ...what: Parameters<Solver['learn']>): Promise<readonly number[]> {
  return (await solver.learn(...what)) as readonly number[]
}

/** The option of `Solver.learn` that tells the run how far it is. */
export function solverProgress({ onEvent }: RunState, part: Part | undefined): Pick<SolverLearnOptions, 'onProgress'> {
  return { onProgress: ({ step, steps }) => onEvent({ kind: 'solver', part, done: step, total: steps }) }
}

function learnOptions({ config, onEvent, signal }: RunState, { solver, entry }: Work, part: Part): LearnOptions {
  const optimizer = entry.optimizer ?? config.train.optimizer
  const onPool = (progress: PoolProgress) => onEvent({ kind: 'pool', part, progress })
  // That its length is given in one way was checked.
  const train = config.train as typeof config.train & TaskLength
  return { ...train, optimizer, ...(solver && { classifier: solver }), onPool, signal }
}

/**
 * Learns a task, or the rest of it, with a checkpoint now and then; then saves the learner, with a checkpoint of that.
 *
 * @param about.known row of the solver's accuracies
 * @param about.teaching milliseconds spent on the task before, on its pool and solver
 * @param about.saved where the learner is saved
 * @returns the task's losses and the milliseconds spent, those on the solver and before an interruption too
 */
async function learn(
  run: RunState,
  work: Work,
  part: Part,
  { known, teaching, saved }: { known: readonly number[] | undefined; teaching: number; saved: string },
): Promise<{ losses: LossRecorder; spent: number }> {
  const { learner, solver, entry, seed, task, begun } = work
  const { config, folder, signal, onEvent } = run
  const losses = new LossRecorder(begun?.losses)
  const before = begun?.milliseconds ?? teaching
  // It was kept after the task's end.
  if (learner.tasksLearned >= task.number) return { losses, spent: before }

  const begin = performance.now()
  const spent = () => before + performance.now() - begin
  const earlier = stepsBefore(run)
  // In the order in which they came, so that the file does not depend on how many steps the engine makes at once.
  const records: ({ line: StepLosses } | { validation: Validation })[] = []
  let told = { step: learner.taskInProgress?.step ?? 0, time: begin }
  const onStep = (step: StepLosses) => {
    const line = losses.add(step)
    if (line) records.push({ line })
  }
  const onValidation = (validation: Validation) => records.push({ validation })
  const flush = async () => {
    const about = { method: entry.label, seed, task: task.number }
    const newest = records.findLast((record) => 'line' in record)?.line.step ?? told.step
    const now = performance.now()
    const stepsPerSecond = ((newest - told.step) * 1000) / (now - told.time)
    if (newest > told.step) told = { step: newest, time: now }
    for (const record of records.splice(0)) {
      if ('validation' in record) {
        const { step, value, best } = record.validation
        await folder.log({ kind: 'validate', ...about, step, loss: value, best })
        await run.loggers.scalars(earlier + step, { task: task.number, 'validation/loss': value }, part)
        continue
      }
      const { line } = record
      const memory = memoryUse(learner.device)
      await folder.log({ kind: 'train', ...about, ...line })
      onEvent({ kind: 'losses', part, losses: line, stepsPerSecond, memory })
      await run.loggers.scalars(earlier + line.step, scalarsOf(line, task.number, stepsPerSecond, memory.used), part)
    }
  }
  const checkpoint = async (where: Learner | string) => {
    await flush()
    const solved = known && [...known]
    const state = { number: task.number, solver: solved, milliseconds: spent(), losses: losses.state }
    await keep(run, where, solver, state)
  }
  const { everySteps = Number.POSITIVE_INFINITY, everyMinutes } = config.checkpoints
  const every = everyMinutes === 0 ? Number.POSITIVE_INFINITY : everyMinutes * 60_000
  let last = { step: learner.taskInProgress?.step ?? 0, time: begin }
  try {
    await run.samples.begin()
    const draw = async (progress: Progress) => {
      const png = await run.samples.after(work, part, progress)
      if (png) await run.loggers.image(earlier + progress.step, 'samples/training', png, part)
    }
    const drawEvery = run.samples.everySteps
    const callback = drawEvery && { callback: draw, callbackEvery: drawEvery }
    const options = { ...learnOptions(run, work, part), resume: true, onStep, onValidation, ...callback }
    for await (const progress of learner.learn(task, entry.method, options)) {
      const secondsLeft = secondsLeftOf(run.runs, part, progress.secondsLeft)
      onEvent({ kind: 'learn', part, progress, memory: memoryUse(learner.device), secondsLeft })
      folder.check()
      await flush()
      if (drawEvery === undefined) await draw(progress)
      const { step } = progress
      const isDue = step - last.step >= everySteps || performance.now() - last.time >= every
      if (!isDue || learner.taskInProgress === undefined) continue
      await checkpoint(learner)
      last = { step, time: performance.now() }
    }
  } catch (error) {
    if (signal?.aborted && learner.taskInProgress) {
      // The abort is why the run ends; where this fails, it goes on from the checkpoint before.
      await checkpoint(learner).catch(({ message }: Error) => onEvent({ kind: 'warning', message }))
    }
    throw error
  }
  await flush()
  if (folder.isWriter) await learner.save(folder.toWrite(saved))
  await checkpoint(saved)
  return { losses, spent: spent() }
}

/** The grid of samples of a method, or of `real` images, relative to the run folder. */
export function samplesPath(method: string, seed: number, task: number): string {
  return `samples/${method}/seed-${seed}/task-${task}.png`
}

function seconds(milliseconds: number): number {
  return Math.round(milliseconds / 100) / 10
}
