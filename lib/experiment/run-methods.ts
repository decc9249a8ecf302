import { readFile } from 'node:fs/promises'
import { Solver } from '../classifiers/solver.js'
import { ResidentImages } from '../engine/resident-images.js'
import { spreadOver } from '../evaluation/real-distance.js'
import { imageGrid } from '../images/grid.js'
import { Learner } from '../learner/learner.js'
import type { MethodRun, Results, TaskResult } from '../report/results.js'
import type { Stream } from '../streams/stream.js'
import type { Checkpoint } from './checkpoint.js'
import { metricsFile } from './folder.js'
import { learnerPath, removeLearners } from './kept-learners.js'
import { type ResolvedMethod, solverOptions } from './methods.js'
import type { Plan } from './plan.js'
import { keep, noteMachine, type RunState, resumeFrom, writeResults } from './run-state.js'
import { logTask, runTask, samplesPath, solverProgress, taught } from './run-task.js'

/** A first task that was trained, for the seed's other methods whose first task is the same. */
interface Shared {
  readonly method: string
  readonly result: TaskResult
}

/** Runs every method with every seed; those that a checkpoint has done are passed over. */
export async function runMethods(run: RunState, from: Checkpoint | undefined): Promise<Results> {
  await run.folder.unlog(from?.files[metricsFile]?.bytes ?? 0)
  if (from) await resumeFrom(run, from)
  const real = new ResidentImages('cpu', run.config.unet.sample_size, run.plan.images)
  for (const ofSeed of run.plan.streams) await runSeed(run, ofSeed, real, from)
  return writeResults(run, true)
}

/** @param real images as the engine sees them, for the grids */
async function runSeed(
  run: RunState,
  { seed, stream, methods }: Plan['streams'][number],
  real: ResidentImages,
  from: Checkpoint | undefined,
): Promise<void> {
  const ofSeed = run.runs.filter((one) => one.seed === seed)
  const isDone = (one: MethodRun) => one.tasks.length === stream.tasks.length
  if (ofSeed.length < methods.length || !ofSeed.every(isDone)) await drawReal(run, stream, seed, real)
  const shared = new Map<string, Shared>()
  for (const entry of methods) {
    const { label, firstTask } = entry
    const begun = ofSeed.find(({ method }) => method === label)
    if (begun === undefined) await runMethod(run, entry, seed, stream, shared)
    else if (!isDone(begun)) await runMethod(run, entry, seed, stream, shared, from)
    const own = run.runs.find(({ method, seed: other }) => method === label && other === seed)
    if (own && !shared.has(firstTask)) shared.set(firstTask, { method: label, result: own.tasks[0]! })
  }
}

/** @param from the checkpoint whose last run is this one */
async function runMethod(
  run: RunState,
  entry: ResolvedMethod,
  seed: number,
  stream: Stream,
  shared: ReadonlyMap<string, Shared>,
  from?: Checkpoint,
): Promise<void> {
  const { config, group, signal } = run
  if (!from) run.runs.push({ method: entry.label, seed, tasks: [] })
  const { tasks } = run.runs.at(-1)!
  const first = config.shareFirstTask ? shared.get(entry.firstTask) : undefined
  await group?.barrier(signal) // until what the others load is written
  await using learner = await learnerOf(run, seed, from?.learner ?? (first && learnerPath(first.method, seed, 1)))
  noteMachine(run, learner, from !== undefined)
  const solving = solverOptions(config, entry.method)
  await using solver = solving ? await solverOf(run, seed, stream, from?.solver) : undefined
  for (const task of stream.tasks.slice(tasks.length)) {
    if (task.number === 1 && first !== undefined) {
      // A solver replays nothing while it learns the first task, so that the learner makes no difference to it.
      const known =
        solver && (await taught(solver, task, null, { ...solving, ...solverProgress(run, undefined), signal }))
      tasks.push(await adopt(run, first, { label: entry.label, seed, known }))
    } else {
      const begun = from?.task?.number === task.number ? from.task : undefined
      tasks.push(await runTask(run, { learner, solver, entry, seed, stream, task, begun }))
    }
    await writeResults(run, false)
    await keep(run, learnerPath(tasks.at(-1)!.sharedFrom ?? entry.label, seed, task.number), solver)
    await removeLearners(run.folder, { config, runs: run.runs, tasks: stream.tasks.length }, false)
  }
}

/** @param saved folder of one that is saved, relative to the run folder; else a new one is made, or loaded as the model that the experiment names */
function learnerOf(
  { config, where, folder, group, plan }: RunState,
  seed: number,
  saved: string | undefined,
): Promise<Learner> {
  const { images } = plan
  const { unet, from, schedule, sampler, ema, precision } = config
  const { device, threads } = where
  const common = { device, precision, threads, images, group }
  if (saved !== undefined) return Learner.load(folder.at(saved), common)
  const own = { ...common, schedule, sampler, ema, seed }
  if (from === undefined) return Learner.create({ ...own, unet })
  const { folder: model, ...how } = from
  return Learner.load(model, { ...own, ...how })
}

/** @param saved folder of one that is saved, relative to the run folder; else a new one is made */
function solverOf(
  { where, folder, plan }: RunState,
  seed: number,
  stream: Stream,
  saved: string | undefined,
): Promise<Solver> {
  const { device, threads } = where
  const { images } = plan
  return saved === undefined
    ? Solver.create(stream, { seed, device, threads, images })
    : Solver.load(folder.at(saved), { device, threads, images })
}

/**
 * Takes over another method's first task: the learner is loaded already, this is what was written about it.
 *
 * @param to.known row of the accuracies of this method's solver
 */
async function adopt(
  run: RunState,
  from: Shared,
  { label, seed, known }: { label: string; seed: number; known: readonly number[] | undefined },
): Promise<TaskResult> {
  const { folder } = run
  const { method, result } = from
  const samples = samplesPath(label, seed, 1)
  await folder.copy(result.samples, samples)
  const seconds = { learn: 0, evaluate: 0 }
  const adopted = { ...result, samples, seconds, solver: known, sharedFrom: method }
  await logTask(run, adopted, await readFile(folder.at(samples)), { method: label, seed })
  return adopted
}

/** Draws a grid of real images of each task. */
async function drawReal(
  { config, folder }: RunState,
  stream: Stream,
  seed: number,
  real: ResidentImages,
): Promise<void> {
  const { count, columns } = config.samples
  for (const { number, test } of stream) {
    const [some] = spreadOver([test], count)
    const grid = await imageGrid(await real.read(some!), { columns })
    await folder.write(samplesPath('real', seed, number), grid)
  }
}
