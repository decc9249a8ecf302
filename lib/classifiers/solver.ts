import { z } from 'zod'
import { readSolverFolder, writeSolverFolder } from '../checkpoint/solver-folder.js'
import { type ImageBatch, type Subset, sizeOf } from '../data/dataset.js'
import { subsetSchema } from '../data/schemas.js'
import type { NativeClassifier, NativeClassifierOptions } from '../engine/addon.js'
import { call } from '../engine/call.js'
import {
  accuracyOn,
  type Classified,
  type ClassifierShape,
  checkClassifierBatch,
  checkClassifierSize,
  classifyImages,
  copyClassifier,
  createClassifier,
  trainClassifier,
} from '../engine/classifier.js'
import { resolveDevice } from '../engine/device.js'
import { bring } from '../engine/image-store.js'
import { Owned } from '../engine/owned.js'
import { ResidentImages } from '../engine/resident-images.js'
import { invalid } from '../errors.js'
import type { Learner } from '../learner/learner.js'
import type { ReplayImages } from '../learner/options.js'
import { streamSchema, type TestedTask, testedTaskSchema } from '../streams/schemas.js'
import type { Stream, Task } from '../streams/stream.js'
import { countSteps, pathSchema } from '../validation/fields.js'
import { isRecord, parseOptions } from '../validation/options.js'
import type { ImageSize } from '../validation/size.js'
import { certainLogits, checkReplayedLabels, oldLogits } from './replayed-labels.js'
import { checkGenerator, checkImages, checkReplay } from './solver-checks.js'
import { createSchema, learnSchema, type SolverLearnOptions, type SolverOptions } from './solver-options.js'

type SoftPool = Extract<NonNullable<NativeClassifierOptions['softLabelled']>, { pool: unknown }>
type ReplayingTask = Pick<TestedTask, 'number' | 'train'>
type LearnSettings = z.output<typeof learnSchema>

/**
 * A classifier that learns a stream's classes task by task, and remembers the earlier tasks through images from a generator. A generator
 * with its solver is called a scholar (Shin et al., arXiv 1705.08690). For task k > 1 each step minimises
 *
 * (1/k) · cross-entropy on real images + (1 − 1/k) · distillation on as many generated images.
 *
 * The generator has learned the tasks before k. The old classifier is the solver at the end of the last task; it gives the generated images
 * soft labels (van de Ven, Siegelmann and Tolias 2020; used by Masip et al., arXiv 2311.14028). With `target: 'labels'` the labels are the
 * classes that a class-conditional generator was asked for, and the distillation is their cross-entropy. So teach the solver before the generator on
 * each task:
 *
 * ```ts
 * await using solver = await Solver.create(stream, { seed: 42 })
 * for (const task of stream) {
 *   console.log(await solver.learn(task, learner))
 *   for await (const progress of learner.learn(task, method, { epochs: 100 })) bar.update(progress)
 * }
 * ```
 *
 * The network is that of `Classifier`: five 3×3 convolutions of 32, 32, 64, 64 and 64 channels with group norm
 * and SiLU, two max poolings, the mean over the image, dropout and one linear layer over all classes. The network
 * in the paper's code has no norms: four 3×3 convolutions of 32, 32, 64 and 128 channels and a 1×1 convolution of 128, with ReLU, two max
 * poolings, the maximum over the image, and dropout after each of these three. Optimiser, batch size, epochs, temperature, weights of the two
 * losses and dropout have the paper's values by default. The norm of the gradient is clipped to 1.
 *
 * @category Classifiers
 */
export class Solver implements AsyncDisposable {
  /** Of its input images. */
  readonly size: ImageSize
  /** Channels of its input images. */
  readonly channels: number
  /** Seed of the first weights, of all random draws and of the generated images. */
  readonly seed: number
  /** Name in messages. */
  readonly name: string
  #classes: readonly string[]
  #native: Owned<NativeClassifier>
  /** The solver as it was when the last task ended; there is none before the first has. */
  #old: { readonly native: Owned<NativeClassifier>; readonly classes: readonly string[] } | undefined
  readonly #device: string
  readonly #threads: number | undefined
  readonly #images: ResidentImages
  readonly #accuracies: (readonly (number | null)[])[] = []
  #stepsReplayed = 0
  #tasksLearned = 0
  #learning = false
  /** From the first step of a task until that task's end: its optimiser's state isn't saved. */
  #unfinished = false

