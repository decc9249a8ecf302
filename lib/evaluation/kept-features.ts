import { describeFeatures, type FeatureExtractor, featuresOf } from '../classifiers/features.js'
import type { Bootstrap } from '../engine/state.js'
import { ContinualDiffusionError } from '../errors.js'
import { counted } from '../validation/names.js'
import { checkAdded } from './arguments.js'
import type { Counts, Metric, MetricValue } from './metric.js'

/** Features of all images that a comparison has seen, in batches of rows. */
export interface KeptFeatures {
  readonly real: readonly Float32Array[]
  readonly generated: readonly Float32Array[]
}

/**
 * A metric that needs every pair of images, and so keeps their features, not the images: (real + generated) × D × 4 bytes. Metrics
 * that share an extractor share the memory.
 *
 * @param what the metric's heading, to which the features are added
 */
export function keptFeaturesMetric<Name extends string>(
  extractor: FeatureExtractor,
  { name, what, minimum, higherIsBetter }: Pick<Metric<Name>, 'name' | 'minimum' | 'higherIsBetter'> & { what: string },
  compare: (
    features: KeptFeatures,
    counts: Counts,
    signal: AbortSignal | undefined,
    bootstrap: Bootstrap | undefined,
  ) => Promise<Omit<MetricValue, keyof Counts>>,
): Metric<Name> {
  const title = `${what} (${describeFeatures(extractor)})`
  return {
    name,
    title,
    minimum,
    higherIsBetter,
    start(bootstrap) {
      const kept = { real: [] as Float32Array[], generated: [] as Float32Array[] }
      const counts = { real: 0, generated: 0 }
      return {
        async add(images, kind, labels) {
          checkAdded(title, images, kind, labels)
          kept[kind].push(await featuresOf(extractor, images))
          counts[kind] += images.count
        },
        async addReal(images) {
          for await (const features of images.features(extractor)) kept.real.push(features)
          counts.real += images.count
        },
        async finish(signal) {
          checkCounts(title, counts, minimum ?? 1)
          return { ...counts, ...(await compare(kept, counts, signal, bootstrap)) }
        },
      }
    },
  }
}

/** Throws `ERR_INVALID_ARGUMENT` where there are fewer than `minimum` real or generated images. */
export function checkCounts(title: string, counts: { real: number; generated: number }, minimum: number): void {
  for (const kind of ['real', 'generated'] as const) {
    if (counts[kind] < minimum) {
      throw new ContinualDiffusionError(
        'ERR_INVALID_ARGUMENT',
        `${title}: ${counted(counts[kind], `${kind} image`)}; expected at least ${minimum}`,
      )
    }
  }
}
