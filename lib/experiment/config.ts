import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { learnSchema as solverSchema } from '../classifiers/solver-options.js'
import { emaSchema } from '../config/ema.js'
import { experimentSamplerSchema, samplerProblems, samplerSteps } from '../config/sampler.js'
import { scheduleSchema } from '../config/schedule.js'
import { hasClassTable, isConditional, unetSchema } from '../config/unet.js'
import { knownSources } from '../data/known.js'
import { ContinualDiffusionError, invalid } from '../errors.js'
import { oneLength, trainShape } from '../learner/schemas.js'
import { classesOfTasks, isPermutation, tasksExpected } from '../streams/class-incremental.js'
import { deviceSchema, precisionSchema, seedSchema, threadsSchema } from '../validation/fields.js'
import { nearest } from '../validation/names.js'
import { isRecord, parseOptions, shown } from '../validation/options.js'
import { type ImageSize, isSameSize, writtenSize } from '../validation/size.js'
import { dataSchema } from './data.js'
import { fromSchema } from './from.js'
import { methodEntrySchema, type ResolvedMethod, resolveMethod } from './methods.js'
import { conditionalMetrics, evaluationSchema } from './metrics.js'
import { partSchema } from './part.js'
import { type PresetName, presetNames, presets } from './presets.js'
import { streamSchema } from './stream.js'
import { titleOf } from './title.js'

const positive = z.int().min(1)

function unique<T extends z.ZodType>(schema: T, key: (value: z.output<T>) => unknown, what: string) {
  return z
    .array(schema)
    .min(1)
    .refine((values) => new Set(values.map(key)).size === values.length, { message: `expected each ${what} once` })
}

/** A network that learns from data sets, whose images are resized to what it takes. */
const trainableUNet = unetSchema
  .superRefine((unet, context) => {
    const refuse = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
    if (unet.sample_size === null) {
      refuse('sample_size', 'expected the side of squares, or [height, width]: images are resized to it')
    }
    if (unet.out_channels !== unet.in_channels) {
      refuse('out_channels', `expected in_channels, which is ${unet.in_channels}`)
    }
  })
  .transform((unet) => ({ ...unet, sample_size: unet.sample_size as ImageSize }))

/**
 * Schema of a whole experiment. Experiment files, the command line and {@link runExperiment} share it. Keys that are left out have the
 * defaults given here. An unknown key is an error.
 *
 * @category Configuration
 */