  private constructor(
    native: NativeClassifier,
    { name, classes, size, channels, seed }: ClassifierShape & { readonly seed: number },
    threads: number | undefined,
    images: ResidentImages,
  ) {
    this.#native = new Owned(native, 'the solver')
    this.name = name
    this.#classes = [...classes]
    this.size = size
    this.channels = channels
    this.seed = seed
    this.#device = images.device
    this.#threads = threads
    this.#images = images
  }

  /**
   * Makes a solver with fresh weights, with one output for each class of the stream's data.
   *
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for wrong options, and for images with a side of less than 8 pixels,
   *   `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`
   */
  static async create(given: Stream, options: SolverOptions = {}): Promise<Solver> {
    const stream = parseOptions(streamSchema, given, 'Solver.create: stream')
    const { seed, ...where } = parseOptions(createSchema, options, 'Solver.create')
    const first = stream.tasks[0]
    if (first === undefined) throw invalid(`Solver.create: ${stream.name} has no tasks; expected at least one`)
    const { dataset } = first.train
    const { channels, classes } = dataset
    const size = sizeOf(dataset)
    checkClassifierSize(size, `Solver.create: the images of ${dataset.name}`)
    return Solver.#make({ name: `solver of ${stream.name}`, classes, size, channels, seed }, where)
  }

