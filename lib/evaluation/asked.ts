import { invalid } from '../errors.js'

/**
 * The classes that generated images were asked for as.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` where there are none, as of an unconditional learner
 */
export function askedLabels(title: string, labels: Int32Array | undefined): Int32Array {
  if (labels !== undefined) return labels
  throw invalid(`${title}: the learner was asked for no classes; expected a class-conditional learner`)
}

/** How often each label occurs, by label. */
export function countLabels(parts: readonly Int32Array[]): number[] {
  const counts: number[] = []
  for (const labels of parts) for (const label of labels) counts[label] = (counts[label] ?? 0) + 1
  return Array.from(counts, (count) => count ?? 0)
}

/**
 * Checks that each class that has real images and is asked for has enough of both.
 *
 * @param classes names of the classes
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function checkClassCounts(
  title: string,
  real: readonly number[],
  asked: readonly number[],
  minimum: number,
  classes: readonly string[],
): void {
  for (const [label, count] of asked.entries()) {
    const reals = real[label] ?? 0
    if (count === 0 || reals === 0 || Math.min(count, reals) >= minimum) continue
    throw invalid(
      `${title}: the class ${classes[label] ?? label} has ${reals} real and ${count} generated images; expected at least ${minimum} of ` +
        'each for every class',
    )
  }
}
