import { isDeepStrictEqual, types } from 'node:util'
import { isConditional } from '../config/unet.js'
import { invalid } from '../errors.js'
import type { Learner } from '../learner/learner.js'
import type { ReplayImages } from '../learner/options.js'
import { shown } from '../validation/options.js'

/**
 * Checks that the classes of generated images are known, and are the solver's.
 *
 * @param replay images that were generated before, if they are to be replayed
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function checkReplayedLabels(
  generator: Pick<Learner, 'unet' | 'classes' | 'tasksLearned'>,
  replay: ReplayImages | undefined,
  classes: readonly string[],
  where: string,
): void {
  if (!isConditional(generator.unet)) {
    throw invalid(
      `${where}: target is 'labels', and the generator takes no labels; expected 'soft-labels', or a class-conditional learner`,
    )
  }
  if (generator.tasksLearned === 0) return
  if (!isDeepStrictEqual([...generator.classes], [...classes])) {
    throw invalid(
      `${where}: target is 'labels', and the generator's classes are ${shown(generator.classes)}; expected ${shown(classes)}, the solver's`,
    )
  }
  if (replay === undefined) return
  const { labels, count } = replay
  const areLabels = types.isInt32Array(labels) && labels.length === count
  if (areLabels && labels.every((label) => label >= 0 && label < classes.length)) return
  throw invalid(
    `${where}: target is 'labels', and replay.labels is ${shown(labels)}; expected an Int32Array of ${count}, a class index ` +
      `0 … ${classes.length - 1} for each image, e.g. those of Learner.replayPool`,
  )
}

/** Logits whose softmax is 1 for the label and, in float32, 0 for every other class. */
export function certainLogits(labels: Int32Array, classes: number): Float32Array {
  const logits = new Float32Array(labels.length * classes)
  for (const [i, label] of labels.entries()) logits[i * classes + label] = 1000
  return logits
}
