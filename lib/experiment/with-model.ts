import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { type LearnerFolder, readLearnerFolder } from '../checkpoint/learner-folder.js'
import { type ScheduleConfig, scheduleSchema } from '../config/schedule.js'
import { parseUNetConfig } from '../config/unet.js'
import { readFolder } from '../engine/whole-folder.js'
import { invalid } from '../errors.js'
import { checksumOf } from '../files/checksum.js'
import { isRecord, parseOptions } from '../validation/options.js'
import type { ExperimentInput } from './config.js'
import { type FromConfig, fromSchema } from './from.js'

const inputSchema = z.looseObject({
  from: fromSchema,
  schedule: scheduleSchema.optional(),
  unet: z.unknown().optional(),
})

/**
 * Reads the model that an experiment's key `from` names, and puts its U-Net and its noise schedule into the experiment, as {@link resolveExperiment}
 * takes it. {@link runExperiment} does so itself. An experiment without `from` is given back as it is.
 *
 * @param where the beginning of error messages, e.g. a file's path
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a saved learner's folder, a model without a size where `from.sampleSize` doesn't say one, or
 *   another `unet` or `schedule` beside `from`; `ERR_BAD_CHECKPOINT` for what is wrong in the folder
 *
 * @category Configuration
 */
export async function withModel(input: ExperimentInput, where = 'experiment'): Promise<ExperimentInput> {
  if (!isRecord(input) || input.from === undefined) return input
  const { from, schedule: given, unet: expected } = parseOptions(inputSchema, input, where)
  const { folder } = from
  const { unet, schedule, record } = await read(from, given)
  if (record !== null) {
    throw invalid(
      `${where}: from is ${folder}, the folder of a saved learner; expected a diffusers model's. A learner goes on by Learner.load and learn(). ` +
        'To begin with its weights alone, copy the folder without learner.json and training.safetensors',
    )
  }
  if (unet.sample_size === null) {
    throw invalid(
      `${where}: the model of from, ${folder}, doesn't say how large its images are; expected from to be an object with folder and sampleSize`,
    )
  }
  if (expected !== undefined && !isDeepStrictEqual(parseUNetConfig(expected, `${where}: unet`), unet)) {
    throw invalid(`${where}: unet is given, and from names a model with another one, ${folder}; leave unet out`)
  }
  return { ...input, unet, schedule } as ExperimentInput
}

/** SHA-256 of the files that a model is made of. */
export async function digestOfModel({
  from,
  schedule,
}: {
  from: FromConfig
  schedule: ScheduleConfig
}): Promise<string> {
  const { modelFiles } = await read(from, schedule)
  const hash = createHash('sha256')
  for (const file of await modelFiles()) hash.update((await checksumOf(file)).sha256)
  return hash.digest('hex')
}

function read(
  { folder, variant, sampleSize }: FromConfig,
  schedule: ScheduleConfig | undefined,
): Promise<LearnerFolder> {
  return readFolder(folder, (at) => readLearnerFolder(at, { variant, sampleSize, schedule }))
}