export const experimentSchema = z
  .strictObject({
    /** Heading of the report. Default: made from the names of the data sets and the number of tasks. */
    title: z.string().min(1).optional(),
    /** The data set; for the stream `from-datasets` a list of data sets, one for each task. */
    data: z.union([z.array(dataSchema).min(1), dataSchema]),
    /** Default: class-incremental in five tasks. */
    stream: streamSchema.prefault({}),
    /**
     * The pretrained model that all learners begin as, the teacher of task 1: the folder of a diffusers model or of its pipeline, or an object. The model
     * says `unet` and `schedule`. Default: none, the first weights are drawn by the seed.
     */
    from: fromSchema.optional(),
    unet: trainableUNet,
    schedule: scheduleSchema.prefault({}),
    /** The sampler of evaluation and of the grids of samples. */
    sampler: experimentSamplerSchema.prefault({}),
    /** The moving average of the weights, which teacher and sampling use: its decay, or a decay with warm-up. Default 0: no average. */
    ema: emaSchema.default(0),
    device: deviceSchema.default('auto'),
    precision: precisionSchema.default('auto'),
    /** Threads of the CPU that compute the networks. Another number gives other digits. Default: libtorch's, see `OMP_NUM_THREADS`. */
    threads: threadsSchema.optional(),
    train: z.strictObject(trainShape).refine(...oneLength),
    /** The methods. Each is a name, or an object with `name`, the method's options and, for tables and folders, a `label`. */
    methods: unique(methodEntrySchema, (entry) => entry.label, 'label'),
    /** Each method runs once with each seed. The seed decides the class order, the first weights and all random draws. */
    seeds: unique(seedSchema, (value) => value, 'seed').default([42]),
    evaluation: evaluationSchema.prefault({}),
    /** The grid of samples that is generated after each task: number of images, and of images in a row. */
    samples: z
      .strictObject({
        count: positive.max(10_000).default(36),
        columns: positive.max(10_000).default(6),
        /**
         * Training steps between two small grids of samples of the current weights, which the live page shows during a task; 0: none. They change
         * nothing that is computed. Default: as many as take no more than 1 % of the training's time.
         */
        everySteps: z.int().min(0).optional(),
      })
      .prefault({}),
    /** The classifier of the metrics. It is trained on the whole data set once, and then cached. */
    classifier: z.strictObject({ epochs: z.number().positive().optional() }).prefault({}),
    /**
     * Options of a solver, a classifier that learns the same stream with each learner's replay; see `SolverLearnOptions`. The results then have
     * its accuracy on every task seen. It replays the method's pool, where there is one. Default: no solver; one of 5 epochs for a method
     * that draws evenly by class from a pool.
     */
    solver: solverSchema.omit({ sampler: true, replay: true, signal: true, onProgress: true }).optional(),
    /**
     * How often a run writes a checkpoint, from which it can be resumed. It writes one at the end of every task, and during a task as these
     * options say. A checkpoint during a task takes 16 to 20 bytes on the disk for each parameter of the U-Net, and 8 more for each quadratic
     * of a penalty. A checkpoint at the end of a task takes nearly nothing, as the learner is saved there anyway.
     */
    checkpoints: z
      .strictObject({
        /** Training steps between two checkpoints. Default: steps don't count. */
        everySteps: positive.optional(),
        /** Minutes of training between two checkpoints; 0: time doesn't count. Default 10. */
        everyMinutes: z.number().min(0).default(10),
        /** Number of the newest checkpoints that are kept during the run. Default 3. */
        keep: positive.default(3),
      })
      .prefault({}),
    /**
     * Which learners stay in the run folder: `all`, that of each method's `last` task, or `none`. Others are removed when the run needs them no
     * more. Default `all`.
     */
    keepLearners: z.enum(['all', 'last', 'none']).default('all'),
    /**
     * Whether the first task is trained once for each seed, and shared by all methods that have the same objective for it. The results are the
     * same as when each method trains it, in less time. Default true.
     */
    shareFirstTask: z.boolean().default(true),
    /**
     * `tensorboard`: the run also writes TensorBoard's event files into its folder, `tensorboard/<method>/seed-<seed>`. Default: none.
     */
    log: z.enum(['tensorboard']).optional(),
    /**
     * Which part of the experiment is run, of several that any machines may run at once: each has some of the methods with some of the seeds, which
     * are independent of each other. `compare` and `report` join them. Default: all of it.
     */
    part: partSchema.optional(),
    /** Folder of the run, new or empty; of a part, that of all parts. Default: `runs/<name>`, with a number if that exists and there is no part. */
    out: z.string().min(1).optional(),
  })
  .superRefine(({ data, stream, from, unet, schedule, sampler, train, evaluation, solver }, context) => {
    const refuse = (path: PropertyKey[], message: string) => context.addIssue({ code: 'custom', path, message })
    for (const [i, { size }] of [data].flat().entries()) {
      const at = Array.isArray(data) ? ['data', i] : ['data']
      if (size !== undefined && !isSameSize(size, unet.sample_size)) {
        refuse([...at, 'size'], `expected unet.sample_size, which is ${writtenSize(unet.sample_size)}`)
      }
    }
    const several = Array.isArray(data) && data.length > 1
    if (several && stream.kind !== 'from-datasets') {
      refuse(
        ['data'],
        `expected one data set: only the stream from-datasets takes several, and this one is ${stream.kind}`,
      )
    }
    for (const [i, one] of [data].flat().entries()) {
      const at = Array.isArray(data) ? ['data', i] : ['data']
      if (one.name === 'fashion-mnist' && one.subset && one.folder !== undefined) {
        refuse(
          [...at, 'folder'],
          'expected none: the subset is part of this package; for other images name their format too, e.g. image-folder (data.name, or --data)',
        )
      }
      if (one.name === 'image-folder' && (one.channels ?? unet.in_channels) !== unet.in_channels) {
        refuse([...at, 'channels'], `expected unet.in_channels, which is ${unet.in_channels}`)
      } else if (one.name === 'image-folder' && unet.in_channels !== 1 && unet.in_channels !== 3) {
        refuse(['unet', 'in_channels'], 'expected 1 or 3: the images of a folder are made grey or RGB')
      }
      // Of these what matters is known before they are read.
      if (one.name !== 'fashion-mnist' && one.name !== 'mnist') continue
      if (unet.in_channels !== 1) refuse(['unet', 'in_channels'], `expected 1: the images of ${one.name} are grey`)
      if (stream.kind !== 'class-incremental') continue
      const classes = knownSources[one.name].classes.length
      if (classesOfTasks(stream.tasks, classes) === undefined) {
        refuse(['stream', 'tasks'], tasksExpected(classes, one.name, stream.tasks))
      }
      if (stream.order !== undefined && !isPermutation(stream.order, classes)) {
        refuse(['stream', 'order'], `expected each of 0 … ${classes - 1} once`)
      }
    }
    const labelled = evaluation.metrics.find((name) => conditionalMetrics.includes(name))
    if (labelled !== undefined && !isConditional(unet)) {
      refuse(['evaluation', 'metrics'], `expected no ${labelled}: the U-Net takes no labels; give it num_class_embeds`)
    }
    if (solver?.target === 'labels' && !isConditional(unet)) {
      refuse(['solver', 'target'], "expected 'soft-labels': the U-Net takes no labels; give it num_class_embeds")
    }
    if (unet.class_embed_type === 'identity') {
      refuse(['unet', 'class_embed_type'], "expected null or 'timestep': the labels of images are classes, not vectors")
    }
    if (train.labelDropout > 0 && !hasClassTable(unet)) {
      refuse(['train', 'labelDropout'], 'expected 0: the U-Net has no table of classes; give it num_class_embeds')
    }
    if (train.grow && !hasClassTable(unet)) {
      refuse(['train', 'grow'], 'expected false: the U-Net has no table of classes; give it num_class_embeds')
    }
    if (typeof train.replayLabels === 'object' && !isConditional(unet)) {
      refuse(['train', 'replayLabels'], 'expected no weights: the U-Net takes no labels; give it num_class_embeds')
    }
    if (sampler.guidance && train.labelDropout === 0) {
      refuse(
        ['sampler', 'guidance'],
        'expected none: the null label is not learned; give train a labelDropout, e.g. 0.1',
      )
    }
    if (from && from.learnedBefore > 0 && isConditional(unet)) {
      refuse(
        ['from', 'learnedBefore'],
        "expected 0: the U-Net takes labels, and a model doesn't tell its classes' names",
      )
    }
    if (from && from.learnedBefore > 0 && solver) {
      refuse(['solver'], 'expected none: it would replay what the model of from learned, and knows no classes of that')
    }
    const steps = sampler.steps ?? samplerSteps(schedule, sampler)
    const most = `schedule.timesteps, which is ${schedule.timesteps}`
    for (const { path, message } of samplerProblems(schedule, { ...sampler, steps }, most)) {
      refuse(['sampler', ...path], message)
    }
    if ((evaluation.denoisingBands ?? 1) > schedule.timesteps) {
      refuse(['evaluation', 'denoisingBands'], `expected at most schedule.timesteps, which is ${schedule.timesteps}`)
    }
    if (evaluation.areaSteps?.some((steps) => steps > schedule.timesteps)) {
      refuse(['evaluation', 'areaSteps'], `expected at most schedule.timesteps, which is ${schedule.timesteps}`)
    }
  })
  .transform(({ data: given, ...config }) => {
    const data = [given].flat().map((one) => ({ ...one, size: config.unet.sample_size }))
    const sampler = { ...config.sampler, steps: config.sampler.steps ?? samplerSteps(config.schedule, config.sampler) }
    return { ...config, sampler, title: config.title ?? titleOf(data, config.stream), data }
  })

