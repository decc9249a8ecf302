import { copyFile, mkdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { Classifier } from '../classifier.js'
import type { Subset, TrainTest } from '../data/dataset.js'
import { fashionMnist, mnist } from '../data/load-known.js'
import { resolveDevice } from '../engine/device.js'
import { ResidentImages } from '../engine/resident-images.js'
import { classFrequencies } from '../evaluation/class-frequencies.js'
import { evaluate } from '../evaluation/evaluate.js'
import { frechetDistance } from '../evaluation/frechet-distance.js'
import type { Metric } from '../evaluation/metric.js'
import { Learner } from '../learner.js'
import { imageGrid } from '../report/grid.js'
import { renderPage } from '../report/page.js'
import type { LossCurve, MethodRun, Results, TaskResult } from '../report/results.js'
import { classIncremental } from '../streams/class-incremental.js'
import type { Stream, Task } from '../streams/stream.js'
import { type ExperimentConfig, type ExperimentInput, resolveExperiment } from './config.js'
import type { Part, RunEvent } from './events.js'
import { RunFolder } from './folder.js'
import { LossRecorder } from './loss-recorder.js'
import { aboutMethod, type MethodEntry, methodOf } from './methods.js'
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
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a wrong configuration, `ERR_DEVICE_UNAVAILABLE`, and whatever loading
 *   the data throws, before anything is written; then whatever learners and evaluation throw, with the page of what was done by then
 */
export async function runExperiment(
  input: ExperimentInput,
  { signal, onEvent = () => {} }: RunOptions = {},
): Promise<RunOutcome> {
  const { out, ...config } = resolveExperiment(input)
  signal?.throwIfAborted()
  const name = 'preset' in input ? input.preset : config.data.name
  // What can't be had is told before anything is written.
  await resolveDevice(config.device, config.precision)
  const data = await load(config, signal)
  const folder = await RunFolder.create(out, name, config)
  onEvent({ kind: 'folder', folder: folder.path })
  await using classifier = await Classifier.cached(data, {
    ...config.classifier,
    device: config.device,
    signal,
    onProgress: (progress) => onEvent({ kind: 'classifier', fraction: progress.step / progress.steps }),
  })
  const run = new Run(config, folder, data, classifier, signal, onEvent)
  try {
    for (const seed of config.seeds) await run.seed(seed)
  } catch (error) {
    // Why the run ended is what matters, and not that this can't be written.
    await run.writePage().catch(() => undefined)
    throw error
  } finally {
    await run.dispose()
  }
  const results = await run.finish()
  return { folder: folder.path, results, page: folder.at('report.html') }
}

function load({ data }: Pick<ExperimentConfig, 'data'>, signal: AbortSignal | undefined): Promise<TrainTest> {
  const { name, size, folder, subset } = data
  return name === 'mnist' ? mnist({ size, folder, signal }) : fashionMnist({ size, folder, subset, signal })
}

type Config = Omit<ExperimentConfig, 'out'>

/** A task that was trained, for other methods whose first task is the same. */
interface Shared {
  readonly method: string
  readonly result: TaskResult
  readonly curve: LossCurve
}

class Run {
  readonly #config: Config
  readonly #folder: RunFolder
  readonly #classifier: Classifier
  readonly #metrics: readonly Metric[]
  readonly #data: TrainTest
  readonly #signal: AbortSignal | undefined
  readonly #onEvent: (event: RunEvent) => void
  /** Real images as the engine sees them, for the grids. */
  readonly #real: ResidentImages
  readonly #versions = versions()
  readonly #curves: LossCurve[] = []
  readonly #runs: (MethodRun & { readonly tasks: TaskResult[] })[] = []
  readonly #parts: number
  #part = 0
  #learner: { device: string; precision: string; parameters: number } | undefined
  /** As written last. */
  #results: Results | undefined

  constructor(
    config: Config,
    folder: RunFolder,
    data: TrainTest,
    classifier: Classifier,
    signal: AbortSignal | undefined,
    onEvent: (event: RunEvent) => void,
  ) {
    this.#config = config
    this.#folder = folder
    this.#data = data
    this.#classifier = classifier
    this.#metrics = [frechetDistance(classifier), classFrequencies(classifier)]
    this.#signal = signal
    this.#onEvent = onEvent
    this.#real = new ResidentImages('cpu', config.data.size)
    const { methods, seeds, stream } = config
    const firstTasks = config.shareFirstTask ? new Set(methods.map(firstTaskOf)).size : methods.length
    this.#parts = seeds.length * (methods.length * (stream.tasks - 1) + firstTasks)
  }

  async dispose(): Promise<void> {
    await this.#real.dispose()
  }

  /** Runs every method with one seed. */
  async seed(seed: number): Promise<void> {
    const { tasks, order } = this.#config.stream
    const stream = classIncremental(this.#data, order === undefined ? { tasks, seed } : { tasks, order })
    for (const task of stream) await this.#drawReal(task, seed)
    const shared = new Map<string, Shared>()
    for (const method of this.#config.methods) await this.#method(method, seed, stream, shared)
  }

  /** Writes what is known when nothing more is to come. */
  async finish(): Promise<Results> {
    const results = await this.#write(true)
    await this.writePage()
    return results
  }

  /** Writes the page of what is known, where that is anything. */
  async writePage(): Promise<void> {
    if (this.#results === undefined) return
    const grids = new Map<string, Uint8Array>()
    for (const { tasks } of this.#results.runs) {
      for (const { samples, realSamples } of tasks) {
        for (const file of [samples, realSamples]) grids.set(file, await readFile(this.#folder.at(file)))
      }
    }
    const page = renderPage({ results: this.#results, config: this.#config, curves: this.#curves, grids })
    await this.#folder.write('report.html', page)
  }

  async #method(entry: MethodEntry, seed: number, stream: Stream, shared: Map<string, Shared>): Promise<void> {
    const tasks: TaskResult[] = []
    this.#runs.push({ method: entry.label, seed, tasks })
    const key = firstTaskOf(entry)
    const first = this.#config.shareFirstTask ? shared.get(key) : undefined
    await using learner = first === undefined ? await this.#create(seed) : await this.#take(first)
    if (this.#learner === undefined) {
      this.#learner = { device: learner.device, precision: learner.precision, parameters: learner.parameterCount }
      this.#onEvent({ kind: 'ready', ...this.#learner, metrics: this.#titles() })
    }
    for (const task of stream) {
      if (task.number === 1 && first !== undefined) {
        tasks.push(await this.#adopt(first, entry.label, seed))
      } else {
        const { result, curve } = await this.#task(learner, entry, seed, stream, task)
        tasks.push(result)
        if (task.number === 1) shared.set(key, { method: entry.label, result, curve })
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
  async #adopt({ method, result, curve }: Shared, label: string, seed: number): Promise<TaskResult> {
    const samples = samplesPath(label, seed, 1)
    await mkdir(path.dirname(this.#folder.at(samples)), { recursive: true })
    await copyFile(this.#folder.at(result.samples), this.#folder.at(samples))
    this.#curves.push({ ...curve, method: label })
    return { ...result, samples, seconds: { learn: 0, evaluate: 0 }, sharedFrom: method }
  }

  async #task(learner: Learner, entry: MethodEntry, seed: number, stream: Stream, task: Task) {
    const { train, evaluation, samples: grid } = this.#config
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

    const begin = performance.now()
    const losses = new LossRecorder()
    for await (const progress of learner.learn(task, methodOf(entry), { ...train, signal })) {
      losses.add(progress)
      this.#onEvent({ kind: 'learn', part, progress })
      await this.#folder.log({ kind: 'train', method: label, seed, ...progress })
    }
    const learned = performance.now()
    const report = await evaluate(learner, stream.seen(task), this.#metrics, {
      ...evaluation,
      signal,
      seed,
      onProgress: (progress) => this.#onEvent({ kind: 'evaluate', part, ...progress }),
    })
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
      metrics: report.values,
      samples,
      realSamples: samplesPath('real', seed, task.number),
      learner: saved,
    }
    const curve: LossCurve = { method: label, seed, task: task.number, points: losses.points }
    this.#curves.push(curve)
    const values = Object.fromEntries(Object.entries(report.values).map(([name, { value }]) => [name, value]))
    await this.#folder.log({ kind: 'evaluate', method: label, seed, task: task.number, ...values })
    this.#onEvent({ kind: 'task', part, result })
    return { result, curve }
  }

  async #drawReal(task: Task, seed: number): Promise<void> {
    const { count, columns } = this.#config.samples
    const some: Subset = { dataset: task.test.dataset, indices: spreadOver(task.test.indices, count) }
    const grid = await imageGrid(await this.#real.read(some), { columns })
    await this.#folder.write(samplesPath('real', seed, task.number), grid)
  }

  #titles(): Record<string, string> {
    return Object.fromEntries(this.#metrics.map(({ name, title }) => [name, title]))
  }

  async #write(complete: boolean): Promise<Results> {
    const classifier = this.#classifier
    const config = this.#config
    const { device, precision, parameters } = this.#learner ?? { device: '', precision: '', parameters: 0 }
    const results: Results = {
      title: config.title,
      complete,
      versions: this.#versions,
      classes: this.#data.train.classes,
      parameters,
      device,
      precision,
      classifier: { name: classifier.name, features: classifier.features, accuracy: classifier.accuracy },
      shareFirstTask: config.shareFirstTask,
      metrics: this.#titles(),
      methods: config.methods.map(({ name, label }) => ({ label, about: aboutMethod(name) })),
      runs: this.#runs,
    }
    await this.#folder.writeJson('results.json', results)
    this.#results = results
    return results
  }
}

/**
 * What a method's first task is computed from, besides the seed: two methods with the same answer compute the same, and
 * all tasks so far are at that time one task, so that cumulative data makes no difference.
 */
function firstTaskOf(entry: MethodEntry): string {
  return JSON.stringify(methodOf(entry).objective(1))
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
