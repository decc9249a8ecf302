import { isDeepStrictEqual } from 'node:util'
import type { ResolvedTimesteps } from '../config/timesteps.js'
import { imageSize, isConditional, type UNetConfig } from '../config/unet.js'
import { invalid } from '../errors.js'
import type { ReplayPool, ResolvedObjective, TeacherSource } from '../methods/objective.js'
import type { Settings } from './core.js'
import type { ReplayClassifier } from './learn-options.js'

/** Number of images that one call of the engine generates: which images a pool has must not depend on how fast that is. */
export const atOnce = 128
/** Images of a batch of the pool for each of a training step's: a step keeps four layers of an image at least, and generating two. */
const perTrained = 4
/** So many calls have noise of their own for one pool of one task. */
export const mostCalls = 2 ** 16
/** A pool is held in memory twice while it is brought to a device. */
const mostBytes = 2 ** 32

/** A replay pool of an objective, as a task of known length needs it. */
export interface PlannedPool {
  readonly source: TeacherSource
  /** The term's timesteps, at which the teacher stops if it does. */
  readonly timesteps: ResolvedTimesteps
  readonly images: number
  /** Steps between two pools. */
  readonly refresh: number
  readonly even: boolean
  /** Whether a class's images stay those of the first pool that had it. */
  readonly keep: boolean
  /** Whether the networks are told the null label in place of each image's class. */
  readonly isUntold: boolean
}

/** The number of images of a pool, and of steps after which the next pool follows. */
export function poolImages(pool: ReplayPool, { steps, batchSize }: { steps: number; batchSize: number }) {
  const refresh = Math.min(pool.refresh ?? steps, steps)
  return { images: pool.images ?? Math.ceil((refresh * batchSize) / pool.reuse), refresh }
}

/**
 * The replay pools that an objective draws from.
 *
 * @returns `numbers`: for each term the position of its pool, or −1
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for what no task can have
 */
export function planPools(
  { unet, schedule }: Pick<Settings, 'unet' | 'schedule'>,
  { terms }: ResolvedObjective,
  training: { steps: number; batchSize: number },
  where: string,
): { readonly pools: readonly PlannedPool[]; readonly numbers: readonly number[] } {
  const pools: PlannedPool[] = []
  const numbers = terms.map(({ source, timesteps: drawn }) => {
    if (source.kind !== 'teacher' || source.pool === undefined) return -1
    const { labels, ...generating } = source
    const even = source.pool.classes === 'even'
    const keep = source.pool.keep ?? false
    // Clean images serve all timesteps.
    const timesteps = (source.stopAtTimestep && drawn) || ([0, schedule.timesteps] as const)
    const size = poolImages(source.pool, training)
    const pool = { source: generating, timesteps, ...size, even, keep, isUntold: labels === null }
    const known = pools.findIndex((other) => isDeepStrictEqual(other, pool))
    return known < 0 ? pools.push(pool) - 1 : known
  })
  if (pools.filter(({ keep }) => keep).length > 1) {
    throw invalid(`${where}: several replay pools are to keep their images; expected one`)
  }
  for (const { even, keep, source } of pools) {
    if (keep && isConditional(unet)) {
      throw invalid(
        `${where}: the replay pool is to keep its images, and the network takes labels, by which replayLabels says how many of each class ` +
          'there are; expected a pool without keep',
      )
    }
    if (even && source.stopAtTimestep && !isConditional(unet)) {
      throw invalid(
        `${where}: the replay pool is to be drawn from evenly by class, and a classifier can't tell the classes of noisy images; ` +
          "expected classes: 'as-generated' where the teacher stops at a timestep, or a network that takes labels",
      )
    }
  }
  return { pools, numbers }
}

/**
 * Checks that a task of so many steps can have its pools.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for a pool that is too large, and for too many of them
 */
export function checkPoolSizes(unet: UNetConfig, pools: readonly PlannedPool[], steps: number, where: string): void {
  for (const { images, refresh, source } of pools) {
    const each = pixelsOf(unet) * (source.stopAtTimestep ? 4 : 1)
    const most = Math.min(Math.floor(mostBytes / each), atOnce * mostCalls)
    if (images > most) {
      throw invalid(
        `${where}: the replay pool has ${images} images of ${each} bytes; expected at most ${most}: a smaller pool, or one ` +
          'that is refreshed',
      )
    }
    if (Math.ceil(steps / refresh) * pools.length > mostCalls) {
      throw invalid(`${where}: refresh is ${refresh} for ${steps} steps; expected at most ${mostCalls} pools in all`)
    }
  }
}

/** Checks that the classes of the pools' images can be told. */
export function checkPoolClasses(
  unet: UNetConfig,
  pools: readonly PlannedPool[],
  classifier: ReplayClassifier | undefined,
  where: string,
): void {
  if (classifier !== undefined || isConditional(unet) || !pools.some(({ even }) => even)) return
  throw invalid(
    `${where}: the replay pool is to be drawn from evenly by class, and nothing tells the classes of its images; give ` +
      'learn() a classifier, e.g. a Solver that has learned the earlier tasks',
  )
}

/**
 * How many images of a pool a batch of the engine has, for a task that is trained with so many: what can be trained can be generated. A divisor of
 * {@link atOnce}, so that batches are equally large and a recorded graph serves all.
 */
export function generatedAtOnce(batchSize: number): number {
  return 2 ** Math.floor(Math.log2(Math.min(atOnce, perTrained * batchSize)))
}

/** The shape of the images of a pool. */
export function shapeOf(unet: UNetConfig) {
  return { ...imageSize(unet, 'learn'), channels: unet.in_channels }
}

/** Numbers of an image of a pool. */
export function pixelsOf(unet: UNetConfig): number {
  const { height, width, channels } = shapeOf(unet)
  return height * width * channels
}
