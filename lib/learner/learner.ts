import type { Ema } from '../config/ema.js'
import { parseSampler, type SamplerConfig } from '../config/sampler.js'
import { type ScheduleConfig, scheduleSchema } from '../config/schedule.js'
import { imageSize, parseUNetConfig, type UNetConfig } from '../config/unet.js'
import type { ImageBatch, Subset } from '../data/dataset.js'
import { call } from '../engine/call.js'
import { resolveDevice } from '../engine/device.js'
import type { Group } from '../engine/group.js'
import type { ResidentImages } from '../engine/resident-images.js'
import type { SampleUse } from '../engine/sample-use.js'
import { sampledWeights } from '../engine/state.js'
import { invalid } from '../errors.js'
import type { Method } from '../methods/objective.js'
import type { LearnedClasses } from '../streams/learned-classes.js'
import type { Task } from '../streams/stream.js'
import { parseOptions } from '../validation/options.js'
import { checkedShape, checkVariance } from './checks.js'
import { type Core, checkIdle, createCore, freezeTeacher, live, sound } from './core.js'
import { denoisingLoss } from './denoising-loss.js'
import { loadCore, saveCore } from './folder.js'
import { labelsInTurn, learnedLabels, networkLabels } from './labels.js'
import { endEarly, learn, replayPool } from './learn.js'
import type { Learning, LearnOptions, TrainOptions } from './learn-options.js'
import { subsetsOf } from './memory.js'
import type {
  DenoisingLoss,
  DenoisingLossOptions,
  FloatImages,
  LearnerOptions,
  LoadOptions,
  NetworkLabels,
  ReplayImages,
  SaveOptions,
  StepOptions,
} from './options.js'
import { type SampleSettings, sample } from './sample.js'
import { createSchema, trainSchema } from './schemas.js'
import { checkChanged } from './soundness.js'
import { step } from './step.js'
import type { TaskInProgress } from './task-in-progress.js'

/**
 * Options of `Learner.sample`.
 *
 * @category Learner
 */
export interface SampleOptions extends SampleSettings {
  /**
   * A weaker learner of the same images, labels and schedule, e.g. one saved earlier, for guidance away from it (autoguidance, arXiv
   * 2406.02507): the sampler's `guidance` then takes this learner's prediction in place of the unconditional one. Unconditional networks take
   * it too.
   */
  guide?: Learner
}

/**
 * A diffusion model that learns a sequence of tasks. It has a U-Net, the U-Net's optimiser, a teacher (the frozen network of the end of the
 * last task) and a random state of its own. Its weights are a function of (options, seed, device, precision, number of threads, libtorch
 * version).
 *
 * @category Learner
 */
export class Learner implements AsyncDisposable {
  readonly schedule: ScheduleConfig
  /** The sampler for calls that don't give one. */
  readonly sampler: SamplerConfig
  /** `cpu` or `cuda:N`. */
  readonly device: string
  /** `fp32`, `tf32` or `bf16`. */
  readonly precision: 'fp32' | 'tf32' | 'bf16'
  /** The weights' moving average; 0: there is none. */
  readonly ema: Ema
  readonly #core: Core

  private constructor(core: Core) {
    this.#core = core
    const { schedule, sampler, device, precision, ema } = core.settings
    this.schedule = schedule
    this.sampler = sampler
    this.device = device
    this.precision = precision
    this.ema = ema
  }

