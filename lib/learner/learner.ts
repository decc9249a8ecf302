import { parseSampler, type SamplerConfig } from '../config/sampler.js'
import { type ScheduleConfig, scheduleSchema } from '../config/schedule.js'
import { parseUNetConfig, type UNetConfig } from '../config/unet.js'
import type { ImageBatch, Subset } from '../data/dataset.js'
import { call, withCancel } from '../engine/call.js'
import { resolveDevice } from '../engine/device.js'
import type { ResidentImages } from '../engine/resident-images.js'
import { type SampleUse, sampleUses } from '../engine/sample-use.js'
import type { Method } from '../methods/objective.js'
import type { Task } from '../streams/stream.js'
import { parseOptions } from '../validation/options.js'
import { checkedShape } from './checks.js'
import { type Core, createCore, live, sampledWeights } from './core.js'
import { denoisingLoss } from './denoising-loss.js'
import { loadCore, saveCore } from './folder.js'
import { learn } from './learn.js'
import { subsetsOf } from './memory.js'
import {
  createSchema,
  type DenoisingLoss,
  type DenoisingLossOptions,
  type LearnerOptions,
  type LearnOptions,
  type LoadOptions,
  type Progress,
  type SampleOptions,
  type StepOptions,
  sampleSchema,
} from './options.js'
import { step } from './step.js'
import type { TaskInProgress } from './task-in-progress.js'

/**
 * A diffusion model that learns a sequence of tasks: a U-Net with its optimiser, the frozen teacher taken when the last task
 * ended, and its own random state. What it learns is a function of (options, seed, device, precision, libtorch version).
 *
 * @category Learner
 */
export class Learner implements AsyncDisposable {
  readonly unet: UNetConfig
  readonly schedule: ScheduleConfig
  /** How images are generated where a call doesn't say. */
  readonly sampler: SamplerConfig
  /** `cpu` or `cuda:N`. */
  readonly device: string
  /** `fp32`, `tf32` or `bf16`. */
  readonly precision: 'fp32' | 'tf32' | 'bf16'
  /** Decay of the weights' moving average; 0: none. */
  readonly ema: number
  /** Trainable numbers of the U-Net. */
  readonly parameterCount: number
  readonly #core: Core

  private constructor(core: Core) {
    this.#core = core
    const { unet, schedule, sampler, device, precision, ema } = core.settings
    this.unet = unet
    this.schedule = schedule
    this.sampler = sampler
    this.device = device
    this.precision = precision
    this.ema = ema
    this.parameterCount = core.native.parameters.reduce(
      (sum, { shape }) => sum + shape.reduce((n, size) => n * size, 1),
      0,
    )
  }

  /**
   * Makes a learner with fresh weights, drawn from the seed.
   *
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for options that are unknown, wrong or don't fit each other,
   *   `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`, `ERR_ADDON_NOT_BUILT`, `ERR_LIBTORCH_NOT_FOUND`
   */
  static async create(options: LearnerOptions): Promise<Learner> {
    const where = 'Learner.create'
    const parsed = parseOptions(createSchema, options, where)
    const unet = parseUNetConfig(parsed.unet, `${where}: unet`)
    const schedule = parseOptions(scheduleSchema, parsed.schedule ?? {}, `${where}: schedule`)
    const sampler = parseSampler(schedule, parsed.sampler, `${where}: sampler`)
    const resolved = await resolveDevice(parsed.device, parsed.precision)
    const settings = { unet, schedule, sampler, ...resolved, ema: parsed.ema }
    return new Learner(await createCore(settings, parsed.seed, parsed.images))
  }

