import { copyFile, mkdir } from 'node:fs/promises'
import path from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Classifier } from '../classifiers/classifier.js'
import { Solver } from '../classifiers/solver.js'
import type { Subset } from '../data/dataset.js'
import { ResidentImages } from '../engine/resident-images.js'
import { ContinualDiffusionError } from '../errors.js'
import { readJson } from '../files/read-json.js'
import { imageGrid } from '../images/grid.js'
import { Learner, type StepLosses } from '../learner/learner.js'
import { firstTaskOf } from '../methods/objective.js'
import type { MethodRun, Results, TaskResult, Versions } from '../report/results.js'
import type { Stream, Task } from '../streams/stream.js'
import { type Checkpoint, newestCheckpoint, writeCheckpoint } from './checkpoint.js'
import { type ExperimentConfig, type ExperimentInput, resolveExperiment } from './config.js'
import { teacherCalls } from './cost.js'
import { cachedClassifier } from './evaluate-saved.js'
import type { Part, RunEvent } from './events.js'
import { checkpointsFolder, configFile, metricsFile, RunFolder, resultsFile } from './folder.js'
import { type Judge, makeJudge } from './judge.js'
import { LossRecorder } from './loss-recorder.js'
import { aboutMethod, type MethodEntry, methodOf } from './methods.js'
import { type Plan, planExperiment } from './plan.js'
import { checkResults } from './read-run.js'
import { writeReport } from './report.js'
import { versions } from './versions.js'

export interface RunOptions {
  /**
   * An abort rejects with `signal.reason`, in the middle of a task's training once a checkpoint is written; what the run folder holds by
   * then stays and is whole, and `resumeExperiment` goes on from there.
   */
  readonly signal?: AbortSignal
  /** Told what goes on; it must not throw. */
  readonly onEvent?: (event: RunEvent) => void
}

/** A finished run. */
export interface RunOutcome {
  /** Absolute path of the run folder. */
  readonly folder: string
  readonly results: Results
  /** Absolute path of the page for people. */
  readonly page: string
}

/**
 * Runs a whole experiment: every method with every seed learns the stream task by task, and after each task is
 * evaluated, draws a grid of samples and is saved. All of it is written into the run folder. A run that was broken off, even by
 * SIGKILL, goes on by {@link resumeExperiment}.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a wrong configuration, before anything is written, and
 *   whatever data, learners and evaluation throw
 */
export async function runExperiment(input: ExperimentInput, options: RunOptions = {}): Promise<RunOutcome> {
  const { out, ...config } = resolveExperiment(input)
  await using plan = await planExperiment(config, options.signal)
  const name = 'preset' in input ? input.preset : config.data.map(({ name }) => name).join('-')
  const folder = await RunFolder.create(out, name, config)
  try {
    return await carryOut(folder, config, plan, undefined, options)
  } finally {
    folder.release()
  }
}

/**
 * Goes on with a run that was broken off, from its newest checkpoint, or from the beginning where it had none yet. On the CPU all that
 * it computes is to the bit what the run would have computed: only times differ. Of a run that is complete already it gives
 * the results.
 *
 * @param at the run's folder; relative paths in its configuration start where they did when it began
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND` when there is no run in the folder, `ERR_BAD_DATA` when a symbolic link is in it,
 *   or its results, which say that the run is complete, are damaged, `ERR_RUN_LOCKED` while another process is at work in it,
 *   `ERR_BAD_CHECKPOINT` when no checkpoint is whole,
 *   `ERR_INVALID_ARGUMENT` when its configuration was changed since, and what {@link runExperiment} throws
 */
export async function resumeExperiment(at: string, options: RunOptions = {}): Promise<RunOutcome> {
  const { signal, onEvent = () => {} } = options
  const folder = await RunFolder.open(at)
  try {
    const { config, results } = await readProgress(folder)
    if (results?.complete) return await finish(folder, results)
    const newest = await newestCheckpoint(folder, (message) => onEvent({ kind: 'warning', message }))
    if (newest) checkSameConfig(folder, config, newest.checkpoint.config)
    await using plan = await planExperiment(config, signal)
    onEvent({ kind: 'resume', number: newest?.number })
    return await carryOut(folder, config, plan, newest?.checkpoint, options)
  } finally {
    folder.release()
  }
}

