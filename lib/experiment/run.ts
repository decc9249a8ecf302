import { copyFile, mkdir } from 'node:fs/promises'
import path from 'node:path'
import type { Classifier } from '../classifier.js'
import type { Subset } from '../data/dataset.js'
import { ResidentImages } from '../engine/resident-images.js'
import { Learner } from '../learner.js'
import { firstTaskOf } from '../methods/objective.js'
import { imageGrid } from '../report/grid.js'
import type { MethodRun, Results, TaskResult } from '../report/results.js'
import { Solver } from '../solver.js'
import type { Stream, Task } from '../streams/stream.js'
import { type ExperimentConfig, type ExperimentInput, resolveExperiment } from './config.js'
import { teacherCalls } from './cost.js'
import { cachedClassifier } from './evaluate-saved.js'
import type { Part, RunEvent } from './events.js'
import { RunFolder } from './folder.js'
import { type Judge, makeJudge } from './judge.js'
import { LossRecorder } from './loss-recorder.js'
import { aboutMethod, type MethodEntry, methodOf } from './methods.js'
import { type Plan, planExperiment } from './plan.js'
import { writeReport } from './report.js'
import { versions } from './versions.js'

export interface RunOptions {
  /** An abort rejects with `signal.reason`; what the run folder holds by then stays and is whole. */
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
 * evaluated, draws a grid of samples and is saved. All of it is written into the run folder.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a wrong configuration, before anything is written, and
 *   whatever data, learners and evaluation throw
 */
export async function runExperiment(
  input: ExperimentInput,
  { signal, onEvent = () => {} }: RunOptions = {},
): Promise<RunOutcome> {
  const { out, ...config } = resolveExperiment(input)
  await using plan = await planExperiment(config, signal)
  const name = 'preset' in input ? input.preset : config.data.map(({ name }) => name).join('-')
  const folder = await RunFolder.create(out, name, config)
  onEvent({ kind: 'folder', folder: folder.path })

  await using classifier = await cachedClassifier(config, plan.data, signal, onEvent)
  const run = new Run(config, plan, folder, classifier, signal, onEvent)
  let results: Results
  try {
    results = await run.all()
  } catch (error) {
    // What is known so far; why the run ended is what matters, and not that this can't be written.
    await writeReport(folder.path).catch(() => undefined)
    throw error
  } finally {
    await run.dispose()
  }
  const page = await writeReport(folder.path)
  return { folder: folder.path, results, page }
}

type Config = Omit<ExperimentConfig, 'out'>

/** A task that was trained, for other methods whose first task is the same. */
interface Shared {
  readonly method: string
  readonly result: TaskResult
}

/** A task that is to be learned, and by whom. */
interface TaskInHand {
  readonly learner: Learner
  readonly solver: Solver | undefined
  readonly entry: MethodEntry
  readonly seed: number
  readonly stream: Stream
  readonly task: Task
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
  #learner: { device: string; precision: string; parameters: number } | undefined

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
    this.#real = new ResidentImages('cpu', config.unet.sample_size)
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

  /** Runs every method with every seed. */
  async all(): Promise<Results> {
    for (const { seed, stream } of this.#plan.streams) {
      for (const task of stream) await this.#drawReal(task, seed)
      const shared = new Map<string, Shared>()
      for (const method of this.#config.methods) await this.#method(method, seed, stream, shared)
    }
    return this.#write(true)
  }

  async #method(entry: MethodEntry, seed: number, stream: Stream, shared: Map<string, Shared>): Promise<void> {
    const tasks: TaskResult[] = []
    this.#runs.push({ method: entry.label, seed, tasks })
    const key = firstTaskOf(methodOf(entry))
    const first = this.#config.shareFirstTask ? shared.get(key) : undefined
    await using learner = first === undefined ? await this.#create(seed) : await this.#take(first)
    if (this.#learner === undefined) {
      this.#learner = { device: learner.device, precision: learner.precision, parameters: learner.parameterCount }
      this.#onEvent({ kind: 'ready', ...this.#learner, metrics: this.#judge.infos })
    }
    await using solver = this.#config.solver && (await Solver.create(stream, { seed, device: this.#config.device }))
    for (const task of stream) {
      if (task.number === 1 && first !== undefined) {
        // A solver replays nothing while it learns the first task, so that the learner makes no difference to it.
        await solver?.learn(task, null, { ...this.#config.solver, signal: this.#signal })
        tasks.push(await this.#adopt(first, entry.label, seed))
      } else {
        const result = await this.#task({ learner, solver, entry, seed, stream, task })
        tasks.push(result)
        if (task.number === 1) shared.set(key, { method: entry.label, result })
      }
      await this.#write(false)
    }
  }

  #create(seed: number): Promise<Learner> {
    const { unet, schedule, sampler, ema, device, precision } = this.#config
    return Learner.create({ unet, schedule, sampler, ema, device, precision, seed })
  }

  #take(first: Shared): Promise<Learner> {
    const { device, precision } = this.#config
    return Learner.load(this.#folder.at(first.result.learner), { device, precision })
  }

  /** Takes over another method's first task: the learner is loaded already, this is what was written about it. */
  async #adopt({ method, result }: Shared, label: string, seed: number): Promise<TaskResult> {
    const samples = samplesPath(label, seed, 1)
    await mkdir(path.dirname(this.#folder.at(samples)), { recursive: true })
    await copyFile(this.#folder.at(result.samples), this.#folder.at(samples))
    return { ...result, samples, seconds: { learn: 0, evaluate: 0 }, sharedFrom: method }
  }

  async #task({ learner, solver, entry, seed, stream, task }: TaskInHand): Promise<TaskResult> {
    const { train, samples: grid } = this.#config
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
    const known = await solver?.learn(task, learner, { ...this.#config.solver, signal })
    const begin = performance.now()
    const losses = new LossRecorder()
    const method = methodOf(entry)
    for await (const progress of learner.learn(task, method, { ...train, signal })) {
      losses.add(progress)
      this.#onEvent({ kind: 'learn', part, progress })
      await this.#folder.log({ kind: 'train', method: label, seed, ...progress })
    }
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
    const saved = `learners/${label}/seed-${seed}/task-${task.number}`
    await learner.save(this.#folder.at(saved))

    const result: TaskResult = {
      task: task.number,
      name: task.name,
      classes: task.classes,
      steps: losses.steps,
      seconds: { learn: seconds(learned - begin), evaluate: seconds(evaluated - learned) },
      loss: losses.mean,
      teacherCalls: teacherCalls(method.objective(task.number)),
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

  async #drawReal(task: Task, seed: number): Promise<void> {
    const { count, columns } = this.#config.samples
    const some: Subset = { dataset: task.test.dataset, indices: spreadOver(task.test.indices, count) }
    const grid = await imageGrid(await this.#real.read(some), { columns })
    await this.#folder.write(samplesPath('real', seed, task.number), grid)
  }

  async #write(complete: boolean): Promise<Results> {
    const classifier = this.#classifier
    const config = this.#config
    const { device, precision, parameters } = this.#learner ?? { device: '', precision: '', parameters: 0 }
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
    await this.#folder.writeJson('results.json', results)
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
