import { createHash } from 'node:crypto'
import path from 'node:path'
import { addData } from '../data/digest.js'
import { ContinualDiffusionError } from '../errors.js'
import { checksumOf } from '../files/checksum.js'
import { isRecord } from '../validation/options.js'
import type { ExperimentConfig } from './config.js'
import type { Plan } from './plan.js'
import { digestOfModel } from './with-model.js'

/** SHA-256 of what a run reads from outside its folder, by the names that messages have for it. */
export type Inputs = Readonly<Record<string, string>>

/** The digests of the data, and of the pretrained model and the file of features where there is one. */
export async function inputsOf(
  { evaluation, from, schedule }: Pick<ExperimentConfig, 'evaluation' | 'from' | 'schedule'>,
  { data }: Plan,
): Promise<Inputs> {
  const hash = createHash('sha256')
  await addData(hash, data)
  const file = evaluation.features?.file
  return {
    data: hash.digest('hex'),
    ...(from && { [`from (${from.folder})`]: await digestOfModel({ from, schedule }) }),
    ...(file === undefined ? {} : { [`evaluation.features.file (${file})`]: (await checksumOf(file)).sha256 }),
  }
}

/**
 * Checks that a run goes on with what it began with.
 *
 * @param folder of the run
 * @throws ContinualDiffusionError `ERR_BAD_DATA` that names both digests of each input that differs
 */
export function checkInputs(folder: string, now: Inputs, before: Inputs): void {
  const changed = Object.keys(now).filter((name) => now[name] !== before[name])
  if (changed.length === 0) return
  const list = changed.map((name) => `${name} has the SHA-256 ${now[name]}; expected ${before[name] ?? 'none'}`)
  throw new ContinualDiffusionError(
    'ERR_BAD_DATA',
    `${folder}: the run began with other inputs: ${list.join('; ')}: put back what it began with, or begin a new run`,
  )
}

/** An experiment as a file has it, with the paths in it, which are relative to the file, as they are from here. */
export function fromFile(input: unknown, file: string): unknown {
  if (!isRecord(input)) return input
  const base = path.dirname(file)
  const at = (object: unknown, key: string) =>
    isRecord(object) && typeof object[key] === 'string' && object[key] !== ''
      ? { ...object, [key]: path.isAbsolute(object[key]) ? object[key] : path.join(base, object[key]) }
      : object
  const { data, evaluation, from } = input
  return {
    ...(at(at(input, 'out'), 'from') as object),
    ...(isRecord(from) && { from: at(from, 'folder') }),
    ...(data !== undefined && {
      data: Array.isArray(data) ? data.map((one) => at(one, 'folder')) : at(data, 'folder'),
    }),
    ...(isRecord(evaluation) && {
      evaluation: {
        ...evaluation,
        ...('features' in evaluation && { features: at(evaluation.features, 'file') }),
        ...('inception' in evaluation && { inception: at(evaluation.inception, 'file') }),
      },
    }),
  }
}

/** Relative paths of inputs are resolved against where the run begins: it may go on elsewhere. */
export function withAbsolutePaths<C extends Pick<ExperimentConfig, 'data' | 'from' | 'evaluation'>>(config: C): C {
  const { features, inception } = config.evaluation
  return {
    ...config,
    ...(config.from && { from: { ...config.from, folder: path.resolve(config.from.folder) } }),
    data: config.data.map((one) => (one.folder === undefined ? one : { ...one, folder: path.resolve(one.folder) })),
    evaluation: {
      ...config.evaluation,
      ...(features && { features: { ...features, file: path.resolve(features.file) } }),
      ...(inception.file !== undefined && { inception: { ...inception, file: path.resolve(inception.file) } }),
    },
  }
}