/** What a run folder says of its run's configuration, and of what was found. */
async function readProgress(folder: RunFolder): Promise<{ config: Config; results: Results | undefined }> {
  const file = folder.at(configFile)
  const json = await readJson(file)
  const { out: _, ...config } = resolveExperiment(json as ExperimentInput, file)
  // Whether there is one, and what it says, matters only where it says that all was done.
  const found = await readJson(folder.at(resultsFile)).catch(() => undefined)
  const says = typeof found === 'object' && found !== null && 'complete' in found && found.complete === true
  return { config, results: says ? checkResults(found, folder.at(resultsFile)) : undefined }
}

function checkSameConfig(folder: RunFolder, config: Config, before: Readonly<Record<string, unknown>>): void {
  const now: Record<string, unknown> = JSON.parse(JSON.stringify(config))
  // How often checkpoints are written changes nothing that is computed.
  const keys = new Set([...Object.keys(now), ...Object.keys(before)].filter((key) => key !== 'checkpoints'))
  const changed = [...keys].filter((key) => !isDeepStrictEqual(now[key], before[key]))
  if (changed.length === 0) return
  throw new ContinualDiffusionError(
    'ERR_INVALID_ARGUMENT',
    `${folder.at(configFile)}: ${changed.join(', ')} not as when the run began; expected ` +
      `${JSON.stringify(Object.fromEntries(changed.map((key) => [key, before[key]])))}: put that back, or begin a new run`,
  )
}

async function carryOut(
  folder: RunFolder,
  config: Config,
  plan: Plan,
  from: Checkpoint | undefined,
  { signal, onEvent = () => {} }: RunOptions,
): Promise<RunOutcome> {
  onEvent({ kind: 'folder', folder: folder.path })
  if (!folder.isLocked) {
    onEvent({
      kind: 'warning',
      message: `${folder.path}: this file system knows no locks; see to it that no other run uses it`,
    })
  }
  await using classifier = await cachedClassifier(config, plan, signal, onEvent)
  const run = new Run(config, plan, folder, classifier, signal, onEvent)
  let results: Results
  try {
    results = await run.all(from)
  } catch (error) {
    // What is known so far; why the run ended is what matters, and not that this can't be written.
    await writeReport(folder.path).catch(() => undefined)
    throw error
  } finally {
    await run.dispose()
  }
  return finish(folder, results)
}

/** What is left to do once the results say that they are complete. */
async function finish(folder: RunFolder, results: Results): Promise<RunOutcome> {
  const page = await writeReport(folder.path)
  await folder.remove(checkpointsFolder)
  return { folder: folder.path, results, page }
}

type Config = Omit<ExperimentConfig, 'out'>

/** A task that was trained, for other methods whose first task is the same. */
interface Shared {
  readonly method: string
  readonly result: TaskResult
}

/** A task that is to be learned, and by whom. */
interface Work {
  readonly learner: Learner
  readonly solver: Solver | undefined
  readonly entry: MethodEntry
  readonly seed: number
  readonly stream: Stream
  readonly task: Task
  /** What is known of the task, where it was begun before the run was broken off. */
  readonly begun: Checkpoint['task']
}

class Run {
  readonly #config: Config
  readonly #folder: RunFolder
  readonly #classifier: Classifier
  readonly #judge: Judge
  readonly #plan: Plan
  readonly #signal: AbortSignal | undefined
  readonly #onEvent: (event: RunEvent) => void
  /** Real images as the engine sees them, for the grids. */
  readonly #real: ResidentImages
  readonly #versions = versions()
  readonly #runs: (MethodRun & { readonly tasks: TaskResult[] })[] = []
  readonly #parts: number
  #part = 0
  #machine: Checkpoint['machine'] | undefined

  constructor(
    config: Config,
    plan: Plan,
    folder: RunFolder,
    classifier: Classifier,
    signal: AbortSignal | undefined,
    onEvent: (event: RunEvent) => void,
  ) {
    this.#config = config
    this.#folder = folder
    this.#plan = plan
    this.#classifier = classifier
    this.#judge = makeJudge(config.evaluation, classifier, plan.extractor)
    this.#signal = signal
    this.#onEvent = onEvent
    this.#real = new ResidentImages('cpu', config.unet.sample_size, plan.images)
    const firstTasks = config.shareFirstTask
      ? new Set(config.methods.map((entry) => firstTaskOf(methodOf(entry)))).size
      : config.methods.length
    this.#parts = plan.streams
      .map(({ stream }) => config.methods.length * (stream.tasks.length - 1) + firstTasks)
      .reduce((a, b) => a + b)
  }

