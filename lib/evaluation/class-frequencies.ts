import type { Classifier } from '../classifiers/classifier.js'
import type { Bootstrap } from '../engine/state.js'
import { invalid } from '../errors.js'
import { checkAdded, checkClassifier, nameOf } from './arguments.js'
import { intervalOfCounts } from './interval.js'
import { checkCounts } from './kept-features.js'
import type { Metric, MetricRun } from './metric.js'

/** Added to both frequencies, so that a class which is never generated gives a large value and not an infinite one. */
const epsilon = 1e-8

/**
 * Compares the classes of generated and real images: the Kullback–Leibler divergence Σ p·log(p/q) in nats. p are the class frequencies of
 * the real images by their labels, q those of the generated images by the classifier; 1e-8 is added to both. Lower is better. `detail` has
 * `real` and `generated` (the frequencies, one per class) and `ard` (one number, the average ratio deviation Σ|p − q| / 2).
 *
 * @param options.name key in reports. Default `classFrequencies`
 *
 * @category Evaluation
 */
export function classFrequencies<Name extends string = 'classFrequencies'>(
  classifier: Classifier,
  options: { name?: Name } = {},
): Metric<NoInfer<Name>> {
  checkClassifier(classifier, 'classFrequencies')
  const name = nameOf<Name>(options, 'classFrequencies', 'classFrequencies')
  const title = `KLD of class frequencies (${classifier.name})`
  const parts = { value: ({ kld }: Comparison) => kld, detail: ({ ard }: Comparison) => ({ ard: [ard] }) }
  return {
    name,
    title,
    classes: classifier.classes,
    start: (bootstrap) => classCounting(classifier, title, parts, bootstrap),
  }
}

/** What a metric takes of a comparison of class histograms. */
interface Parts {
  readonly value: (comparison: Comparison) => number
  readonly detail?: (comparison: Comparison) => Record<string, readonly number[]>
}

/** Counts the classes of real and generated images. */
export function classCounting(
  classifier: Classifier,
  title: string,
  { value, detail }: Parts,
  bootstrap: Bootstrap | undefined,
): MetricRun {
  const classes = classifier.classes.length
  const seen = { real: new Float64Array(classes), generated: new Float64Array(classes) }
  const countLabels = (labels: Int32Array, kind: 'real' | 'generated') => {
    const outside = labels.find((label) => !(label >= 0 && label < classes))
    if (outside !== undefined) {
      throw invalid(`${title}: label ${outside} of a real image; expected a class index, 0 … ${classes - 1}`)
    }
    for (const label of labels) seen[kind][label] = (seen[kind][label] as number) + 1
  }
  return {
    async add(images, kind, labels) {
      checkAdded(title, images, kind, labels)
      const found = kind === 'real' ? labels : (await classifier.classifyOnce(images)).labels
      if (found?.length !== images.count) {
        throw invalid(
          `${title}: ${found?.length ?? 'no'} labels for ${images.count} real images; expected one for each`,
        )
      }
      countLabels(found, kind)
    },
    async addReal(images) {
      for (const labels of images.labels()) countLabels(labels, 'real')
    },
    async finish(signal) {
      const counts = { real: total(seen.real), generated: total(seen.generated) }
      checkCounts(title, counts, 1)
      const comparison = compareCounts(seen.real, seen.generated)
      const frequencies = { real: [...comparison.p], generated: [...comparison.q] }
      const statistic = (generated: Float64Array) => value(compareCounts(seen.real, generated))
      const interval = bootstrap && (await intervalOfCounts(seen.generated, statistic, bootstrap, signal))
      return {
        ...counts,
        value: value(comparison),
        ...(interval && { interval }),
        detail: { ...frequencies, ...detail?.(comparison) },
      }
    },
  }
}

/** Two class histograms, compared. */
export interface Comparison {
  readonly kld: number
  readonly ard: number
  /** Frequencies of the first. */
  readonly p: Float64Array
  /** Frequencies of the second. */
  readonly q: Float64Array
}

/** KLD and ARD of two class histograms, and their frequencies. */
export function compareCounts(real: Float64Array, generated: Float64Array): Comparison {
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
