import { setImmediate } from 'node:timers/promises'
import { z } from 'zod'
import { invalid } from '../errors.js'
import { parseOptions } from '../validation/options.js'
import { checkAdded, nameOf } from './arguments.js'
import { frechetDistance } from './frechet-distance.js'
import { InceptionV3 } from './inception.js'
import { type KernelSubsets, kernelDistance } from './kernel-distance.js'
import type { Metric } from './metric.js'

const inceptionSchema = z.custom<InceptionV3>(
  (value) => value instanceof InceptionV3,
  'expected an InceptionV3, of InceptionV3.load()',
)

function checkInception(inception: unknown, where: string): void {
  parseOptions(inceptionSchema, inception, `${where}: inception`)
}

/**
 * The FID (Heusel et al. 2017, arXiv 1706.08500): {@link frechetDistance} in the 2048 features of the standard Inception-v3. Lower is better. It
 * is published for 50,000 generated images, and falls with their number.
 *
 * @param options.name key in reports. Default `fid`
 *
 * @category Evaluation
 */
export function fid<Name extends string = 'fid'>(
  inception: InceptionV3,
  options: { name?: Name } = {},
): Metric<NoInfer<Name>> {
  checkInception(inception, 'fid')
  return frechetDistance(inception, { name: nameOf<Name>(options, 'fid', 'fid') })
}

/**
 * The KID (Bińkowski et al. 2018, arXiv 1801.01401): the mean of {@link kernelDistance} over random subsets of the images, in the 2048 features of
 * the standard Inception-v3. Lower is better. By default 100 subsets of 1000 real and 1000 generated images each, as in the authors' code;
 * of all images of a kind where there are fewer.
 *
 * @param options.name key in reports. Default `kid`
 *
 * @category Evaluation
 */
export function kid<Name extends string = 'kid'>(
  inception: InceptionV3,
  options: { name?: Name; subsets?: KernelSubsets } = {},
): Metric<NoInfer<Name>> {
  checkInception(inception, 'kid')
  return kernelDistance<Name>(inception, { ...options, subsets: options.subsets ?? {} })
}

/**
 * The inception score (Salimans et al. 2016, arXiv 1606.03498): exp of the mean Kullback–Leibler divergence of the classes that the standard
 * Inception-v3 gives an image from those that it gives all images of a split; the mean over the splits. Higher is better. It doesn't look at
 * real images. It is published for 50,000 images in 10 splits; `detail.splits` has the score of each, whose standard deviation is published
 * beside it.
 *
 * @param options.splits parts of the generated images, in the order in which they were generated, 1 … 1000. Default 10
 * @param options.name key in reports. Default `inceptionScore`
 *
 * @category Evaluation
 */
export function inceptionScore<Name extends string = 'inceptionScore'>(
  inception: InceptionV3,
  options: { splits?: number; name?: Name } = {},
): Metric<NoInfer<Name>> {
  checkInception(inception, 'inceptionScore')
  const { splits, name = 'inceptionScore' } = parseOptions(scoreSchema, options, 'inceptionScore')
  const title = `Inception score, ${splits} ${splits === 1 ? 'split' : 'splits'} (${inception.name})`
  return {
    name: name as Name,
    title,
    higherIsBetter: true,
    minimum: splits,
    start() {
      const rows: Float32Array[] = []
      const counts = { real: 0, generated: 0 }
      return {
        async add(images, kind, labels) {
          checkAdded(title, images, kind, labels)
          counts[kind] += images.count
          if (kind === 'generated') rows.push(await inception.probabilities(images))
        },
        async addReal(images) {
          counts.real += images.count
        },
        async finish() {
          if (counts.generated < splits) {
            throw invalid(
              `${title}: ${counts.generated} generated images; expected at least ${splits}, one for each split`,
            )
          }
          const scores = await splitScores(rows, inception.classes, splits)
          return { ...counts, value: mean(scores), detail: { splits: scores } }
        },
      }
    },
  }
}

/** Splits of a published inception score. */
export const defaultSplits = 10

const scoreSchema = z.strictObject({
  splits: z.int().min(1).max(1000).default(defaultSplits),
  name: z.string().min(1).optional(),
})

/**
 * exp(mean over a split's rows of Σ p·log(p / q)), where q is the mean row of the split.
 *
 * @param batches rows of `classes` probabilities
 */
export async function splitScores(
  batches: readonly Float32Array[],
  classes: number,
  splits: number,
): Promise<number[]> {
  const rows = batches.flatMap((batch) =>
    Array.from({ length: batch.length / classes }, (_, i) => batch.subarray(i * classes, (i + 1) * classes)),
  )
  const scores: number[] = []
  for (let s = 0; s < splits; s++) {
    const part = rows.slice(Math.floor((s * rows.length) / splits), Math.floor(((s + 1) * rows.length) / splits))
    const marginal = new Float64Array(classes)
    let negentropy = 0
    for (const [i, row] of part.entries()) {
      if (i % rowsAtOnce === 0) await setImmediate()
      for (let c = 0; c < classes; c++) {
        const p = row[c]!
        marginal[c]! += p / part.length
        if (p > 0) negentropy += p * Math.log(p) // where p is 0, p·log p is too
      }
    }
    const ofMarginal = marginal.reduce((sum, q) => (q > 0 ? sum + q * Math.log(q) : sum), 0)
    scores.push(Math.exp(negentropy / part.length - ofMarginal))
  }
  return scores
}

/** A millisecond or two on JavaScript's thread. */
const rowsAtOnce = 64

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