  async dispose(): Promise<void> {
    await this.#real.dispose()
  }

  /** Runs every method with every seed; those that a checkpoint has done are passed over. */
  async all(from: Checkpoint | undefined): Promise<Results> {
    await this.#folder.unlog(from?.files[metricsFile]?.bytes ?? 0)
    if (from) {
      this.#machine = from.machine
      this.#runs.push(...from.runs.map((run) => ({ ...run, tasks: [...run.tasks] })))
      this.#part = from.runs.flatMap(({ tasks }) => tasks).filter((task) => task.sharedFrom === undefined).length
      this.#warnOfVersions(from.versions)
      this.#onEvent({ kind: 'ready', ...from.machine, metrics: this.#judge.infos })
      await this.#write(false)
    }
    for (const { seed, stream } of this.#plan.streams) {
      const ofSeed = this.#runs.filter((run) => run.seed === seed)
      const isDone = (run: MethodRun) => run.tasks.length === stream.tasks.length
      if (ofSeed.length < this.#config.methods.length || !ofSeed.every(isDone)) {
        for (const task of stream) await this.#drawReal(task, seed)
      }
      const shared = new Map<string, Shared>()
      for (const method of this.#config.methods) {
        const begun = ofSeed.find((run) => run.method === method.label)
        if (begun === undefined) await this.#method(method, seed, stream, shared)
        else if (!isDone(begun)) await this.#method(method, seed, stream, shared, from)
        this.#share(method, seed, shared)
      }
    }
    return this.#write(true)
  }

