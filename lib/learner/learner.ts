import { z } from 'zod'
import { readLearnerFolder, writeLearnerFolder } from '../checkpoint/learner-folder.js'
import type { StoredPenalty } from '../checkpoint/penalties-file.js'
import { parseSampler, type SamplerConfig } from '../config/sampler.js'
import { type ScheduleConfig, scheduleSchema } from '../config/schedule.js'
import { parseUNetConfig, type UNetConfig } from '../config/unet.js'
import type { ImageBatch, Subset } from '../data/dataset.js'
import { subsetSchema } from '../data/schemas.js'
import type { NativeLearner, NativeOptimizer, NativePool, NativeTrainReport, Slot } from '../engine/addon.js'
import { call, disposedError, withCancel } from '../engine/call.js'
import { type Device, type Precision, resolveDevice } from '../engine/device.js'
import { ImageStore } from '../engine/image-store.js'
import { ResidentImages } from '../engine/resident-images.js'
import { ContinualDiffusionError, invalid } from '../errors.js'
import type { Keeps, Method, Objective, Penalty } from '../methods/objective.js'
import { checkMethod, parseObjective } from '../methods/objective-schema.js'
import type { Task } from '../streams/stream.js'
import { batchSizeSchema, deviceSchema, precisionSchema, seedSchema, signalSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { type MemoryItem, remember, subsetsOf } from './memory.js'
import { checkSame, digestOf, plainSettings, type StoredTaskInHand, type TaskInHand } from './task-in-hand.js'

/** What a learner is made of. */
export interface LearnerOptions {
  /** One of `presets`, or options of one's own. */
  unet: UNetConfig
  /** How noise is added; what is left out is as in `paperSchedule`. */
  schedule?: Partial<ScheduleConfig>
  /** How images are generated where a call doesn't say; what is left out is as in `paperSampler`: DDIM, 10 steps. */
  sampler?: Partial<SamplerConfig>
  /** Default `auto`: CUDA when there is a device that works, else the CPU. */
  device?: Device
  /** Default `auto`: bf16 where it is the faster, on CUDA and on processors with AMX, else fp32. */
  precision?: Precision
  /** Of the first weights and of every draw, 0 … 2³² − 1. Default 0. */
  seed?: number
  /**
   * Decay of the exponential moving average of the weights, at least 0 and less than 1. With it, sampling and the teacher use the
   * average. Default 0: none.
   */
  ema?: number
  /** Where images are kept on the device, to share them with other learners, solvers and classifiers. Default: a store of its own. */
  images?: ImageStore
}

/** Options of Adam and of one update. */
export interface UpdateOptions {
  /** Learning rate. Default 2e-4. */
  lr?: number
  /** Decay rates of Adam's two averages. Default [0.9, 0.999]. */
  betas?: readonly [number, number]
  /** Added to Adam's denominator. Default 1e-8. */
  eps?: number
  /** Decay of the weights, added to the gradient. Default 0. */
  weightDecay?: number
  /** Largest norm of the gradient over all parameters; 0: no clipping. Default 1. */
  clipGradNorm?: number
}

/** How long and how a task is learned; exactly one of `epochs` and `steps` is given. */
export interface LearnOptions extends UpdateOptions {
  /** Passes over the images that the method trains on: ⌈epochs × images / batchSize⌉ steps. Need not be whole. */
  epochs?: number
  /** Training steps. */
  steps?: number
  /** Images drawn for each source in each step. Default 128. */
  batchSize?: number
  /** Whether every drawn real image is mirrored with probability ½. Default false. */
  horizontalFlip?: boolean
  /** Real images for terms with the source `memory`, in place of the learner's own memory. */
  memory?: readonly Subset[]
  /**
   * Goes on with the task where the learner stands in the middle of it, see `Learner.taskInHand`: the rest of the training is then
   * to the bit what it would have been, on the CPU. A task that wasn't begun is begun. Default false: begins the task in any case.
   */
  resume?: boolean
  /**
   * Told what each step computed, once for each, in order and before the progress that the step counts in; those of the steps before
   * an abort too. For records that must not depend on how fast the steps were. It must not throw.
   */
  onStep?: (losses: StepLosses) => void
  /** An abort rejects with `signal.reason` and leaves the learner as after its last whole step. */
  signal?: AbortSignal
}

/** What one training step computed. */
export interface StepLosses {
  /** Of this task, from 1. */
  readonly step: number
  /** Steps of this task in all. */
  readonly steps: number
  readonly loss: number
  /** Loss of each of the objective's terms, unweighted. */
  readonly terms: readonly number[]
  /** Cost of each of the objective's penalties, without its strength, by name. */
  readonly penalties: Readonly<Record<string, number>>
  /** Norm of the gradient before clipping. */
  readonly gradNorm: number
}

/** Where the learning of a task stands. */
export interface Progress {
  /** The task's number. */
  readonly task: number
  /** Steps of this task done. */
  readonly step: number
  /** Steps of this task in all. */
  readonly steps: number
  /** Mean loss over the steps since the last progress. */
  readonly loss: number
  /** Mean loss of each of the objective's terms over these steps, unweighted. */
  readonly terms: readonly number[]
  /**
   * Mean cost of each of the objective's penalties over these steps, without its strength, by name: the loss is
   * Σ weight · term + Σ strength · penalty.
   */
  readonly penalties: Readonly<Record<string, number>>
  /** Mean norm of the gradient before clipping over these steps. */
  readonly gradNorm: number
  /** Since the call's first step. */
  readonly stepsPerSecond: number
  /** At that speed. */
  readonly secondsLeft: number
}

/** What to generate, and how. */
export interface SampleOptions {
  /** Images. */
  count: number
  /** Images generated at once; it bounds memory. Default 128. */
  batchSize?: number
  /** What differs from the learner's sampler. */
  sampler?: Partial<SamplerConfig>
  /** Same seed, same images; 0 … 2⁵³ − 1. Default: the learner's seed. */
  seed?: number
  /** An abort rejects with `signal.reason`. */
  signal?: AbortSignal
}

/** Where and how often the denoising loss is measured. */
export interface DenoisingLossOptions {
  /**
   * Bands of timesteps: a number of equally wide ones over all T timesteps, as far as T can be divided; or their edges, rising, from
   * 0 … T − 1 to at most T: [0, 100, 1000] are the bands 0 … 99 and 100 … 999. Default 10.
   */
  bands?: number | readonly number[]
  /** Draws of timestep and noise for each image in each band. Default 1. */
  samples?: number
  /** Images put through the network at once; it bounds memory. Default 128. */
  batchSize?: number
  /** Same seed, same draws, whatever the learner: losses can be compared image by image. Default: the learner's seed. */
  seed?: number
  /** An abort rejects with `signal.reason`. */
  signal?: AbortSignal
}

/** The denoising loss in a band of timesteps. */
export interface DenoisingLoss {
  /** First timestep of the band. */
  readonly from: number
  /** The timestep after its last one. */
  readonly to: number
  /** Mean squared error between the network's answer and what the schedule's `prediction` asks for, unweighted. */
  readonly loss: number
  /** Images measured on. */
  readonly images: number
  /** Draws that the loss is the mean of: images × samples. */
  readonly draws: number
}

/** One training step on arrays of one's own. */
export interface StepOptions extends UpdateOptions {
  /** Noisy images, N × C × H × W. */
  xt: Float32Array
  /** One per image, 0 … T − 1. */
  timesteps: Int32Array
  /** What the network should answer, N × C × H × W. */
  target: Float32Array
  /** One factor per image of its mean squared error, or one for all. Default 1. */
  weight?: Float32Array | number
}

const positive = z.number().positive()
const rate = z.number().min(0).lt(1)

const updateShape = {
  lr: positive.default(2e-4),
  betas: z.tuple([rate, rate]).readonly().default([0.9, 0.999]),
  eps: positive.default(1e-8),
  weightDecay: z.number().min(0).default(0),
  clipGradNorm: z.number().min(0).default(1),
}

const batchSize = batchSizeSchema.default(128)

const createSchema = z.strictObject({
  unet: z.unknown().optional(),
  schedule: scheduleSchema.optional(),
  sampler: z.unknown().optional(),
  device: deviceSchema.default('auto'),
  precision: precisionSchema.default('auto'),
  seed: seedSchema.default(0),
  ema: rate.default(0),
  images: z.instanceof(ImageStore).optional(),
})

const loadSchema = z.strictObject({
  device: deviceSchema.default('auto'),
  precision: precisionSchema.optional(),
  images: z.instanceof(ImageStore).optional(),
})

const learnSchema = z
  .strictObject({
    ...updateShape,
    epochs: positive.optional(),
    steps: z.int().min(1).optional(),
    batchSize,
    horizontalFlip: z.boolean().default(false),
    memory: z.array(subsetSchema).readonly().optional(),
    resume: z.boolean().default(false),
    onStep: z.custom<NonNullable<LearnOptions['onStep']>>((f) => typeof f === 'function').optional(),
    signal: signalSchema.optional(),
  })
  .refine((options) => (options.epochs === undefined) !== (options.steps === undefined), {
    error: 'expected exactly one of epochs and steps',
  })

const taskSchema = z.looseObject({
  number: z.int().min(1),
  train: subsetSchema,
  earlier: z.array(z.looseObject({ train: subsetSchema })),
})

const sampleSchema = z.strictObject({
  count: z.int().min(1),
  batchSize,
  sampler: z.unknown().optional(),
  seed: z.int().min(0).optional(),
  signal: signalSchema.optional(),
})

const denoisingLossSchema = z.strictObject({
  bands: z.union([z.int().min(1), z.array(z.int().min(0)).min(2).readonly()]).default(10),
  samples: z.int().min(1).max(1_000_000).default(1),
  batchSize,
  seed: z.int().min(0).optional(),
  signal: signalSchema.optional(),
})

const stepSchema = z.strictObject({
  ...updateShape,
  xt: z.instanceof(Float32Array),
  timesteps: z.instanceof(Int32Array),
  target: z.instanceof(Float32Array),
  weight: z.union([z.instanceof(Float32Array), z.number().min(0)]).default(1),
})

/** How long one native call should train, in milliseconds: progress and aborts come about that often. */
const chunkMilliseconds = 200

/**
 * A diffusion model that learns a sequence of tasks: a U-Net with its optimiser, the frozen teacher taken when the last task
 * ended, and its own random state. What it learns is a function of (options, seed, device, precision, libtorch version).
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
  readonly #native: NativeLearner
  readonly #images: ResidentImages
  #memory: readonly MemoryItem[] = []
  #tasksLearned: number
  #hand: StoredTaskInHand | undefined
  /** From the first to the last iteration of `learn`. */
  #learning = false
  #warnedOfGraph = false
  /** What is changing the weights at the moment. */
  #busy: 'learn' | 'step' | undefined
  #disposed = false

  private constructor(native: NativeLearner, settings: Settings, tasksLearned: number) {
    this.#native = native
    this.unet = settings.unet
    this.schedule = settings.schedule
    this.sampler = settings.sampler
    this.device = settings.device
    this.precision = settings.precision
    this.ema = settings.ema
    this.parameterCount = native.parameters.reduce((sum, { shape }) => sum + shape.reduce((n, size) => n * size, 1), 0)
    this.#images = new ResidentImages(settings.device, settings.unet.sample_size, settings.images)
    this.#tasksLearned = tasksLearned
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
    const { ema, images } = parsed
    return Learner.#create({ unet, schedule, sampler, ...resolved, ema, images }, parsed.seed, 0)
  }

  /**
   * Opens a folder that `save` wrote, to go on exactly where it stood: with the next task, with the one in hand (by `learn` with
   * `resume`) or with `step`; or a diffusers model folder (`config.json`,
   * `diffusion_pytorch_model.safetensors`, and `scheduler_config.json` if there is one: without it `paperSchedule` is
   * taken), as a learner that has learned no task.
   *
   * @param options.device default `auto`
   * @param options.precision default: the saved one; for a diffusers folder `auto`
   * @param options.images where images are kept on the device. Default: a store of its own
   * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` that names the file and the tensor or field, found and expected
   */
  static async load(
    folder: string,
    options: { device?: Device; precision?: Precision; images?: ImageStore } = {},
  ): Promise<Learner> {
    const parsed = parseOptions(loadSchema, options, 'Learner.load')
    const { unet, schedule, sampler, record, ...read } = await readLearnerFolder(folder)
    // Read first: no memory is taken for a network that config.json only claims.
    const tensors = await read.readTensors(call((addon) => addon.unetParameters(unet)))
    const resolved = await resolveDevice(parsed.device, parsed.precision ?? record?.precision ?? 'auto')
    const settings = { unet, schedule, sampler, ...resolved, ema: record?.ema ?? 0, images: parsed.images }
    const learner = await Learner.#create(settings, record?.seed ?? 0, record?.tasksLearned ?? 0)
    try {
      const native = learner.#native
      for (const [slot, values] of tensors) await call(() => native.writeSlot(slot, values))
      for (const { name, shape, quadratics } of await read.readPenalties(native.parameters)) {
        for (const quadratic of quadratics) await call(() => native.writePenalty({ name, shape, ...quadratic }))
      }
      learner.#memory = await read.readMemory()
      if (record) {
        const { seed, step, optimizerStep } = record
        await call(() => native.setState({ seed, step, optimizerStep }))
        learner.#hand = record.taskInHand
      }
      return learner
    } catch (error) {
      await learner.dispose()
      throw error
    }
  }

  static async #create(settings: Settings, seed: number, tasksLearned: number): Promise<Learner> {
    const { unet, schedule, device, precision, ema } = settings
    const native = await call((addon) =>
      addon.createLearner({ unet, schedule, device, precision, seed, emaDecay: ema }),
    )
    return new Learner(native, settings, tasksLearned)
  }

  /**
   * Real images where the learner uses them.
   *
   * @internal
   */
  get images(): ResidentImages {
    this.#live()
    return this.#images
  }

  /** Of the first weights and of every draw. */
  get seed(): number {
    return this.#live().state.seed
  }

  /** Training steps done, over all tasks. */
  get stepsDone(): number {
    return this.#live().state.step
  }

  /** The real images that are kept from earlier tasks, for methods with a memory; empty without one. */
  get memory(): readonly Subset[] {
    return subsetsOf(this.#memory)
  }

  /** Number of the last task that was learned to its end; 0: none yet. */
  get tasksLearned(): number {
    return this.#tasksLearned
  }

  /**
   * The task that the learner has begun and not ended, after an abort or a `break` in mid-task, or as loaded; undefined where there is
   * none. `save` keeps it, `learn` with `resume` goes on with it, and `learn` without drops it, as an error in mid-task does.
   */
  get taskInHand(): TaskInHand | undefined {
    if (this.#hand === undefined) return undefined
    const { task, step, steps } = this.#hand
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
   *   `ERR_DIVERGED` when a loss, a gradient or, after the last step, the network's answer is no finite number any more
   * @throws signal.reason after an abort
   */
  async *learn(task: Task, method: Method, options: LearnOptions): AsyncGenerator<Progress, void, undefined> {
    const native = this.#live()
    parseOptions(taskSchema, task, 'learn: task')
    checkMethod(method, 'learn: method')
    const where = `learn, task ${task.number} by ${method.name}`
    const {
      epochs,
      steps: given,
      signal,
      memory = this.memory,
      resume,
      onStep,
      betas,
      lr,
      eps,
      weightDecay,
      clipGradNorm,
      ...batch
    } = parseOptions(learnSchema, options, where)
    const optimizer = { lr, betas, eps, weightDecay, clipGradNorm }
    const subsets = (method.data === 'cumulative' ? [...task.earlier, task] : [task]).map(({ train }) => train)
    this.#checkImages(subsets, where)
    this.#checkImages(memory, `${where}: memory`)
    const objective = parseObjective(method.objective(task.number), this.schedule.timesteps, `${where}: objective`)
    this.#checkTerms(objective, memory, where)
    if (objective.penalties?.length) await this.#checkPenalties(objective.penalties, where)
    const keeps = method.keeps ?? {}
    this.#checkKeeps(keeps, task, where)
    const images = countImages(subsets)
    if (task.train.indices.length === 0) {
      throw invalid(`${where}: the task has no images to train on; expected at least one`)
    }
    const perEpoch = method.epochOf === 'task' ? task.train.indices.length : images
    const steps = given ?? Math.ceil(((epochs as number) * perEpoch) / batch.batchSize)
    if (this.#learning) throw invalid(`${where}: this learner is learning a task already; wait for that to end`)

    const followsPath = keeps.consolidations?.some(({ kind }) => kind === 'path-integral') ?? false
    const drawn = { images: digestOf(subsets), memory: digestOf(memory) }
    const settings = plainSettings({ method: method.name, objective, keeps, steps, ...batch, ...optimizer, ...drawn })
    const resumed = resume ? this.#toResume(task.number, settings, where) : undefined
    const hand = resumed ?? { task: task.number, step: 0, steps, settings }
    const names = objective.penalties?.map(({ name }) => name) ?? []
    this.#learning = true
    try {
      signal?.throwIfAborted()
      const fixed = await this.#alone('learn', where, async () => {
        const pools = { task: await this.#images.pool(subsets), memory: await this.#images.pool(memory) }
        if (resumed === undefined) {
          await call(() => native.resetOptimizer())
          if (method.weights === 'fresh' && task.number > 1) await this.#renewWeights(task.number)
          await call(() => native.followPath(followsPath))
        }
        this.#hand = hand
        return { objective, ...batch, ...pools, optimizer }
      })
      const end = async () => {
        await this.#checkSound(where)
        await this.#endTask(task, keeps, fixed.task, signal)
      }
      if (hand.step === steps) await this.#alone('learn', where, end)
      const start = performance.now()
      const first = hand.step
      // A GPU's teacher generates the images of up to eight steps at once, all of which a call should use.
      const atOnce = this.device === 'cpu' ? 1 : 8
      let chunk = atOnce
      while (hand.step < steps) {
        const before = performance.now()
        const wanted = Math.min(chunk, steps - hand.step)
        const done = await this.#alone('learn', where, async () => {
          const done = await this.#train(hand, { ...fixed, steps: wanted }, names, onStep, signal)
          if (hand.step === steps) await end()
          return done
        })
        const now = performance.now()
        // How the steps are cut into chunks doesn't change what they compute: draws depend on the step's number alone.
        chunk = Math.max(1, Math.min(chunk * 4, Math.round((wanted * chunkMilliseconds) / (now - before))))
        chunk = Math.ceil(chunk / atOnce) * atOnce
        const { step } = hand
        const stepsPerSecond = ((step - first) * 1000) / (now - start)
        const secondsLeft = (steps - step) / stepsPerSecond
        yield { ...meanOf(done), task: task.number, step, steps, stepsPerSecond, secondsLeft }
      }
    } finally {
      this.#learning = false
    }
  }

  /** Takes steps of the task in hand; those before an abort count and are told too. */
  async #train(
    hand: StoredTaskInHand,
    options: Parameters<NativeLearner['train']>[0],
    names: readonly string[],
    onStep: LearnOptions['onStep'],
    signal: AbortSignal | undefined,
  ): Promise<readonly StepLosses[]> {
    let done: readonly StepLosses[] = []
    await withCancel(signal, async (flag) => {
      try {
        const report = await call(() => this.#native.train(options, flag))
        done = stepsOf(report, hand, names)
        if (report.graphFailure !== undefined) this.#warnOfGraph(report.graphFailure)
      } catch (error) {
        // Which steps were taken before isn't known.
        this.#hand = undefined
        throw error
      }
      hand.step += done.length
      if (onStep) for (const losses of done) onStep(losses)
    })
    return done
  }

  #warnOfGraph(failure: string): void {
    if (this.#warnedOfGraph) return
    this.#warnedOfGraph = true
    process.emitWarning(
      `steps on ${this.device} can't be recorded as a CUDA graph, and run one operation after the other, which is slower: ${failure}`,
      { code: 'CONTINUAL_DIFFUSION_NO_GRAPH' },
    )
  }

  /**
   * Generates images, with the moving average of the weights when there is one.
   *
   * @returns uint8, count × height × width × channels
   * @throws signal.reason after an abort
   */
  async sample(options: SampleOptions): Promise<ImageBatch> {
    const native = this.#live()
    const { signal, ...parsed } = parseOptions(sampleSchema, options, 'sample')
    const { count, batchSize, seed = this.seed } = parsed
    const sampler = parseSampler(this.schedule, parsed.sampler, 'sample: sampler', this.sampler)
    const slot = this.#sampledSlot()
    const data = await withCancel(signal, (flag) =>
      call(() => native.sample({ slot, count, batchSize, sampler, seed, format: 'uint8' }, flag)),
    )
    const { sample_size: size, in_channels: channels } = this.unet
    return { data, count, height: size, width: size, channels }
  }

  /**
   * The network's answer, with the moving average of the weights when there is one.
   *
   * @param xt noisy images, N × C × H × W
   * @param timesteps one per image, 0 … T − 1
   * @returns N × C × H × W: what the schedule's `prediction` says
   */
  async predict(xt: Float32Array, timesteps: Int32Array): Promise<Float32Array> {
    const native = this.#live()
    const shape = this.#shapeOf(xt, timesteps, 'predict: xt')
    const answer = await call(() => native.predict(this.#sampledSlot(), { data: xt, shape }, timesteps))
    return answer.data
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
    const native = this.#live()
    const where = 'denoisingLoss'
    const { bands, signal, seed = this.seed, ...rest } = parseOptions(denoisingLossSchema, options, where)
    const subsets = 'dataset' in images ? [images] : images
    this.#checkImages(subsets, where)
    const count = subsets.reduce((sum, { indices }) => sum + indices.length, 0)
    if (count === 0) throw invalid(`${where}: there are no images; expected at least one`)
    const edges = this.#bandEdges(bands, where)
    const pool = await this.#images.pool(subsets)
    const slot = this.#sampledSlot()
    const losses = await withCancel(signal, (flag) =>
      call(() => native.denoisingLoss({ slot, pool, edges, seed, ...rest }, flag)),
    )
    return Array.from(losses, (loss, i) => ({
      from: edges[i] as number,
      to: edges[i + 1] as number,
      loss,
      images: count,
      draws: count * rest.samples,
    }))
  }

  #bandEdges(bands: number | readonly number[], where: string): Int32Array {
    const total = this.schedule.timesteps
    if (typeof bands === 'number') {
      if (bands > total)
        throw invalid(`${where}: bands is ${bands}; expected at most the schedule's ${total} timesteps`)
      return Int32Array.from({ length: bands + 1 }, (_, i) => Math.round((i * total) / bands))
    }
    const wrong = bands.findIndex((edge, i) => edge > total || (i > 0 && edge <= (bands[i - 1] as number)))
    if (wrong !== -1) {
      throw invalid(`${where}: bands[${wrong}] is ${bands[wrong]}; expected edges that rise to at most ${total}`)
    }
    return Int32Array.from(bands)
  }

  /**
   * One training step on given arrays: the loss is Σᵢ weightᵢ · mean((prediction − target)ᵢ²) / N. With it and `predict` any
   * training loop can be written in TypeScript.
   *
   * @returns the loss, and the norm of its gradient before clipping
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for wrong arrays, and while another step is under way; `ERR_DIVERGED` when one of the two is no finite number; the weights are then as before
   */
  async step(options: StepOptions): Promise<{ loss: number; gradNorm: number }> {
    const native = this.#live()
    const { xt, timesteps, target, weight, ...optimizer } = parseOptions(stepSchema, options, 'step')
    const shape = this.#shapeOf(xt, timesteps, 'step: xt')
    this.#shapeOf(target, timesteps, 'step: target')
    const weights = typeof weight === 'number' ? new Float32Array(timesteps.length).fill(weight) : weight
    if (weights.length !== timesteps.length) {
      throw invalid(
        `step: weight has ${weights.length} elements; expected one for each of ${timesteps.length} timesteps`,
      )
    }
    return this.#alone('step', 'step', async () => {
      const { loss, gradNorm } = await call(() =>
        native.computeGiven({ data: xt, shape }, timesteps, { data: target, shape }, weights),
      )
      if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
        throw new ContinualDiffusionError(
          'ERR_DIVERGED',
          `step: the loss is ${loss} and its gradient's norm ${gradNorm}; expected finite numbers; the weights were left as ` +
            'they are: check the arrays, or lower the learning rate',
        )
      }
      await call(() => native.update(optimizer satisfies NativeOptimizer))
      return { loss, gradNorm }
    })
  }

  /** Freezes a copy of the weights that sampling uses as the teacher; `learn` does so when a task ends. */
  async freezeTeacher(): Promise<void> {
    const native = this.#live()
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
    const native = this.#live()
    this.#checkIdle('save')
    const taskInHand = this.#hand && { ...this.#hand }
    // All is asked for before the first answer is awaited: what begins meanwhile comes after it in the engine's queue.
    const { seed, step, optimizerStep } = native.state
    const memory = this.#memory
    const { unet, schedule, sampler, precision, ema, tasksLearned } = this
    const reading = (['student', 'ema', 'teacher', 'exp_avg', 'exp_avg_sq', 'path_start', 'path_integral'] as const)
      .filter((slot) => call(() => native.hasSlot(slot)))
      .map(async (slot): Promise<[Slot, Float32Array[]]> => [slot, await call(() => native.readSlot(slot))])
    const readingPenalties = call(() => native.readPenalties())
    const slots = new Map(await Promise.all(reading))
    const penalties: StoredPenalty[] = await readingPenalties
    const record = { seed, step, optimizerStep, tasksLearned, taskInHand, ema, precision, schedule, sampler }
    await writeLearnerFolder(folder, { unet, record, parameters: native.parameters, slots, penalties, memory })
  }

  /** Gives back the memory on the device. Using the learner afterwards throws `ERR_DISPOSED`; disposing again does nothing. */
  async dispose(): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    await this.#images.dispose()
    call(() => this.#native.dispose())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }

  #live(): NativeLearner {
    if (this.#disposed) throw disposedError('the learner')
    return this.#native
  }

  /** Does what changes the weights in several calls of the engine, with nothing else that does so between them. */
  async #alone<T>(what: 'learn' | 'step', where: string, work: () => Promise<T>): Promise<T> {
    this.#checkIdle(where)
    this.#busy = what
    try {
      return await work()
    } finally {
      this.#busy = undefined
    }
  }

  /** Draws the student's weights anew: for each task others, all of them a function of the learner's seed. */
  async #renewWeights(task: number): Promise<void> {
    const { unet, schedule, device, precision, ema } = this
    const seed = (this.seed ^ Math.imul(task, 0x9e3779b9)) >>> 0
    const fresh = await call((addon) => addon.createLearner({ unet, schedule, device, precision, seed, emaDecay: 0 }))
    try {
      const weights = await call(() => fresh.readSlot('student'))
      await call(() => this.#native.writeSlot('student', weights))
      if (ema > 0) await call(() => this.#native.writeSlot('ema', weights))
    } finally {
      call(() => fresh.dispose())
    }
  }

  /**
   * Looks at the weights after a task's last update, where no next step's loss would show that they have diverged: what follows would
   * freeze them. A weight that isn't finite makes some of the network's answer so, as every one of them is in it.
   */
  async #checkSound(where: string): Promise<void> {
    const { in_channels: channels, sample_size: size } = this.unet
    const image = { data: new Float32Array(channels * size * size), shape: [1, channels, size, size] }
    const { data } = await call(() => this.#native.predict('student', image, Int32Array.of(0)))
    if (data.every(Number.isFinite)) return
    this.#hand = undefined
    throw new ContinualDiffusionError(
      'ERR_DIVERGED',
      `${where}: the network's answer is not finite after the task's last step, step ${this.stepsDone} of the learner; nothing was ` +
        'kept of the task and the teacher is as before, but the weights are spoilt: lower the learning rate and begin again, from a ' +
        'saved learner',
    )
  }

  /** What a task leaves behind: penalties, memory and teacher, all of it or, after an abort, nothing. */
  async #endTask(task: Task, keeps: Keeps, pool: NativePool, signal: AbortSignal | undefined): Promise<void> {
    const { consolidations = [], memory, teacherDecay } = keeps
    const hand = this.#hand
    // Whatever fails from here on leaves an end that can't be done again: only an abort that changed nothing can.
    this.#hand = undefined
    if (consolidations.length > 0) {
      let over = false
      const consolidating = withCancel(signal, async (flag) => {
        over = await call(() => this.#native.consolidate(consolidations, pool, flag)).then(() => true)
      })
      await consolidating.catch((error: unknown) => {
        if (over) return // the abort came too late
        if (signal?.aborted) this.#hand = hand
        throw error
      })
    }
    if (memory) this.#memory = await remember(this.#memory, task, memory, this.seed)
    await call(() => this.#native.freezeTeacher(teacherDecay))
    if (call(() => this.#native.hasSlot('path_start'))) await call(() => this.#native.followPath(false))
    this.#tasksLearned = task.number
  }

  /** The task in hand, if it is this one; undefined where it is to be begun. */
  #toResume(task: number, settings: Record<string, unknown>, where: string): StoredTaskInHand | undefined {
    if (this.#hand === undefined) {
      if (task > this.#tasksLearned) return undefined
      throw invalid(
        `${where}: there is nothing to resume: ${this.#tasksLearned} tasks were learned to their ends; expected a task after these`,
      )
    }
    checkSame(this.#hand, task, settings, where)
    return this.#hand
  }

  #checkIdle(where: string): void {
    if (this.#busy === 'learn') {
      throw invalid(`${where}: learn() is taking steps at the moment; wait for its next progress`)
    }
    if (this.#busy === 'step') throw invalid(`${where}: a step() is under way at the moment; wait for its end`)
  }

  #sampledSlot(): 'student' | 'ema' {
    return this.ema > 0 ? 'ema' : 'student'
  }

  #checkImages(subsets: readonly Subset[], where: string): void {
    const { in_channels: channels, sample_size: size } = this.unet
    for (const { dataset } of subsets) {
      const { name, height, width } = dataset
      if (dataset.channels !== channels) {
        throw invalid(
          `${where}: the images of ${name} have ${dataset.channels} channels; expected the U-Net's ${channels}`,
        )
      }
      if (dataset.size === undefined ? height !== size || width !== size : dataset.size !== size) {
        const found = dataset.size === undefined ? `${height} × ${width}` : `${dataset.size} × ${dataset.size}`
        throw invalid(
          `${where}: the images of ${name} are ${found}; expected ${size} × ${size}, the U-Net's sample_size; ` +
            `load them with { size: ${size} }, or change the U-Net`,
        )
      }
    }
  }

  #checkTerms({ terms }: Objective, memory: readonly Subset[], where: string): void {
    const teacher = terms.find(({ source, target }) => source.kind === 'teacher' || target === 'teacher')
    if (teacher && !call(() => this.#native.hasSlot('teacher'))) {
      throw invalid(
        `${where}: the term ${teacher.source.kind} → ${teacher.target} needs a frozen teacher and there is none; ` +
          'learn an earlier task first, or call freezeTeacher()',
      )
    }
    if (terms.some(({ source }) => source.kind === 'memory') && memory.every(({ indices }) => indices.length === 0)) {
      throw invalid(
        `${where}: a term draws from the memory, which is empty; learn an earlier task by a method that keeps one, or give ` +
          'learn() images as its option memory',
      )
    }
  }

  async #checkPenalties(penalties: readonly Penalty[], where: string): Promise<void> {
    const kept = new Set((await call(() => this.#native.penalties())).map(({ name }) => name))
    const missing = penalties.find(({ name }) => !kept.has(name))
    if (missing) {
      throw invalid(
        `${where}: the penalty '${missing.name}' needs what was consolidated when an earlier task ended, and there is ` +
          'nothing; learn an earlier task by a method that consolidates it first',
      )
    }
  }

  #checkKeeps({ consolidations = [], memory }: Keeps, task: Task, where: string): void {
    for (const consolidation of consolidations) {
      if ('timesteps' in consolidation && consolidation.timesteps) {
        this.#checkTimesteps(consolidation.timesteps, `${where}: the penalty '${consolidation.penalty}'`)
      }
    }
    if (memory === undefined) return
    const seen = countImages([...task.earlier, task].map(({ train }) => train))
    if (memory.size > seen) {
      throw invalid(
        `${where}: the memory is to hold ${memory.size} images, and the tasks so far have ${seen}; expected at most these`,
      )
    }
  }

  #checkTimesteps([from, to]: readonly [number, number], where: string): void {
    const total = this.schedule.timesteps
    if (!(Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from < to && to <= total)) {
      throw invalid(`${where} has the timesteps [${from}, ${to}); expected integers with 0 ≤ from < to ≤ ${total}`)
    }
  }

  #shapeOf(data: Float32Array, timesteps: Int32Array, where: string): number[] {
    const { in_channels: channels, sample_size: size } = this.unet
    const shape = [timesteps.length, channels, size, size]
    const expected = timesteps.length * channels * size * size
    if (!(data instanceof Float32Array) || data.length !== expected || expected === 0) {
      throw invalid(
        `${where} has ${data.length} elements; expected a Float32Array of ${expected}: ` +
          `${shape.join(' × ')}, as there are ${timesteps.length} timesteps`,
      )
    }
    const outside = timesteps.find((t) => t < 0 || t >= this.schedule.timesteps)
    if (outside !== undefined) {
      throw invalid(`${where}: timestep ${outside}; expected 0 … ${this.schedule.timesteps - 1}`)
    }
    return shape
  }
}

interface Settings {
  unet: UNetConfig
  schedule: ScheduleConfig
  sampler: SamplerConfig
  device: string
  precision: 'fp32' | 'tf32' | 'bf16'
  ema: number
  images: ImageStore | undefined
}

/** A report step by step. */
function stepsOf(report: NativeTrainReport, { step, steps }: TaskInHand, names: readonly string[]): StepLosses[] {
  const terms = report.terms.length / report.steps
  return Array.from({ length: report.steps }, (_, i) => ({
    step: step + i + 1,
    steps,
    loss: report.losses[i] as number,
    terms: [...report.terms.subarray(i * terms, (i + 1) * terms)],
    penalties: Object.fromEntries(names.map((name, n) => [name, report.penalties[i * names.length + n] as number])),
    gradNorm: report.gradNorms[i] as number,
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
  }
}

function countImages(subsets: readonly Subset[]): number {
  return subsets.reduce((sum, { indices }) => sum + indices.length, 0)
}