  static #coreOf(value: unknown): Core | undefined {
    return value instanceof Learner ? value.#core : undefined
  }

  /**
   * Makes a learner with random weights, drawn from the seed.
   *
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for options that are unknown, wrong or contradict each other,
   *   `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`, `ERR_ADDON_NOT_BUILT`, `ERR_LIBTORCH_NOT_FOUND`
   */
  static async create(options: LearnerOptions): Promise<Learner> {
    const where = 'Learner.create'
    const parsed = parseOptions(createSchema, options, where)
    const unet = parseUNetConfig(parsed.unet, `${where}: unet`)
    imageSize(unet, where)
    const schedule = parseOptions(scheduleSchema, parsed.schedule ?? {}, `${where}: schedule`)
    const sampler = parseSampler(schedule, parsed.sampler, `${where}: sampler`)
    checkVariance(unet, sampler, `${where}: sampler`)
    const { threads, ema, group } = parsed
    const resolved = await resolveDevice(parsed.device, parsed.precision, group?.localRank)
    const settings = { unet, schedule, sampler, ...resolved, threads, ema, group }
    return new Learner(await createCore(settings, parsed.seed, parsed.images))
  }

  /**
   * Loads a learner from a folder that `save` wrote. The learner continues exactly where it was saved: with the next task, with the task in
   * progress (`learn` with `resume`), or with `step`.
   *
   * The folder may also be a diffusers model folder (`config.json`, `diffusion_pytorch_model.safetensors`, and `scheduler_config.json` in it or in a
   * folder `scheduler` beside it) or a pipeline's (`model_index.json`, `unet`, `scheduler`). Its weights may be in fp32, fp16 or bf16, in
   * shards, and a variant; attention's tensors may have the names of older versions. The learner has then learned no task. Without a scheduler's
   * file the schedule is the option `schedule`, or `paperSchedule` with a warning.
   *
   * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT`; the message names the file, the tensor or field, what was found and what was
   *   expected
   */
  static async load(folder: string, options: LoadOptions = {}): Promise<Learner> {
    return new Learner(await loadCore(folder, options))
  }

  /**
   * Real images where the learner uses them.
   *
   * @internal
   */
  get images(): ResidentImages {
    live(this.#core)
    return this.#core.images
  }

  /**
   * The processes that train this learner together; null where this one does so alone.
   *
   * @internal
   */
  get group(): Group | null {
    return this.#core.settings.group ?? null
  }

  /** The network; its `num_class_embeds` is larger once its table has grown. */
  get unet(): UNetConfig {
    return this.#core.settings.unet
  }

  /** Number of parameters of the U-Net. */
  get parameterCount(): number {
    return live(this.#core).parameters.reduce((sum, { shape }) => sum + shape.reduce((n, size) => n * size, 1), 0)
  }

  /** Seed of the first weights and of all random draws. */
  get seed(): number {
    return live(this.#core).state.seed
  }

  /** Number of training steps that are done, in all tasks together. */
  get stepsDone(): number {
    return live(this.#core).state.step
  }

  /** The memory: the real images that are kept from earlier tasks. Empty if no method with a memory was used. */
  get memory(): readonly Subset[] {
    return subsetsOf(this.#core.memory)
  }

  /** Names of the classes of the data, of a class-conditional learner that has learned a task; a label is an index into them. Else empty. */
  get classes(): readonly string[] {
    return this.#core.classes?.names ?? []
  }

  /** Names of the classes that a class-conditional learner has learned. Else empty. */
  get classesLearned(): readonly string[] {
    return learnedLabels(this.#core).map((label) => this.classes[label]!)
  }

  /**
   * The labels of images that a class-conditional learner generates where none are asked for: the classes learned, in turn.
   *
   * @param from number of images before them
   * @internal
   */
  labelsInTurn(from: number, count: number): Int32Array | undefined {
    return labelsInTurn(this.#core, from, count)
  }

  /** The classes of the tasks that are complete; see {@link nextTask}. */
  get learned(): LearnedClasses {
    return this.#core.learned
  }

  /** Number of the last task that is complete; 0: none yet. */
  get tasksLearned(): number {
    return this.#core.tasksLearned
  }

  /** Number of tasks that the model learned elsewhere, before task 1; see {@link LoadOptions}. */
  get learnedBefore(): number {
    return this.#core.learnedBefore
  }

  /**
   * The task in progress: after an abort or a `break` during `learn`, or after loading such a learner. Undefined if there is none. `save`
   * saves it, and `learn` with `resume` continues it. `learn` without `resume` drops it, and so does an error during `learn`.
   */
  get taskInProgress(): TaskInProgress | undefined {
    if (this.#core.inProgress === undefined) return undefined
    const { task, step, steps } = this.#core.inProgress
    return { task, step, steps }
  }

  /**
   * Learns a task by a method. It begins with a fresh optimiser, unless `optimizer` is `keep` (and with fresh weights, if the method's `weights` is `fresh`), and trains.
   * At the end of the task it keeps what the method keeps (see {@link Keeps}) and freezes the teacher. It yields its progress about five
   * times a second, and trains only while it is iterated.
   *
   * After a `break` or an abort the learner has the state after its last whole step. Nothing of the task is kept, the teacher is the old one,
   * and the task does not count as learned. The learner can be saved in this state, and `resume` continues the task. A resumed task whose
   * steps were all done, and whose end is the only thing left, yields nothing.
   *
   * @param task the images of the task are resized to the U-Net's `sample_size`
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` before training when the options are wrong; when the images have another size or
   *   other channels than the U-Net; when the method needs a teacher, a memory or a consolidated penalty that the learner doesn't have; when
   *   the method's memory is larger than the data of the tasks so far; or when the task in progress was begun with another method, other
   *   settings or other images. `ERR_DIVERGED` when a loss, a gradient or, after the last step, the network's prediction is not
   *   finite; once steps were taken, the weights are not usable, and whatever needs them is refused from then on: load an earlier save
   * @throws signal.reason after an abort
   */
  learn(task: Task, method: Method, options: LearnOptions): Learning {
    const then = (): never => {
      throw invalid(
        'learn was awaited; expected `for await (const progress of learner.learn(…))`, as it trains only while it is iterated: ' +
          'iterate it, or await learner.train(…)',
      )
    }
    return Object.assign(learn(this.#core, task, method, options), { then })
  }

  /**
   * Learns a task by a method, as `learn` does, to its end.
   *
   * @throws ContinualDiffusionError as `learn` does
   * @throws signal.reason after an abort
   */
  async train(task: Task, method: Method, options: TrainOptions): Promise<void> {
    const { onProgress, ...rest } = parseOptions(trainSchema, options, 'train')
    for await (const progress of learn(this.#core, task, method, rest as unknown as LearnOptions))
      onProgress?.(progress)
  }

  /**
   * Ends the task in progress after the steps that are done, as if it had been begun with so many: keeps what the method keeps, freezes the
   * teacher, and counts the task as learned. Call it between steps: in the body of the `for await` loop or in `onProgress`, which end with
   * it, or after a `break` or an abort.
   *
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when no task is in progress, no step of it is done, or it was begun before this
   *   learner was loaded; `ERR_DIVERGED`
   */
  async endTask(): Promise<void> {
    await endEarly(this.#core)
  }

  /**
   * The images of the replay pool that `learn` with the same arguments begins with: e.g. for {@link Solver.learn}, which then replays them
   * too. They are kept, so that `learn` need not generate them again.
   *
   * @returns undefined where the method has no pool of clean images for this task, as for the first task
   * @throws ContinualDiffusionError as `learn` does, before training
   * @throws signal.reason after an abort
   */
  async replayPool(task: Task, method: Method, options: LearnOptions): Promise<ReplayImages | undefined> {
    return replayPool(this.#core, task, method, options)
  }

  /**
   * Generates images. It uses the moving average of the weights if there is one.
   *
   * @returns uint8, count × height × width × channels; or {@link FloatImages} for the format `float32`
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for wrong options; `ERR_DIVERGED` where the images hold numbers that are not finite and the
   *   format is `uint8`
   * @throws signal.reason after an abort
   */
  sample(options: SampleOptions & { format: 'float32' }): Promise<FloatImages>
  sample(options: SampleOptions & { format?: 'uint8' }): Promise<ImageBatch>
  sample(options: SampleOptions): Promise<ImageBatch | FloatImages>
  async sample(options: SampleOptions): Promise<ImageBatch | FloatImages> {
    return sample(this.#core, { purpose: 'sampling', part: 0 }, options, Learner.#coreOf, this.group)
  }

  /**
   * As {@link Learner.sample}, with noise that no other use of the seed draws.
   *
   * @param group whose processes generate the images together; null: this one does alone
   * @internal
   */
  async sampleFor(use: SampleUse, options: Omit<SampleOptions, 'format'>, group = this.group): Promise<ImageBatch> {
    return (await sample(this.#core, use, options, Learner.#coreOf, group)) as ImageBatch
  }

  /**
   * The network's prediction. It uses the moving average of the weights if there is one.
   *
   * @param xt noisy images, N × C × H × W; of a network whose `sample_size` is null any squares that its blocks can halve
   * @param timesteps one per image, 0 … T − 1; in a `Float32Array` they may have fractions. A network with the Fourier embedding takes noise
   *   levels in a `Float32Array`: σ/α, above 0
   * @param labels for a class-conditional network: the row of the table for each image, or any whole number ≥ 0 for the `timestep` embedding;
   *   for the `identity` embedding N × the width of the embedding
   * @returns N × out_channels × H × W: ε, x₀ or v, as the schedule's `prediction` says, and the rest where `out_channels` is more than `in_channels`
   */
  async predict(xt: Float32Array, timesteps: Int32Array | Float32Array, labels?: NetworkLabels): Promise<Float32Array> {
    const native = sound(this.#core, 'predict')
    const shape = checkedShape(this.#core, xt, timesteps, 'predict: xt')
    const told = networkLabels(this.#core, labels, timesteps.length, 'predict: labels')
    return (await call(() => native.predict(sampledWeights(this.ema), { data: xt, shape }, timesteps, told))).data
  }

  /**
   * Measures the mean squared error of the network's prediction by band of timesteps. Small timesteps are about fine detail, large timesteps
   * about the coarse layout. On held-out images it shows which noise levels were forgotten, while a distance between generated and real
   * images is a single number. It uses the moving average of the weights if there is one.
   *
   * @param images e.g. `task.test`; they are resized to the U-Net's `sample_size`
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when the images have other channels than the U-Net, or a band lies outside the
   *   schedule's timesteps
   * @throws signal.reason after an abort
   */
  async denoisingLoss(
    images: Subset | readonly Subset[],
    options: DenoisingLossOptions = {},
  ): Promise<readonly DenoisingLoss[]> {
    return denoisingLoss(this.#core, images, options)
  }

  /**
   * Does one training step on given arrays. The loss is Σᵢ weightᵢ · mean((prediction − target)ᵢ²) / N. With `step` and `predict` you can
   * write any training loop in TypeScript.
   *
   * @returns the loss, and the norm of its gradient before clipping
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for wrong arrays, and while another step is in progress; `ERR_DIVERGED` when the
   *   loss or the norm is not finite: the weights are then unchanged
   */
  async step(options: StepOptions): Promise<{ loss: number; gradNorm: number }> {
    return step(this.#core, options)
  }

  /**
   * Makes a frozen copy of the weights that sampling uses, as the new teacher. `learn` does so at the end of a task.
   *
   * @throws ContinualDiffusionError `ERR_DIVERGED` where the weights are not usable
   */
  async freezeTeacher(): Promise<void> {
    sound(this.#core, 'freezeTeacher')
    checkIdle(this.#core, 'freezeTeacher')
    await Promise.all([checkChanged(this.#core, 'freezeTeacher'), freezeTeacher(this.#core)])
  }

  /**
   * Saves everything that is needed to continue from here into a folder: either all of it, or nothing. The folder is also a diffusers model
   * folder, with `config.json`, `scheduler_config.json` and `diffusion_pytorch_model.safetensors`, which holds the weights that sampling
   * uses; or with `format: 'pipeline'` the folder of a diffusers pipeline, which holds such a model folder. The folder must be new, empty, or
   * hold an earlier learner that was saved in the same format and nothing else, which is replaced.
   *
   * @throws ContinualDiffusionError `ERR_WRITE_FAILED`; the folder is then unchanged. `ERR_DIVERGED` where the weights are not usable.
   *   `ERR_INVALID_ARGUMENT` where no pipeline of diffusers samples as the learner does: for networks that take labels, for samplers other than
   *   `ddim` and `ddpm`, and for schedules that diffusers hasn't
   */
  async save(folder: string, options: SaveOptions = {}): Promise<void> {
    return saveCore(this.#core, folder, options)
  }

  /** Frees the memory on the device. Using the learner afterwards throws `ERR_DISPOSED`; disposing again does nothing. */
  async dispose(): Promise<void> {
    if (this.#core.disposed) return
    this.#core.disposed = true
    await this.#core.images.dispose()
    call(() => this.#core.native.dispose())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}
