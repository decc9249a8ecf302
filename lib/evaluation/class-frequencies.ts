import type { Classifier } from '../classifier.js'
import { ContinualDiffusionError } from '../engine/errors.js'
import type { Metric, MetricRun } from './metric.js'

/** Added to both frequencies, so that a class which is never generated gives a large value and not an infinite one. */
const epsilon = 1e-8

/**
 * How far the classes of the generated images are from those of the real ones: the Kullback–Leibler divergence
 * Σ p·log(p/q) in nats, p the class frequencies of the real images by their labels, q those of the generated images by the
 * classifier, 1e-8 added to both. `detail` has `real` and `generated` (the frequencies, one per class) and `ard`, the average
 * ratio deviation Σ|p − q| / 2, one number.
 */
export function classFrequencies(classifier: Classifier): Metric {
  const title = `KLD of class frequencies (${classifier.name})`
  return { name: 'classFrequencies', title, start: () => start(classifier, title) }
}

function start(classifier: Classifier, title: string): MetricRun {
  const classes = classifier.classes.length
  const seen = { real: new Float64Array(classes), generated: new Float64Array(classes) }
  return {
    async add(images, kind, labels) {
      const found = kind === 'real' ? labels : (await classifier.classifyOnce(images)).labels
      if (found?.length !== images.count) {
        throw invalid(
          `${title}: ${found?.length ?? 'no'} labels for ${images.count} real images; expected one for each`,
        )
      }
      const outside = found.find((label) => !(label >= 0 && label < classes))
      if (outside !== undefined) {
        throw invalid(`${title}: label ${outside} of a real image; expected a class index, 0 … ${classes - 1}`)
      }
      for (const label of found) seen[kind][label] = (seen[kind][label] as number) + 1
    },
    async finish() {
      const counts = { real: total(seen.real), generated: total(seen.generated) }
      if (counts.real === 0 || counts.generated === 0) {
        throw invalid(
          `${title}: ${counts.real} real and ${counts.generated} generated images; expected at least one of each`,
        )
      }
      const { kld, ard, p, q } = compareCounts(seen.real, seen.generated)
      return { ...counts, value: kld, detail: { real: [...p], generated: [...q], ard: [ard] } }
    },
  }
}

/** KLD and ARD of two class histograms, and the frequencies p and q of the first and the second. */
export function compareCounts(
  real: Float64Array,
  generated: Float64Array,
): { kld: number; ard: number; p: Float64Array; q: Float64Array } {
  const realTotal = total(real)
  const generatedTotal = total(generated)
  const p = real.map((count) => count / realTotal)
  const q = generated.map((count) => count / generatedTotal)
  let kld = 0
  let ard = 0
  for (const [i, pi] of p.entries()) {
    const qi = q[i] as number
    kld += (pi + epsilon) * Math.log((pi + epsilon) / (qi + epsilon))
    ard += Math.abs(pi - qi) / 2
  }
  return { kld, ard, p, q }
}

function total(counts: Float64Array): number {
  return counts.reduce((sum, count) => sum + count, 0)
}

function invalid(message: string): ContinualDiffusionError {
  return new ContinualDiffusionError('ERR_INVALID_ARGUMENT', message)
}
