import { z } from 'zod'
import { learnSchema as solverSchema } from '../classifiers/solver.js'
import { samplerSchema } from '../config/sampler.js'
import { scheduleSchema } from '../config/schedule.js'
import { unetSchema } from '../config/unet.js'
import { knownSources } from '../data/known.js'
import { ContinualDiffusionError } from '../errors.js'
import { oneLength, trainShape } from '../learner/options.js'
import { isPermutation } from '../streams/class-incremental.js'
import { deviceSchema, precisionSchema, seedSchema } from '../validation/fields.js'
import { isRecord, parseOptions } from '../validation/options.js'
import { dataSchema } from './data.js'
import { methodEntrySchema, type ResolvedMethod, resolveMethod } from './methods.js'
import { evaluationSchema } from './metrics.js'
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

/**
 * Schema of a whole experiment. Files, the command line and {@link runExperiment} share it; what is left out gets the
 * default named here, and a key that isn't known is refused.
 *
 * @category Configuration
 */
export const experimentSchema = z
  .strictObject({
    /** Heading of the report. Default: made of the data set and the number of tasks. */
    title: z.string().min(1).optional(),
    /** Where the images come from; for the stream `from-datasets` a list, one for each task. */
    data: z.union([z.array(dataSchema).min(1), dataSchema]),
    /** Default: class-incremental in five tasks. */
    stream: streamSchema.prefault({}),
    unet: unetSchema,
    schedule: scheduleSchema.prefault({}),
    /** For evaluation and for the grids of samples. */
    sampler: samplerSchema.prefault({}),
    /** Decay of the moving average of the weights that teacher and samples use; 0: none. Default 0. */
    ema: z.number().min(0).lt(1).default(0),
    device: deviceSchema.default('auto'),
    precision: precisionSchema.default('auto'),
    train: z.strictObject(trainShape).refine(...oneLength),
    /** Names of methods, or objects of a name, the method's own options and, for tables and folders, a `label`. */
    methods: unique(methodEntrySchema, (entry) => entry.label, 'label'),
    /** Each method runs once with each seed, which decides the class order, the first weights and every draw. */
    seeds: unique(seedSchema, (value) => value, 'seed').default([42]),
    evaluation: evaluationSchema.prefault({}),
    /** The grids of samples drawn after each task. */
    samples: z.strictObject({ count: positive.default(36), columns: positive.default(6) }).prefault({}),
    /** The classifier that the metrics are computed with; it is trained on the whole data set once and then cached. */
    classifier: z.strictObject({ epochs: z.number().positive().optional() }).prefault({}),
    /**
     * Teaches a solver, a classifier that learns the same stream through each learner's replay, and says how much of every task it
     * knows; see `SolverLearnOptions`. Default: none.
     */
    solver: solverSchema.omit({ sampler: true, signal: true, onProgress: true }).optional(),
    /**
     * How often a run keeps what it would go on from: always at the end of a task, and in mid-task as said here. On the disk one in
     * mid-task takes 16 to 20 bytes for each of the U-Net's parameters, and 8 more for each quadratic of a penalty; one at a task's
     * end refers to the learner that is saved there anyway.
     */
    checkpoints: z
      .strictObject({
        /** Training steps between two. Default: not by steps. */
        everySteps: positive.optional(),
        /** Minutes of training between two; 0: not by time. Default 10. */
        everyMinutes: z.number().min(0).default(10),
        /** The newest ones that stay while the run is under way. Default 3. */
        keep: positive.default(3),
      })
      .prefault({}),
    /**
     * Trains the first task once for each seed and lets every method take it over whose objective for it is the same:
     * the result is that of training it again, in less time. Default true.
     */
    shareFirstTask: z.boolean().default(true),
    /** Folder that the run writes, new or empty. Default: `runs/<name>`, numbered where that exists. */
    out: z.string().min(1).optional(),
  })
  .superRefine(({ data, stream, unet, schedule, sampler, evaluation }, context) => {
    const refuse = (path: PropertyKey[], message: string) => context.addIssue({ code: 'custom', path, message })
    for (const [i, { size }] of [data].flat().entries()) {
      const at = Array.isArray(data) ? ['data', i] : ['data']
      if (size !== undefined && size !== unet.sample_size) {
        refuse([...at, 'size'], `expected unet.sample_size, which is ${unet.sample_size}`)
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
        refuse([...at, 'folder'], 'expected none: the subset, which is asked for, is part of this package')
      }
      // Of these what matters is known before they are read.
      if (one.name !== 'fashion-mnist' && one.name !== 'mnist') continue
      if (unet.in_channels !== 1) refuse(['unet', 'in_channels'], `expected 1: the images of ${one.name} are grey`)
      if (stream.kind !== 'class-incremental') continue
      const classes = knownSources[one.name].classes.length
      if (classes % stream.tasks !== 0) {
        refuse(['stream', 'tasks'], `expected a divisor of ${classes}, the number of classes of ${one.name}`)
      }
      if (stream.order !== undefined && !isPermutation(stream.order, classes)) {
        refuse(['stream', 'order'], `expected each of 0 … ${classes - 1} once`)
      }
    }
    if (sampler.steps > schedule.timesteps) {
      refuse(['sampler', 'steps'], `expected at most schedule.timesteps, which is ${schedule.timesteps}`)
    }
    if (evaluation.areaSteps?.some((steps) => steps > schedule.timesteps)) {
      refuse(['evaluation', 'areaSteps'], `expected at most schedule.timesteps, which is ${schedule.timesteps}`)
    }
  })
  .transform(({ data: given, ...config }) => {
    const data = [given].flat().map((one) => ({ ...one, size: config.unet.sample_size }))
    return { ...config, title: config.title ?? titleOf(data, config.stream), data }
  })