  /**
   * Opens a folder that `save` wrote, to go on exactly where it stood: with the next task, with the one in progress (by `learn` with
   * `resume`) or with `step`; or a diffusers model folder (`config.json`,
   * `diffusion_pytorch_model.safetensors`, and `scheduler_config.json` if there is one: without it `paperSchedule` is
   * taken), as a learner that has learned no task.
   *
   * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` that names the file and the tensor or field, found and expected
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

  /** Of the first weights and of every draw. */
  get seed(): number {
    return live(this.#core).state.seed
  }

  /** Training steps done, over all tasks. */
  get stepsDone(): number {
    return live(this.#core).state.step
  }

  /** The real images that are kept from earlier tasks, for methods with a memory; empty without one. */
  get memory(): readonly Subset[] {
    return subsetsOf(this.#core.memory)
  }

  /** Number of the last task that was learned to its end; 0: none yet. */
  get tasksLearned(): number {
    return this.#core.tasksLearned
  }

  /**
   * The task that the learner has begun and not ended, after an abort or a `break` in mid-task, or as loaded; undefined where there is
   * none. `save` keeps it, `learn` with `resume` goes on with it, and `learn` without drops it, as an error in mid-task does.
   */
  get taskInProgress(): TaskInProgress | undefined {
    if (this.#core.inProgress === undefined) return undefined
    const { task, step, steps } = this.#core.inProgress
    return { task, step, steps }
  }

  /**
   * Learns a task by a method: starts with a fresh optimiser, and with fresh weights where the method says so, trains, and at the
   * end keeps what the method keeps of the task (see {@link Keeps}) and freezes the teacher. Yields its progress about five times a
   * second; it trains only while it is iterated.
   * When it is left early, by a `break` or an abort, the learner is as after its last whole step, and neither is anything kept or
   * the teacher frozen nor the task counted as learned; it can be saved then, and `resume` goes on with the task. Yields nothing
   * where all steps were done already and only the task's end was left.
   *
   * @param task its images are resized to the U-Net's `sample_size`
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` before training when the options are wrong, the images don't fit the
   *   U-Net, the method needs a teacher, a memory or a consolidated penalty that isn't there, its memory is larger than the
   *   data of the tasks so far, or a task that is to be resumed was begun with another method, other settings or other images;
   *   `ERR_DIVERGED` when a loss, a gradient or, after the last step, the network's prediction is no finite number any more
   * @throws signal.reason after an abort
   */
  learn(task: Task, method: Method, options: LearnOptions): AsyncGenerator<Progress, void, undefined> {
    return learn(this.#core, task, method, options)
  }

  /**
   * Generates images, with the moving average of the weights when there is one.
   *
   * @returns uint8, count × height × width × channels
   * @throws signal.reason after an abort
   */
  async sample(options: SampleOptions): Promise<ImageBatch> {
    return this.sampleFor({ purpose: 'sampling', part: 0 }, options)
  }

  /**
   * As {@link Learner.sample}, with noise that no other use of the seed draws.
   *
   * @internal
   */
  async sampleFor({ purpose, part }: SampleUse, options: SampleOptions): Promise<ImageBatch> {
    const native = live(this.#core)
    const { signal, ...parsed } = parseOptions(sampleSchema, options, 'sample')
    const { count, batchSize, seed = this.seed } = parsed
    const sampler = parseSampler(this.schedule, parsed.sampler, 'sample: sampler', this.sampler)
    const weights = sampledWeights(this.#core)
    const use = { purpose: sampleUses[purpose], part }
    const data = await withCancel(signal, (flag) =>
      call(() => native.sample({ weights, count, batchSize, sampler, seed, use, format: 'uint8' }, flag)),
    )
    const { sample_size: size, in_channels: channels } = this.unet
    return { data, count, height: size, width: size, channels }
  }

  /**
   * The network's prediction, with the moving average of the weights when there is one.
   *
   * @param xt noisy images, N × C × H × W
   * @param timesteps one per image, 0 … T − 1
   * @returns N × C × H × W: what the schedule's `prediction` says
   */
  async predict(xt: Float32Array, timesteps: Int32Array): Promise<Float32Array> {
    const native = live(this.#core)
    const shape = checkedShape(this.#core, xt, timesteps, 'predict: xt')
    return (await call(() => native.predict(sampledWeights(this.#core), { data: xt, shape }, timesteps))).data
  }

  /**
   * How well the network denoises images, by band of timesteps: small timesteps are fine detail, large ones the coarse layout. On
   * held-out images it shows which noise levels were forgotten, where a distance between generated and real images gives one
   * number. Without gradients, and with the moving average of the weights when there is one.
   *
   * @param images e.g. `task.test`; they are resized to the U-Net's `sample_size`
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when the images don't fit the U-Net or the bands the schedule
   * @throws signal.reason after an abort
   */
  async denoisingLoss(
    images: Subset | readonly Subset[],
    options: DenoisingLossOptions = {},
  ): Promise<readonly DenoisingLoss[]> {
    return denoisingLoss(this.#core, images, options)
  }

  /**
   * One training step on given arrays: the loss is Σᵢ weightᵢ · mean((prediction − target)ᵢ²) / N. With it and `predict` any
   * training loop can be written in TypeScript.
   *
   * @returns the loss, and the norm of its gradient before clipping
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for wrong arrays, and while another step is under way; `ERR_DIVERGED` when one of the two is no finite number; the weights are then as before
   */
  async step(options: StepOptions): Promise<{ loss: number; gradNorm: number }> {
    return step(this.#core, options)
  }

  /** Freezes a copy of the weights that sampling uses as the teacher; `learn` does so when a task ends. */
  async freezeTeacher(): Promise<void> {
    const native = live(this.#core)
    await call(() => native.freezeTeacher())
  }

  /**
   * Writes everything that it takes to go on from here into a folder, whole or not at all. The folder is a diffusers model folder
   * too: `config.json`, `scheduler_config.json` and `diffusion_pytorch_model.safetensors`, which holds the weights that sampling
   * uses. An earlier learner's folder is replaced when it holds nothing else; any other folder that isn't empty is refused.
   *
   * @throws ContinualDiffusionError `ERR_WRITE_FAILED`; what was there before is left as it was
   */
  async save(folder: string): Promise<void> {
    return saveCore(this.#core, folder)
  }

  /** Gives back the memory on the device. Using the learner afterwards throws `ERR_DISPOSED`; disposing again does nothing. */
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
