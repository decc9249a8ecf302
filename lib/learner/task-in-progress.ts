import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { StoredTaskInProgress } from '../checkpoint/learner-folder.js'
import type { Subset } from '../data/dataset.js'
import { invalid } from '../errors.js'
import { addToHash, hashedAtOnce } from '../files/checksum.js'
import { isRecord, shown } from '../validation/options.js'
import { changeable } from './schemas.js'

/**
 * The task that a learner has begun and not completed.
 *
 * @category Learner
 */
export interface TaskInProgress {
  /** The task's number. */
  readonly task: number
  /** Number of steps of the task that are done. */
  readonly step: number
  /** Total number of steps of the task. */
  readonly steps: number
}

/** Settings as JSON holds them, so that those of a file and those of a call can be compared. */
export function plainSettings(settings: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return JSON.parse(JSON.stringify(settings))
}

/** A digest of images to draw from, in their order, with their labels. */
export async function digestOf(subsets: readonly Subset[]): Promise<string> {
  const hash = createHash('sha256')
  for (const { dataset, indices } of subsets) {
    const { images, labels, height, width, channels } = dataset
    const each = height * width * channels
    const atOnce = Math.max(1, Math.floor(hashedAtOnce / each))
    for (let from = 0; from < indices.length; from += atOnce) {
      for (const index of indices.subarray(from, from + atOnce)) {
        hash.update(images.subarray(index * each, (index + 1) * each))
      }
      await setImmediate()
    }
    await addToHash(
      hash,
      indices.map((index) => labels[index] as number),
    )
  }
  return hash.digest('hex')
}

/**
 * Checks that a call is to go on with just what is in progress.
 *
 * @param change settings that may differ
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` that names each setting that differs
 */
export function checkSame(
  progress: StoredTaskInProgress,
  task: number,
  settings: Readonly<Record<string, unknown>>,
  change: readonly string[],
  where: string,
): void {
  if (progress.task !== task) {
    throw invalid(
      `${where}: the task in progress is task ${progress.task}, at step ${progress.step} of ${progress.steps}; expected that task: resume it, or leave out resume`,
    )
  }
  const changed = Object.fromEntries(change.map((name) => [name, settings[name]]))
  const wrong = differences(settings, { ...progress.settings, ...changed })
  if (wrong.length > 0) {
    const may = changeable.filter((name) => wrong.some((difference) => difference.startsWith(`${name} `)))
    const allow = `, resume it with resume: { change: [${may.map((name) => `'${name}'`).join(', ')}] }`
    throw invalid(
      `${where}: a task can only be resumed as it was begun: ${wrong.join('; ')}; or${may.length > 0 ? `${allow}, or` : ''} leave out ` +
        'resume to begin the task again',
    )
  }
}

/** Where two values differ that are as JSON has them: e.g. `objective.terms[1].source.sampler.kind is 'ddpm'; expected 'ddim'`. */
export function differences(found: unknown, expected: unknown, at = ''): string[] {
  if (isDeepStrictEqual(found, expected)) return []
  const isList = Array.isArray(found) && Array.isArray(expected) && found.length === expected.length
  if (!isList && !(isRecord(found) && isRecord(expected)))
    return [`${at} is ${shown(found)}; expected ${shown(expected)}`]
  const [a, b] = [found, expected] as [Record<string, unknown>, Record<string, unknown>]
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])]
  return keys.flatMap((key) => differences(a[key], b[key], isList ? `${at}[${key}]` : `${at}${at && '.'}${key}`))
}
