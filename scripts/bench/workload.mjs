/**
 * The work that the benchmarks time, straight on the native engine: steps of generative distillation at task 2 of Split
 * Fashion-MNIST, and DDIM sampling. Weights are fresh and images few: what they hold doesn't change what a step costs.
 */
import { availableParallelism } from 'node:os'
import { resolveDevice } from '../../dist/engine/device.js'
import { loadAddon } from '../../dist/engine/load.js'
import { ResidentImages } from '../../dist/engine/resident-images.js'
import { sampleUses } from '../../dist/engine/sample-use.js'
import {
  classIncremental,
  fashionMnist,
  generativeDistillation,
  paperSampler,
  paperSchedule,
  presets,
} from '../../dist/index.js'
import { createNative } from '../../dist/learner/core.js'
import { parseObjective } from '../../dist/methods/objective-schema.js'
import { countOf } from './options.mjs'

/** @typedef {import('../../dist/index.js').Objective} Objective */
/** @typedef {import('../../dist/index.js').Term} Term */
/** @typedef {Awaited<ReturnType<typeof settings>>} Settings */

/** google/ddpm-cifar10-32's network (arXiv 2006.11239), as diffusers has it; for the images of the other two in colour. */
const ddpmCifar10 = /** @type {const} */ ({
  ...presets.cifar10,
  attention_head_dim: null,
  downsample_padding: 0,
  flip_sin_to_cos: false,
  freq_shift: 1,
  norm_eps: 1e-6,
})

/** The U-Nets by the name that `--model` gives them. */
export const models = /** @type {const} */ ({
  paper: presets.fashionMnist,
  demo: presets.demo,
  'ddpm-cifar10': ddpmCifar10,
})

/** What `parseArgs` is told of the options that all benchmarks have. */
export const sharedOptions = /** @type {const} */ ({
  model: { type: 'string' },
  batch: { type: 'string', default: '32' },
  precision: { type: 'string', default: 'auto' },
  device: { type: 'string', default: 'cpu' },
  threads: { type: 'string', default: String(availableParallelism()) },
})

/**
 * Checks the options, and sets the number of libtorch's threads, which it reads when it is loaded: nothing of it may run
 * before.
 * @param {{ model: string, batch: string, precision: string, device: string, threads: string }} options
 */
export async function settings({ model, batch, precision, device, threads }) {
  if (!(model in models)) throw new Error(`--model is ${model}; expected ${Object.keys(models).join(' or ')}`)
  const [images, cores] = [countOf('--batch', batch), countOf('--threads', threads)]
  process.env.OMP_NUM_THREADS = threads
  const resolved = await resolveDevice(
    /** @type {import('../../dist/index.js').Device} */ (device),
    /** @type {import('../../dist/index.js').Precision} */ (precision),
  )
  return {
    model: /** @type {keyof typeof models} */ (model),
    batch: images,
    threads: cores,
    ...resolved,
  }
}

export const method = generativeDistillation({ lambda: 0.75, teacher: { steps: 2 } })

const [real, replayed] = /** @type {readonly [Term, Term]} */ (method.objective(2).terms)
/** The step that is timed, and the same step with parts left out; the student's batch is as large in all of them. */
export const objectives = /** @satisfies {Record<string, Objective>} */ ({
  whole: { terms: [real, replayed] },
  withoutSampling: { terms: [real, { ...replayed, source: { kind: 'gaussian' } }] },
  withoutTeacher: { terms: [real, { ...real, source: { kind: 'memory' } }] },
})

/** The paper's. */
const optimizer = /** @type {const} */ ({ lr: 2e-4, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0, clipGradNorm: 1 })
const neverCancelled = new Int32Array(1)

/**
 * The second task, the first that has a teacher.
 * @param {keyof typeof models} model whose images' size it has
 */
export async function secondTask(model) {
  const { sample_size: size, in_channels: channels } = models[model]
  const { train, test } = await fashionMnist({ subset: true, size })
  const data = { train: inChannels(train, channels), test: inChannels(test, channels) }
  const { tasks } = classIncremental(data, { tasks: 5, seed: 42 })
  return /** @type {import('../../dist/index.js').Task} */ (tasks[1])
}

/**
 * Grey images with so many equal channels.
 * @param {import('../../dist/index.js').Dataset} grey @param {number} channels
 */
function inChannels(grey, channels) {
  if (channels === 1) return grey
  const images = new Uint8Array(grey.images.length * channels).map((_, i) => grey.images[Math.floor(i / channels)] ?? 0)
  return { ...grey, images, channels }
}

/**
 * A learner with a teacher, and what can be done with it.
 * @param {Settings} settings
 * @param {import('../../dist/index.js').Group} [group]
 */
export async function createWorkload({ model, batch, device, precision }, group) {
  const addon = loadAddon()
  const unet = models[model]
  const native = await createNative({ unet, schedule: paperSchedule, device, precision, ema: 0, group }, 42)
  await native.freezeTeacher()
  const images = new ResidentImages(device, unet.sample_size)
  const task = await images.pool([(await secondTask(model)).train])

  /** @param {Objective} objective */
  const resolve = (objective) => parseObjective(objective, paperSchedule.timesteps, 'bench')
  /** @param {Objective} objective @param {number} batchSize */
  const begin = (objective, batchSize) =>
    native.beginSession({
      objective: resolve(objective),
      task,
      memory: task,
      batchSize,
      horizontalFlip: false,
      optimizer,
    })
  /** @type {Map<Objective, ReturnType<typeof begin>>} */
  const sessions = new Map()
  /** @param {Objective} objective */
  const sessionOf = (objective) => {
    const session = sessions.get(objective) ?? begin(objective, batch)
    sessions.set(objective, session)
    return session
  }
  return {
    native,
    /** @param {number} steps @param {Objective} [objective] */
    train: async (steps, objective = objectives.whole) =>
      (await sessionOf(objective)).run({ steps, milliseconds: Number.POSITIVE_INFINITY }, neverCancelled),
    /** The draws of the next step. */
    draw: async () => (await sessionOf(objectives.whole)).draw(),
    /** Losses and gradient of given draws of a whole step. @param {import('../../dist/engine/native-learner.js').NativeDraws[]} draws */
    compute: (draws) => native.compute(resolve(objectives.whole), draws),
    /** Makes a gradient for `update`, of few images: it is as large for one as for many. */
    gradient: async () => {
      const session = await begin({ terms: [real] }, 1)
      await native.compute(resolve({ terms: [real] }), await session.draw())
      session.dispose()
    },
    update: async () => {
      await native.update(optimizer)
      // CUDA has only been asked for it. What is read back from there comes after it.
      for (const part of task.slice(0, 1)) await addon.readImages(part.images, part.indices.subarray(0, 1))
    },
    /** @param {number} count images, all at once @param {number} steps @param {import('../../dist/index.js').SamplerConfig['kind']} [kind] */
    sample: (count, steps, kind = 'ddim') => {
      const sampler = { ...paperSampler, steps, kind }
      return native.sample(
        {
          weights: 'student',
          count,
          batchSize: count,
          sampler,
          seed: 1,
          use: { purpose: sampleUses.sampling, part: 0 },
          format: 'uint8',
        },
        neverCancelled,
      )
    },
  }
}