/**
 * A whole experiment with all defaults filled in. A run folder's `config.json` holds it, and can be run again.
 *
 * @category Configuration
 */
export type ExperimentConfig = z.output<typeof experimentSchema>

/**
 * T, where every key of every section may be left out.
 *
 * @category Configuration
 */
export type Loose<T> = T extends readonly unknown[] ? T : T extends object ? { [K in keyof T]?: Loose<T[K]> } : T

/**
 * An experiment as a user writes it: a whole experiment, one without `unet` whose key `from` names a model, or a preset's name with the keys that differ
 * from the preset.
 *
 * @category Configuration
 */
export type ExperimentInput =
  | z.input<typeof experimentSchema>
  | (Omit<z.input<typeof experimentSchema>, 'unet'> & {
      readonly from: NonNullable<z.input<typeof experimentSchema>['from']>
    })
  | ({ readonly preset: PresetName } & Loose<z.input<typeof experimentSchema>>)

/**
 * Fills in the preset (if one is named) and the defaults, and checks everything that can be checked before data is read. In a section such as
 * `train` only the given keys replace the preset's keys. A list replaces the preset's list as a whole; so do `data` with another name and
 * `stream` with another kind.
 *
 * @param input one with `from` as {@link withModel} gives it
 * @param where the beginning of error messages, e.g. a file's path
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`; the message names each wrong key or value, and suggests the nearest known name for an
 *   unknown key or method
 *
 * @category Configuration
 */
