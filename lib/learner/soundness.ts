import { imageSize } from '../config/unet.js'
import { call } from '../engine/call.js'
import { type Core, divergedError } from './core.js'
import { someLabels } from './labels.js'

/**
 * Looks at the weights after an update that no next loss would show to have spoilt them: what follows would freeze or save them. A weight that
 * isn't finite makes some of the network's prediction so, as every one of them is in it.
 *
 * @throws ContinualDiffusionError `ERR_DIVERGED`
 */
export async function checkSound(core: Core, where: string): Promise<void> {
  core.unchecked = false
  const { in_channels: channels } = core.settings.unet
  const { height, width } = imageSize(core.settings.unet, where)
  const image = { data: new Float32Array(channels * height * width), shape: [1, channels, height, width] }
  const { step } = core.native.state
  const { data } = await call(() => core.native.predict('student', image, Int32Array.of(0), someLabels(core, 1)))
  if (data.every(Number.isFinite)) return
  throw divergedError(core, where, `the network's prediction is not finite after step ${step} of the learner.`)
}

/** {@link checkSound} where the weights have changed since it was last done. What begins after the call comes after it in the engine's queue. */
export async function checkChanged(core: Core, where: string): Promise<void> {
  if (core.unchecked) await checkSound(core, where)
}
