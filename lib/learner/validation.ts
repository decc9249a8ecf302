import type { StoredTaskInProgress } from '../checkpoint/learner-folder.js'
import { countImages, type Subset } from '../data/dataset.js'
import { mersenneTwister } from '../data/torch-random.js'
import { call } from '../engine/call.js'
import { sampledWeights } from '../engine/state.js'
import { invalid } from '../errors.js'
import { shown } from '../validation/options.js'
import { checkImages } from './checks.js'
import { type Core, divergedError, type KeptWeights, live } from './core.js'
import { bandLosses } from './denoising-loss.js'
import { checkLabels } from './labels.js'
import type { LearnedTask, ParsedValidation } from './schemas.js'
import type { Validation } from './validation-options.js'

/** What is told of the last validation of a task. */
export function lastValidation({ validation }: StoredTaskInProgress): Validation | undefined {
  if (validation === undefined) return undefined
  const { step, value, best } = validation
  return { step, value, best: { ...best } }
}

/** A task's validation, checked. */
export interface PlannedValidation extends ParsedValidation {
  /** The held-out images; none where a metric takes their place. */
  readonly heldOut: readonly Subset[]
  readonly where: string
}

/**
 * Parts the images that a task is validated on from those that it is trained on.
 *
 * @returns the task without them
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for images that the network can't take, and where too few are left
 */
export function planValidation(
  core: Core,
  task: LearnedTask,
  options: ParsedValidation | undefined,
  { isCumulative, grow, where }: { isCumulative: boolean; grow: boolean; where: string },
): { readonly task: LearnedTask; readonly validation: PlannedValidation | undefined } {
  if (options === undefined) return { task, validation: undefined }
  const at = `${where}: validation`
  const { images, fraction } = options
  const planned = (heldOut: readonly Subset[]) => ({ ...options, heldOut, where: at })
  if (fraction === undefined) {
    checkImages(core.settings.unet, images ?? [], at)
    checkLabels(core, images ?? [], { labelDropout: 0, grow }, at)
    if (images && countImages(images) === 0) throw invalid(`${at}: there are no images; expected at least one`)
    return { task, validation: planned(images ?? []) }
  }
  const { seed } = live(core).state
  const parts = new Map([...task.earlier, task].map((one) => [one, split(one, fraction, seed, at)]))
  const trainedOn = <T extends LearnedTask['earlier'][number]>(one: T): T => ({ ...one, train: parts.get(one)!.kept })
  const validated = isCumulative ? [...parts.values()] : [parts.get(task)!]
  return {
    task: { ...trainedOn(task), earlier: task.earlier.map(trainedOn) },
    validation: planned(validated.map(({ heldOut }) => heldOut)),
  }
}

/** The images of a task that are trained on, and those that are held out: a function of the seed and the task's number. */
function split(
  { train: { dataset, indices }, number = 0 }: LearnedTask['earlier'][number],
  fraction: number,
  seed: number,
  where: string,
): { kept: Subset; heldOut: Subset } {
  if (indices.length === 0) return { kept: { dataset, indices }, heldOut: { dataset, indices } } // of an earlier task, they may be gone
  const count = Math.max(1, Math.round(fraction * indices.length))
  if (count >= indices.length) {
    throw invalid(
      `${where}: fraction is ${fraction} of ${indices.length} images, which leaves none to train on; expected less`,
    )
  }
  const random = mersenneTwister((seed ^ Math.imul(number, 0x85ebca6b)) >>> 0)
  const isHeld = new Uint8Array(indices.length)
  for (let drawn = 0; drawn < count; ) {
    const at = Math.floor((random() / 2 ** 32) * indices.length)
    if (isHeld[at]) continue
    isHeld[at] = 1
    drawn++
  }
  const those = (wanted: number) => ({ dataset, indices: indices.filter((_, i) => isHeld[i] === wanted) })
  return { kept: those(0), heldOut: those(1) }
}

/** Whether a task of so many steps is validated at this step, and has not been. */
export function isDue(
  validation: PlannedValidation | undefined,
  progress: StoredTaskInProgress,
  steps: number,
): validation is PlannedValidation {
  const { step } = progress
  if (validation === undefined || step === 0 || progress.validation?.step === step) return false
  return step % validation.every === 0 || step === steps
}

/** How many steps from `step` on the next validation comes. */
export function stepsToValidation(validation: PlannedValidation | undefined, step: number): number {
  return validation === undefined ? Number.POSITIVE_INFINITY : validation.every - (step % validation.every)
}

/** Whether a task of so many steps has no more steps to take. */
export function isOver(
  validation: PlannedValidation | undefined,
  progress: StoredTaskInProgress,
  steps: number,
): boolean {
  const { patience = Number.POSITIVE_INFINITY } = validation ?? {}
  return progress.step === steps || (progress.validation?.waited ?? 0) >= patience
}

/**
 * Validates, and keeps the weights where they are the best so far.
 *
 * @throws ContinualDiffusionError `ERR_DIVERGED` for a loss that isn't finite
 */
export async function validate(
  core: Core,
  validation: PlannedValidation,
  progress: StoredTaskInProgress,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { step, validation: before } = progress
  const value = await measure(core, validation, signal)
  const isBest = before === undefined || value < before.best.value - validation.minDelta
  const best = isBest ? { step, value } : before.best
  if (isBest && validation.keepBest) core.best = await readWeights(core)
  progress.validation = { step, value, best, waited: isBest ? 0 : before.waited + 1 }
}

async function measure(
  core: Core,
  { heldOut, metric, samples, batchSize, where }: PlannedValidation,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { group } = core.settings
  // Of a group's processes the first one decides: by another's rounding a task might end at another step.
  const decides = (group?.rank ?? 0) === 0
  const shared = async (value: number) => {
    const found = Float64Array.of(decides ? value : 0)
    await group?.sum(found, signal)
    return found[0] as number
  }
  if (metric) {
    const value: unknown = await metric()
    const told = await shared(typeof value === 'number' ? value : Number.NaN)
    if (Number.isFinite(told)) return told
    throw invalid(`${where}: metric gave ${shown(value)}; expected a finite number`)
  }
  const options = { bands: 1, samples, batchSize, ...(signal && { signal }) }
  const value = await shared(decides ? (await bandLosses(core, heldOut, options)).losses[0]! : 0)
  if (Number.isFinite(value)) return value
  throw divergedError(core, where, `the loss is ${value}; expected a finite number.`)
}

async function readWeights({ native, settings }: Core): Promise<KeptWeights> {
  const kinds = new Set(['student', sampledWeights(settings.ema)] as const)
  const read = [...kinds].map(async (kind) => [kind, await call(() => native.read(kind))] as const)
  return new Map(await Promise.all(read))
}

async function writeWeights({ native }: Core, weights: KeptWeights): Promise<void> {
  for (const [kind, values] of weights) await call(() => native.write(kind, values))
}

/** Ends a task with its best weights, where some were kept; where its end is put off by an abort, its last weights come back. */
export async function withBest(core: Core, end: () => Promise<void>): Promise<void> {
  const { best } = core
  if (best === undefined) return end()
  const last = await readWeights(core)
  await writeWeights(core, best)
  try {
    await end()
    core.best = undefined
  } catch (error) {
    if (core.inProgress !== undefined) await writeWeights(core, last)
    throw error
  }
}