  static async #make(
    shape: ClassifierShape & { readonly seed: number },
    { device: wanted, threads, images }: Omit<z.output<typeof createSchema>, 'seed'>,
  ): Promise<Solver> {
    const { channels, classes, size, seed } = shape
    const { device } = await resolveDevice(wanted, 'fp32')
    const resident = new ResidentImages(device, size, images)
    const native = await createClassifier({ channels, classes, device, threads, seed })
    return new Solver(native, shape, threads, resident)
  }

  /**
   * Loads a solver from a folder that `save` wrote. The solver continues exactly where it was saved.
   *
   * @param options.device default `auto`
   * @param options.threads as in {@link SolverOptions}
   * @param options.images store of the images on the device. Default: the solver makes its own
   * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT`, with the file and what is wrong in it
   */
  static async load(folder: string, options: Omit<SolverOptions, 'seed'> = {}): Promise<Solver> {
    parseOptions(pathSchema, folder, 'Solver.load: folder')
    const parsed = parseOptions(createSchema.omit({ seed: true }), options, 'Solver.load')
    const { record, weights } = await readSolverFolder(folder)
    const { step, stepsReplayed, tasksLearned, accuracies, ...shape } = record
    const solver = await Solver.#make(shape, parsed)
    try {
      const { live } = solver.#native
      await call(() => live.write(weights(live.parameters)))
      await call(() => live.setStep(step))
      if (tasksLearned > 0) await solver.#freeze()
      solver.#stepsReplayed = stepsReplayed
      solver.#tasksLearned = tasksLearned
      solver.#accuracies.push(...accuracies)
      return solver
    } catch (error) {
      await solver.dispose()
      throw error
    }
  }

  /**
   * Saves everything that is needed to continue with the next task into a folder, `solver.json` and `solver.safetensors`: either all of it,
   * or nothing. The folder must be new, empty, or hold an earlier saved solver, which is replaced.
   *
   * @throws ContinualDiffusionError `ERR_WRITE_FAILED`; `ERR_INVALID_ARGUMENT` while a task is in progress, as a solver can't resume a task
   */
  async save(folder: string): Promise<void> {
    parseOptions(pathSchema, folder, 'Solver.save: folder')
    const native = this.#native.live
    if (this.#unfinished) {
      throw invalid(
        'Solver.save: a task is in progress; expected none: save before or after a task, or learn this task again first',
      )
    }
    const { name, classes, size, channels, seed, tasksLearned } = this
    const rest = {
      stepsReplayed: this.#stepsReplayed,
      tasksLearned,
      accuracies: this.#accuracies.map((row) => [...row]),
    }
    const { parameters } = native
    const [step, weights] = await Promise.all([call(() => native.step()), call(() => native.read())])
    const record = { name, classes: [...classes], size, channels, seed, step, ...rest }
    await writeSolverFolder(folder, record, parameters, weights)
  }

  /** Class names; a label is an index into them. There are more once it has learned a task with further ones. */
  get classes(): readonly string[] {
    return this.#classes
  }

  /** Number of the last task that is complete; 0: none yet. */
  get tasksLearned(): number {
    return this.#tasksLearned
  }

  /** The accuracy matrix: row i has the accuracies, 0 … 1, on tasks 1 … i after task i was learned; null for a task without test images. */
  get accuracies(): readonly (readonly (number | null)[])[] {
    return this.#accuracies
  }

  /**
   * Learns a task: begins with a fresh optimiser, trains, and measures the accuracies. The generator generates images and is not changed.
   *
   * @param task its images are resized to the solver's `size`
   * @param generator a learner that has learned exactly the tasks before this one; it is not used for the first task. `null`: no replay, for
   *   comparison; the loss is then the cross-entropy on real images
   * @returns the accuracy on the test images of each task seen, in the order of the tasks: the new row of `accuracies`
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` before training when the options are wrong, the images have another shape or other
   *   classes, or generator or solver have not learned exactly the tasks before this one; `ERR_DIVERGED`
   * @throws signal.reason after an abort
   */
  async learn(
    task: Task,
    generator: Learner | null,
    options: SolverLearnOptions = {},
  ): Promise<readonly (number | null)[]> {
    return this.#learn(parseOptions(testedTaskSchema, task, 'Solver.learn: task'), generator, options)
  }

  async #learn(
    task: TestedTask,
    generator: Learner | null,
    options: SolverLearnOptions,
  ): Promise<readonly (number | null)[]> {
    this.#native.live
    const where = `Solver.learn, task ${task.number}`
    const settings = parseOptions(learnSchema, options, where)
    const { epochs, batchSize, lr, dropout, horizontalFlip, replay, signal, onProgress } = settings
    checkImages(this, task.train.dataset, 'may grow', where)
    const { classes } = task.train.dataset
    const grown = { ...this.#shape, classes: classes.length > this.classes.length ? classes : this.classes }
    for (const { test } of [...task.earlier, task]) {
      if (test.indices.length > 0) checkImages(grown, test.dataset, 'as it is', where)
    }
    if (this.#tasksLearned !== task.number - 1) {
      throw invalid(
        `${where}: the solver has learned ${this.#tasksLearned} tasks; expected ${task.number - 1}, as it learns each task once and in order`,
      )
    }
    const replaying = task.number > 1 ? generator : null
    if (replaying) checkGenerator(this, replaying, task.number, where)
    if (replay) checkReplay(this, replay, replaying, task.number, where)
    if (settings.target === 'labels' && generator)
      checkReplayedLabels(generator, replay, task.train.dataset.classes, where)
    const steps = countSteps(epochs, task.train.indices.length, batchSize, where)
    checkClassifierBatch(this.size, batchSize, this.#device, where)
    if (this.#learning) throw invalid(`${where}: the solver is already learning a task; wait for its end`)

    this.#learning = true
    let drawn: SoftPool | undefined
    try {
      signal?.throwIfAborted()
      const pool = await this.#images.pool([task.train])
      if (replaying && replay) drawn = await this.#pool(replay, task, settings)
      const softLabelled = drawn
      this.#unfinished = true
      await this.#grow(task.train.dataset.classes)
      const native = this.#native.live
      await call(() => native.beginTask())
      const fixed = { pool, batchSize, lr, dropout, horizontalFlip, shift: 0 }
      await trainClassifier(native, {
        steps,
        batches: async () => {
          if (softLabelled) return { ...fixed, softLabelled }
          return replaying ? { ...fixed, softLabelled: await this.#replay(replaying, task, settings) } : fixed
        },
        what: `the ${this.name} on task ${task.number}`,
        signal,
        onProgress,
      })
      const row: (number | null)[] = []
      for (const { test } of [...task.earlier, task]) {
        // The images of an earlier task may be gone.
        row.push(test.indices.length === 0 ? null : await this.#measure(test, signal))
      }
      await this.#freeze()
      this.#tasksLearned = task.number
      this.#accuracies.push(row)
      this.#unfinished = false
      return row
    } finally {
      this.#learning = false
      call(() => drawn?.pool.dispose())
    }
  }

  /**
   * The fraction of a task's test images, or of a subset's images, that the solver classifies correctly among all classes.
   *
   * @returns 0 … 1
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when there are no images, or their shape or classes differ from the solver's;
   *   `ERR_DIVERGED` when an output isn't finite
   */
  async accuracy(of: Task | Subset): Promise<number> {
    const where = 'Solver.accuracy: the task or subset'
    const { test } = parseOptions(
      z.looseObject({ test: subsetSchema }),
      isRecord(of) && 'test' in of ? of : { test: of },
      where,
    )
    return this.#measure(test, undefined)
  }

  /**
   * Classifies images.
   *
   * @param images of the solver's `size` and `channels`
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for images of another shape
   */
  async classify(images: ImageBatch): Promise<Classified> {
    return classifyImages(this.#native.live, this.#shape, images)
  }

  /** Frees the memory on the device. Using the solver afterwards throws `ERR_DISPOSED`; disposing again does nothing. */
  async dispose(): Promise<void> {
    this.#native.dispose()
    this.#old?.native.dispose()
    await this.#images.dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }

  async #measure(subset: Subset, signal: AbortSignal | undefined): Promise<number> {
    const native = this.#native.live
    checkImages(this, subset.dataset, 'as it is', 'Solver.accuracy')
    if (subset.indices.length === 0) {
      throw invalid(`Solver.accuracy: no images of ${subset.dataset.name}; expected at least one`)
    }
    return accuracyOn(native, this.#shape, this.#images, subset, 256, signal)
  }

  /** As it is now. */
  get #shape(): ClassifierShape {
    return { name: this.name, classes: this.#classes, size: this.size, channels: this.channels }
  }

  /** A copy of the network, which may have further classes. */
  async #copy(classes: readonly string[]): Promise<Owned<NativeClassifier>> {
    const { channels, seed } = this
    const [device, threads, before] = [this.#device, this.#threads, this.#native]
    const copy = await copyClassifier(before.live, { channels, classes, device, threads, seed })
    const native = new Owned(copy, 'the solver')
    try {
      before.live // it may have been disposed of meanwhile
      return native
    } catch (error) {
      native.dispose()
      throw error
    }
  }

  /** Takes the present weights for the old classifier's. */
  async #freeze(): Promise<void> {
    const { classes } = this
    const native = await this.#copy(classes)
    this.#old?.native.dispose()
    this.#old = { native, classes }
  }

  /** Gets an output for each class that has none. All other weights stay the same, and the new ones are drawn from the seed. */
  async #grow(classes: readonly string[]): Promise<void> {
    if (classes.length <= this.#classes.length) return
    // The one before is not disposed of: calls under way may use it.
    this.#native = await this.#copy(classes)
    this.#classes = [...classes]
  }

  /** The generated images of one step. */
  async #replay(
    generator: Learner,
    task: ReplayingTask,
    settings: LearnSettings,
  ): Promise<NonNullable<NativeClassifierOptions['softLabelled']>> {
    const { batchSize, sampler, signal } = settings
    const part = this.#stepsReplayed++
    // Each class has its turn, however small the batch is.
    const labels = generator.labelsInTurn(part * batchSize, batchSize)
    const options = { count: batchSize, batchSize, sampler, seed: this.seed, signal, ...(labels && { labels }) }
    const images = await generator.sampleFor({ purpose: 'replay', part }, options)
    return { images, ...(await this.#targets({ ...images, ...(labels && { labels }) }, task, settings)) }
  }

  /** Images to draw from. */
  async #pool(images: ReplayImages, task: ReplayingTask, settings: LearnSettings): Promise<SoftPool> {
    const targets = await this.#targets(images, task, settings)
    const { data, count, height, width, channels } = images
    const shape = { height, width, channels }
    const stored = { name: 'the replayed images', images: data, labels: new Int32Array(count), ...shape }
    return { pool: await bring(stored, this.#device, 0), ...targets }
  }

  /** What is learned of generated images, by which loss, and what it and the real ones' count. */
  async #targets(images: ReplayImages, { number, train }: ReplayingTask, settings: LearnSettings) {
    const { target, temperature, distillation } = settings
    const weights = { labelledWeight: 1 / number, weight: 1 - 1 / number }
    const all = Math.max(train.dataset.classes.length, this.#classes.length)
    if (target === 'labels') {
      const logits = certainLogits(images.labels as Int32Array, all)
      return { logits, temperature: 1, swapped: false, ...weights }
    }
    const { native, classes } = this.#old! // the solver has learned the task before this one
    const classify = (part: ImageBatch) => classifyImages(native.live, { ...this.#shape, classes }, part)
    const logits = await oldLogits(classify, classes.length, images, all, settings.signal)
    return { logits, temperature, swapped: distillation === 'paper', ...weights }
  }
}
