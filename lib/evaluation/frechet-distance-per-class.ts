import { describeFeatures, type FeatureExtractor, featuresOf, isInception } from '../classifiers/features.js'
import { momentsDistance, RunningMoments } from '../engine/moments.js'
import { invalid } from '../errors.js'
import { checkExtractor, nameOf } from './arguments.js'
import { askedLabels, checkClassCounts } from './asked.js'
import type { Metric, MetricRun } from './metric.js'

/** Smallest number of real and of generated images of a class. */
export const minimumOfClass = 2

/**
 * Of a class-conditional learner: the mean over the classes of the Fréchet distance between the real images of a class and the images that
 * were asked for as this class (Miyato and Koyama 2018, arXiv 1802.05637, who call it intra FID). Lower is better. It is large where
 * classes are confused or one of them is drawn badly, which {@link frechetDistance} over all classes together may not show. The mean is over
 * the classes that have real images and were asked for. `detail` has `classes`, the distance of each class (NaN for one that is not in the
 * mean), and the counts `real` and `asked`.
 *
 * A class has a fraction of the images: where it has no more than the features have numbers, its covariance is rank-deficient, and the
 * value's `note` says so. Each class needs at least 2 images of each kind. It keeps 2 × D² × 8 bytes for each class. It is labelled FID
 * only for the standard Inception-v3.
 *
 * @param extractor e.g. a `Classifier`, or `TorchScriptFeatures`
 * @param options.name key in reports. Default `frechetDistancePerClass`; with Inception-v3 `fidPerClass`
 *
 * @category Evaluation
 */
export function frechetDistancePerClass(extractor: FeatureExtractor, options: { name?: string } = {}): Metric {
  checkExtractor(extractor, 'frechetDistancePerClass')
  const inception = isInception(extractor)
  const name = nameOf(options, 'frechetDistancePerClass', inception ? 'fidPerClass' : 'frechetDistancePerClass')
  const title = `${inception ? 'FID' : 'Fréchet distance'} per class (${describeFeatures(extractor)})`
  return { name, title, minimumOfClass, start: () => start(extractor, title) }
}

function start(extractor: FeatureExtractor, title: string): MetricRun {
  const { dimension } = extractor
  const moments = { real: new Map<number, RunningMoments>(), generated: new Map<number, RunningMoments>() }
  const addRows = async (kind: 'real' | 'generated', features: Float32Array, labels: Int32Array) => {
    for (const label of new Set(labels)) {
      const ofClass = moments[kind].get(label) ?? new RunningMoments(dimension)
      moments[kind].set(label, ofClass)
      const rows = [...labels.keys()].filter((row) => labels[row] === label)
      const part = new Float32Array(rows.length * dimension)
      for (const [i, row] of rows.entries()) {
        part.set(features.subarray(row * dimension, (row + 1) * dimension), i * dimension)
      }
      await ofClass.add(part)
    }
  }
  return {
    async add(images, kind, given) {
      const labels = kind === 'real' ? given : askedLabels(title, given)
      if (labels?.length !== images.count) {
        throw invalid(
          `${title}: ${labels?.length ?? 'no'} labels for ${images.count} ${kind} images; expected one for each`,
        )
      }
      await addRows(kind, await featuresOf(extractor, images), labels)
    },
    async addReal(images) {
      const labels = Int32Array.from(images.labels().flatMap((some) => [...some]))
      let at = 0
      for await (const features of images.features(extractor)) {
        const end = at + features.length / dimension
        await addRows('real', features, labels.subarray(at, end))
        at = end
      }
    },
    async finish(signal) {
      const classes = 1 + Math.max(-1, ...moments.real.keys(), ...moments.generated.keys())
      const countsOf = (kind: 'real' | 'generated') =>
        Array.from({ length: classes }, (_, label) => moments[kind].get(label)?.count ?? 0)
      const [real, asked] = [countsOf('real'), countsOf('generated')]
      checkClassCounts(title, real, asked, minimumOfClass, [])
      const distances: number[] = []
      for (let label = 0; label < classes; label++) {
        signal?.throwIfAborted()
        const [a, b] = [moments.real.get(label), moments.generated.get(label)]
        distances.push(a && b ? await momentsDistance(a, b) : Number.NaN)
      }
      const compared = [...distances.keys()].filter((label) => !Number.isNaN(distances[label]))
      if (compared.length === 0) {
        throw invalid(`${title}: no class that was asked for has real images; expected at least one`)
      }
      const fewest = (counts: readonly number[]) => Math.min(...compared.map((label) => counts[label]!))
      const notes: string[] = []
      if (Math.min(fewest(real), fewest(asked)) <= dimension) {
        notes.push(
          `rank-deficient covariance: as few as ${fewest(real)} real and ${fewest(asked)} generated images of a class for ` +
            `${dimension} features`,
        )
      }
      const known = new Set([...moments.real.keys(), ...moments.generated.keys()]).size
      if (compared.length < known) {
        notes.push(
          `the mean is over ${compared.length} of ${known} classes: the others have no real images, or were not asked for`,
        )
      }
      return {
        real: total(real),
        generated: total(asked),
        value: total(compared.map((label) => distances[label]!)) / compared.length,
        ...(notes.length > 0 && { note: notes.join('; ') }),
        detail: { classes: distances, real, asked },
      }
    },
  }
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0)
}