export function resolveExperiment(input: ExperimentInput, where = 'experiment'): ExperimentConfig {
  return resolveWithMethods(input, where).config
}

/** The keys of an experiment as it is written; the values are checked once the preset is there. */
const inputSchema = z.strictObject({
  $schema: z.string().optional(),
  preset: z.enum(presetNames, `expected one of ${presetNames.join(', ')}`).optional(),
  ...(Object.fromEntries(
    Object.keys(experimentSchema.def.in.shape).map((key) => [key, z.unknown().optional()]),
  ) as Record<keyof typeof experimentSchema.def.in.shape, z.ZodOptional<z.ZodUnknown>>),
})

/** An experiment's configuration, and its methods as values, in the same order. */
export interface ResolvedExperiment {
  readonly config: ExperimentConfig
  readonly methods: readonly ResolvedMethod[]
}

/** As {@link resolveExperiment}, with the methods, which are made to be checked. */
export function resolveWithMethods(input: ExperimentInput, where = 'experiment'): ResolvedExperiment {
  if (typeof input === 'string') {
    const example = nearest(input, presetNames) ?? 'demo'
    throw invalid(`${where} is ${shown(input)}; expected an object, e.g. { preset: '${example}' }`)
  }
  const { preset: name, $schema: _, ...given } = parseOptions(inputSchema, input, where)
  if (given.from !== undefined && given.unet === undefined) {
    throw invalid(`${where}: the model of from has not been read; give the experiment as withModel(experiment) has it`)
  }
  const preset: Record<string, unknown> = name === undefined ? {} : { ...presets[name] }
  // What the model says is all of it, and no change of the preset's.
  if (given.from !== undefined) delete preset.unet
  // It would replay what the model learned, of which it knows no classes.
  if (fromSchema.safeParse(given.from).data?.learnedBefore) delete preset.solver
  const config = parseOptions(experimentSchema, merge(preset, given), where)
  const methods = config.methods.map((entry) => {
    try {
      return resolveMethod(entry, config)
    } catch (error) {
      if (!(error instanceof ContinualDiffusionError)) throw error
      throw new ContinualDiffusionError(error.code, `${where}: ${error.message}`, { cause: error })
    }
  })
  return { config, methods }
}

function merge(preset: Readonly<Record<string, unknown>>, given: Readonly<Record<string, unknown>>) {
  const merged: Record<string, unknown> = { ...preset }
  for (const [key, value] of Object.entries(given)) {
    const base = merged[key]
    merged[key] = isRecord(base) && isRecord(value) && sameKind(key, base, value) ? { ...base, ...value } : value
  }
  // Its title is of its own data and stream.
  const changes = (key: string) => given[key] !== undefined && !isDeepStrictEqual(merged[key], preset[key])
  if (given.title === undefined && (changes('data') || changes('stream'))) delete merged.title
  // The two say the same thing in two ways, so that giving one replaces the other.
  const { train } = given
  if (isRecord(train) && isRecord(merged.train)) {
    if (train.epochs !== undefined && train.steps === undefined) delete merged.train.steps
    if (train.steps !== undefined && train.epochs === undefined) delete merged.train.epochs
  }
  return merged
}

/** Data and streams of another kind than the preset's have other keys, and so take none of the preset's. */
function sameKind(section: string, base: Record<string, unknown>, given: Record<string, unknown>): boolean {
  const key = section === 'data' ? 'name' : section === 'stream' ? 'kind' : undefined
  return key === undefined || given[key] === undefined || given[key] === base[key]
}
