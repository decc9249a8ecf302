import { z } from 'zod'
import { countImages, type Subset } from '../data/dataset.js'
import { subsetSchema } from '../data/schemas.js'
import { call, withCancel } from '../engine/call.js'
import { sampledWeights } from '../engine/state.js'
import { ContinualDiffusionError, invalid } from '../errors.js'
import { parseOptions } from '../validation/options.js'
import { checkDiffuses, checkImages } from './checks.js'
import { type Core, live, sound } from './core.js'
import { checkLabels } from './labels.js'
import type { DenoisingLoss, DenoisingLossOptions } from './options.js'
import { denoisingLossSchema } from './schemas.js'

/** See `Learner.denoisingLoss`. */
export async function denoisingLoss(
  core: Core,
  images: Subset | readonly Subset[],
  options: DenoisingLossOptions,
): Promise<readonly DenoisingLoss[]> {
  const { losses, edges, images: count, samples } = await bandLosses(core, images, options)
  const wrong = losses.findIndex((loss) => !Number.isFinite(loss))
  if (wrong !== -1) {
    throw new ContinualDiffusionError(
      'ERR_DIVERGED',
      `denoisingLoss: the loss is ${losses[wrong]} at the timesteps ${edges[wrong]} … ${edges[wrong + 1]! - 1}; expected a finite number: the weights ` +
        'are not usable; load an earlier save',
    )
  }
  return Array.from(losses, (loss, i) => ({
    from: edges[i] as number,
    to: edges[i + 1] as number,
    loss,
    images: count,
    draws: count * samples,
  }))
}

/** The loss of each band, finite or not, and the bands' edges. */
export async function bandLosses(core: Core, images: Subset | readonly Subset[], options: DenoisingLossOptions) {
  const where = 'denoisingLoss'
  const { seed: own } = sound(core, where).state
  const { bands, signal, seed = own, ...rest } = parseOptions(denoisingLossSchema, options, where)
  const given = Array.isArray(images) ? images : [images]
  const subsets = parseOptions(z.array(subsetSchema), given, `${where}: images`)
  checkDiffuses(core, 'learn', where)
  checkImages(core.settings.unet, subsets, where)
  checkLabels(core, subsets, { labelDropout: 0, grow: false }, where)
  const count = countImages(subsets)
  if (count === 0) throw invalid(`${where}: there are no images; expected at least one`)
  const edges = bandEdges(bands, core.settings.schedule.timesteps, where)
  const losses = await withCancel(signal, (flag) =>
    core.images.using(async () => {
      const pool = await core.images.pool(subsets)
      return call(() =>
        live(core).denoisingLoss({ weights: sampledWeights(core.settings.ema), pool, edges, seed, ...rest }, flag),
      )
    }),
  )
  return { losses, edges, images: count, samples: rest.samples }
}

function bandEdges(bands: number | readonly number[], total: number, where: string): Int32Array {
  if (typeof bands === 'number') {
    if (bands > total) throw invalid(`${where}: bands is ${bands}; expected at most the schedule's ${total} timesteps`)
    return Int32Array.from({ length: bands + 1 }, (_, i) => Math.round((i * total) / bands))
  }
  const wrong = bands.findIndex((edge, i) => edge > total || (i > 0 && edge <= (bands[i - 1] as number)))
  if (wrong !== -1) {
    throw invalid(`${where}: bands[${wrong}] is ${bands[wrong]}; expected edges that rise to at most ${total}`)
  }
  return Int32Array.from(bands)
}