  /** Lets later methods of the same seed have the first task of this one. */
  #share(entry: MethodEntry, seed: number, shared: Map<string, Shared>): void {
    const run = this.#runs.find((run) => run.method === entry.label && run.seed === seed)
    const key = firstTaskOf(methodOf(entry))
    if (run && !shared.has(key)) shared.set(key, { method: entry.label, result: run.tasks[0]! })
  }

  /** @param from the checkpoint whose last run is this one */
  async #method(
    entry: MethodEntry,
    seed: number,
    stream: Stream,
    shared: ReadonlyMap<string, Shared>,
    from?: Checkpoint,
  ): Promise<void> {
    if (!from) this.#runs.push({ method: entry.label, seed, tasks: [] })
    const { tasks } = this.#runs.at(-1)!
    const first = this.#config.shareFirstTask ? shared.get(firstTaskOf(methodOf(entry))) : undefined
    const saved = from?.learner ?? first?.result.learner
    await using learner = saved === undefined ? await this.#create(seed) : await this.#load(saved)
    if (from) this.#warnOfMachine(learner)
    if (this.#machine === undefined) {
      this.#machine = { device: learner.device, precision: learner.precision, parameters: learner.parameterCount }
      this.#onEvent({ kind: 'ready', ...this.#machine, metrics: this.#judge.infos })
    }
    await using solver = this.#config.solver && (await this.#solver(stream, seed, from?.solver))
    for (const task of stream.tasks.slice(tasks.length)) {
      if (task.number === 1 && first !== undefined) {
        // A solver replays nothing while it learns the first task, so that the learner makes no difference to it.
        await solver?.learn(task, null, { ...this.#config.solver, signal: this.#signal })
        tasks.push(await this.#adopt(first, entry.label, seed))
      } else {
        const begun = from?.task?.number === task.number ? from.task : undefined
        tasks.push(await this.#task({ learner, solver, entry, seed, stream, task, begun }))
      }
      await this.#write(false)
      await this.#keep(tasks.at(-1)!.learner, solver, undefined)
    }
  }

  #create(seed: number): Promise<Learner> {
    const { unet, schedule, sampler, ema, device, precision } = this.#config
    const { images } = this.#plan
    return Learner.create({ unet, schedule, sampler, ema, device, precision, seed, images })
  }

  #load(saved: string): Promise<Learner> {
    const { device, precision } = this.#config
    return Learner.load(this.#folder.at(saved), { device, precision, images: this.#plan.images })
  }

  #solver(stream: Stream, seed: number, saved: string | undefined): Promise<Solver> {
    const { device } = this.#config
    const { images } = this.#plan
    return saved === undefined
      ? Solver.create(stream, { seed, device, images })
      : Solver.load(this.#folder.at(saved), stream, { device, images })
  }

  /** Writes a checkpoint. */
  async #keep(learner: Learner | string, solver: Solver | undefined, task: Checkpoint['task']): Promise<void> {
    const contents = {
      versions: this.#versions,
      config: this.#config,
      // There is a learner, and so it is known.
      machine: this.#machine as Checkpoint['machine'],
      runs: this.#runs,
      task,
      learner,
      solver,
    }
    const number = await writeCheckpoint(this.#folder, contents, this.#config.checkpoints.keep)
    this.#onEvent({ kind: 'checkpoint', number })
  }

  #warnOfVersions(before: Versions): void {
    const keys = ['package', 'libtorch', 'cuda', 'cpu'] as const
    const changed = keys.filter((key) => before[key] !== this.#versions[key])
    if (changed.length === 0) return
    const list = changed.map((key) => `${key} ${before[key]}, now ${this.#versions[key]}`)
    this.#onEvent({
      kind: 'warning',
      message: `the run began with ${list.join('; ')}: its results may differ by rounding`,
    })
  }

  #warnOfMachine({ device, precision }: Learner): void {
    const before = this.#machine
    if (before?.device === device && before.precision === precision) return
    this.#onEvent({
      kind: 'warning',
      message:
        `the run began on ${before?.device} in ${before?.precision} and goes on on ${device} in ${precision}: its results may ` +
        'differ by rounding',
    })
  }

  /** Takes over another method's first task: the learner is loaded already, this is what was written about it. */
  async #adopt({ method, result }: Shared, label: string, seed: number): Promise<TaskResult> {
    const samples = samplesPath(label, seed, 1)
    await mkdir(path.dirname(this.#folder.at(samples)), { recursive: true })
    await copyFile(this.#folder.at(result.samples), this.#folder.at(samples))
    return { ...result, samples, seconds: { learn: 0, evaluate: 0 }, sharedFrom: method }
  }

  async #task(work: Work): Promise<TaskResult> {
    const { learner, solver, entry, seed, stream, task, begun } = work
    const { samples: grid } = this.#config
    const { label } = entry
    const signal = this.#signal
    const part: Part = {
      method: label,
      seed,
      task: task.number,
      tasks: stream.tasks.length,
      part: ++this.#part,
      parts: this.#parts,
    }

    // Before the learner goes on: what it replays are the tasks before this one.
    const known = begun ? begun.solver : await solver?.learn(task, learner, { ...this.#config.solver, signal })
    const saved = `learners/${label}/seed-${seed}/task-${task.number}`
    const { losses, spent } = await this.#learn(work, part, known, saved)
    const learned = performance.now()
    const judged = this.#config.evaluation.after === 'every' || task.number === stream.tasks.length
    const report = judged
      ? await this.#judge.evaluate(learner, stream.seen(task), {
          signal,
          seed,
          onProgress: (progress) => this.#onEvent({ kind: 'evaluate', part, ...progress }),
        })
      : undefined
    const evaluated = performance.now()

    const images = await learner.sample({ count: grid.count, seed, signal })
    const samples = samplesPath(label, seed, task.number)
    await this.#folder.write(samples, await imageGrid(images, { columns: grid.columns }))

    const result: TaskResult = {
      task: task.number,
      name: task.name,
      classes: task.classes,
      steps: losses.steps,
      seconds: { learn: seconds(spent), evaluate: seconds(evaluated - learned) },
      loss: losses.mean,
      teacherCalls: teacherCalls(methodOf(entry).objective(task.number)),
      metrics: report?.values ?? {},
      alone: report?.tasks,
      denoising: report?.denoising,
      solver: known,
      samples,
      realSamples: samplesPath('real', seed, task.number),
      learner: saved,
    }
    const values = Object.fromEntries(Object.entries(result.metrics).map(([name, { value }]) => [name, value]))
    if (judged) await this.#folder.log({ kind: 'evaluate', method: label, seed, task: task.number, ...values })
    this.#onEvent({ kind: 'task', part, result })
    return result
  }

  /**
   * Learns a task, or the rest of it, with a checkpoint now and then; then saves the learner, with a checkpoint of that.
   *
   * @param known row of the solver's accuracies
   * @param saved where the learner is saved
   * @returns the task's losses and the milliseconds spent, those before the run was broken off too
   */
  async #learn(
    { learner, solver, entry, seed, task, begun }: Work,
    part: Part,
    known: readonly number[] | undefined,
    saved: string,
  ): Promise<{ losses: LossRecorder; spent: number }> {
    const losses = new LossRecorder(begun?.losses)
    const before = begun?.milliseconds ?? 0
    // It was kept after the task's end.
    if (learner.tasksLearned >= task.number) return { losses, spent: before }

    const signal = this.#signal
    const begin = performance.now()
    const spent = () => before + performance.now() - begin
    const lines: StepLosses[] = []
    const flush = async () => {
      const about = { kind: 'train', method: entry.label, seed, task: task.number }
      for (const line of lines.splice(0)) await this.#folder.log({ ...about, ...line })
    }
    const keep = async (where: Learner | string) => {
      await flush()
      const solved = known && [...known]
      await this.#keep(where, solver, {
        number: task.number,
        solver: solved,
        milliseconds: spent(),
        losses: losses.state,
      })
    }
    const onStep = (step: StepLosses) => {
      const line = losses.add(step)
      if (line) lines.push(line)
    }
    const { everySteps = Number.POSITIVE_INFINITY, everyMinutes } = this.#config.checkpoints
    const every = everyMinutes === 0 ? Number.POSITIVE_INFINITY : everyMinutes * 60_000
    let last = { step: learner.taskInHand?.step ?? 0, time: begin }
    try {
      const options = { ...this.#config.train, resume: true, onStep, signal }
      for await (const progress of learner.learn(task, methodOf(entry), options)) {
        this.#onEvent({ kind: 'learn', part, progress })
        await flush()
        const { step } = progress
        const isDue = step - last.step >= everySteps || performance.now() - last.time >= every
        if (!isDue || learner.taskInHand === undefined) continue
        await keep(learner)
        last = { step, time: performance.now() }
      }
    } catch (error) {
      if (signal?.aborted && learner.taskInHand) {
        // The abort is why the run ends; where this fails, it goes on from the checkpoint before.
        await keep(learner).catch(({ message }: Error) => this.#onEvent({ kind: 'warning', message }))
      }
      throw error
    }
    await flush()
    await learner.save(this.#folder.at(saved))
    await keep(saved)
    return { losses, spent: spent() }
  }

  async #drawReal(task: Task, seed: number): Promise<void> {
    const { count, columns } = this.#config.samples
    const some: Subset = { dataset: task.test.dataset, indices: spreadOver(task.test.indices, count) }
    const grid = await imageGrid(await this.#real.read(some), { columns })
    await this.#folder.write(samplesPath('real', seed, task.number), grid)
  }

  async #write(complete: boolean): Promise<Results> {
    const classifier = this.#classifier
    const config = this.#config
    const { device, precision, parameters } = this.#machine ?? { device: '', precision: '', parameters: 0 }
    const results: Results = {
      title: config.title,
      complete,
      versions: this.#versions,
      classes: this.#plan.streams[0]!.stream.tasks[0]!.train.dataset.classes,
      parameters,
      device,
      precision,
      classifier: { name: classifier.name, features: classifier.dimension, accuracy: classifier.accuracy },
      shareFirstTask: config.shareFirstTask,
      metrics: this.#judge.infos,
      methods: config.methods.map(({ name, label }) => ({ label, about: aboutMethod(name) })),
      runs: this.#runs,
    }
    await this.#folder.writeJson(resultsFile, results)
    return results
  }
}

function samplesPath(method: string, seed: number, task: number): string {
  return `samples/${method}/seed-${seed}/task-${task}.png`
}

/** As many as `count` of the values, evenly spread over them: a data set may be sorted by class. */
function spreadOver(values: Int32Array, count: number): Int32Array {
  const length = Math.min(count, values.length)
  return Int32Array.from({ length }, (_, i) => values[Math.floor((i * values.length) / length)]!)
}

function seconds(milliseconds: number): number {
  return Math.round(milliseconds / 100) / 10
}
