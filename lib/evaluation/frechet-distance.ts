import type { Classifier } from '../classifier.js'
import { ContinualDiffusionError } from '../engine/errors.js'
import { momentsDistance, RunningMoments } from '../engine/moments.js'
import type { Metric, MetricRun } from './metric.js'

/**
 * The Fréchet distance between real and generated images in a classifier's features: between the two normal distributions that have
 * their means and covariances (Heusel et al. 2017, arXiv 1706.08500, there in the features of Inception-v3, for which alone the
 * name FID is kept). 0 for equal moments; it falls with the number of images, so compare at equal counts only.
 */
export function frechetDistance(classifier: Classifier): Metric {
  const title = `Fréchet distance (${classifier.name}, ${classifier.features} features)`
  return { name: 'frechetDistance', title, start: () => start(classifier, title) }
}

function start(classifier: Classifier, title: string): MetricRun {
  const moments = {
    real: new RunningMoments(classifier.features),
    generated: new RunningMoments(classifier.features),
  }
  return {
    async add(images, kind) {
      const { features } = await classifier.classifyOnce(images)
      await moments[kind].add(features)
    },
    async finish() {
      const counts = { real: moments.real.count, generated: moments.generated.count }
      const deficient: string[] = []
      for (const kind of ['real', 'generated'] as const) {
        if (counts[kind] < 2) {
          throw new ContinualDiffusionError(
            'ERR_INVALID_ARGUMENT',
            `${title}: ${counts[kind]} ${kind} images; expected at least 2, for a covariance`,
          )
        }
        if (counts[kind] <= classifier.features) deficient.push(`${counts[kind]} ${kind}`)
      }
      const value = await momentsDistance(moments.real, moments.generated)
      if (deficient.length === 0) return { ...counts, value }
      const note = `rank-deficient covariance: only ${deficient.join(' and ')} images for ${classifier.features} features`
      return { ...counts, value, note }
    },
  }
}
