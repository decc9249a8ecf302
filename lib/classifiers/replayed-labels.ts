import { isDeepStrictEqual, types } from 'node:util'
import { isConditional } from '../config/unet.js'
import type { ImageBatch } from '../data/dataset.js'
import type { Classified } from '../engine/classifier.js'
import { invalid } from '../errors.js'
import type { Learner } from '../learner/learner.js'
import type { ReplayImages } from '../learner/options.js'
import { shown } from '../validation/options.js'

/** How many images of a pool one call classifies: more would be a copy that holds up JavaScript's thread. */
const classifiedAtOnce = 1024

/** How much lower than a known class's the logit of an unknown one is. */
const unknown = 10

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
  const known = generator.classes.length
  // Those of a task that it hasn't learned yet come after these.
  if (!isDeepStrictEqual([...generator.classes], classes.slice(0, known))) {
    throw invalid(
      `${where}: target is 'labels', and the generator's classes are ${shown(generator.classes)}; expected ${shown(classes)}, or the first of these`,
    )
  }
  if (replay === undefined) return
  const { labels, count } = replay
  const areLabels = types.isInt32Array(labels) && labels.length === count
  if (areLabels && labels.every((label) => label >= 0 && label < known)) return
  throw invalid(
    `${where}: target is 'labels', and replay.labels is ${shown(labels)}; expected an Int32Array of ${count}, a class index ` +
      `0 … ${known - 1} for each image, e.g. those of Learner.replayPool`,
  )
}

/** Logits whose softmax is 1 for the label and, in float32, 0 for every other class. */
export function certainLogits(labels: Int32Array, classes: number): Float32Array {
  const logits = new Float32Array(labels.length * classes)
  for (const [i, label] of labels.entries()) logits[i * classes + label] = 1000
  return logits
}

/**
 * What an old classifier says of images, as logits of all classes. A class that it didn't know is by e⁻¹⁰ less likely than each that it knew.
 *
 * @param classify the old classifier
 * @param known the number of its classes
 * @param classes that of all classes, of which its own are the first
 */
export async function oldLogits(
  classify: (images: ImageBatch) => Promise<Classified>,
  known: number,
  { data, count, height, width, channels }: ImageBatch,
  classes: number,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const logits = new Float32Array(count * classes)
  const each = data.length / count
  for (let from = 0; from < count; from += classifiedAtOnce) {
    signal?.throwIfAborted()
    const to = Math.min(count, from + classifiedAtOnce)
    const part = { data: data.subarray(from * each, to * each), count: to - from, height, width, channels }
    const found = (await classify(part)).logits
    for (let i = from; i < to; i++) {
      const own = found.subarray((i - from) * known, (i - from + 1) * known)
      logits.set(own, i * classes)
      if (known < classes) logits.fill(Math.min(...own) - unknown, i * classes + known, (i + 1) * classes)
    }
  }
  return logits
}