/**
 * A whole experiment with all defaults filled in; as `config.json` it can be run again.
 *
 * @category Configuration
 */
export type ExperimentConfig = z.output<typeof experimentSchema>

/**
 * T with every part of every section left out at will.
 *
 * @category Configuration
 */
export type Loose<T> = T extends readonly unknown[] ? T : T extends object ? { [K in keyof T]?: Loose<T[K]> } : T

/**
 * An experiment as it is written down: whole, or as what differs from a preset.
 *
 * @category Configuration
 */
export type ExperimentInput =
  | z.input<typeof experimentSchema>
  | ({ readonly preset: PresetName } & Loose<z.input<typeof experimentSchema>>)

/**
 * Fills in a preset, where one is named, and the defaults, and checks everything that can be checked before any data is
 * read. Inside sections such as `train` only the given keys replace the preset's; lists are replaced whole, and so
 * are `data` of another name and a `stream` of another kind.
 *
 * @param where what messages start with, e.g. a file's path
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` that names each wrong key or value, and for an unknown key or
 *   method the nearest known one
 *
 * @category Configuration
 */
export function resolveExperiment(input: ExperimentInput, where = 'experiment'): ExperimentConfig {
  return resolveWithMethods(input, where).config
}

/** An experiment's configuration, and its methods as values, in the same order. */
export interface ResolvedExperiment {
  readonly config: ExperimentConfig
  readonly methods: readonly ResolvedMethod[]
}

/** As {@link resolveExperiment}, with the methods, which are made to be checked. */
export function resolveWithMethods(input: ExperimentInput, where = 'experiment'): ResolvedExperiment {
  const { preset: name, ...given } = parseOptions(
    z.looseObject({ preset: z.enum(presetNames, `expected one of ${presetNames.join(', ')}`).optional() }),
    input,
    where,
  )
  const config = parseOptions(experimentSchema, name === undefined ? given : merge(presets[name], given), where)
  const methods = config.methods.map((entry) => {
    try {
      return resolveMethod(entry, config.schedule.timesteps)
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
