import { call } from '../engine/call.js'
import { ContinualDiffusionError, invalid } from '../errors.js'
import { held } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { checkedShape } from './checks.js'
import { alone, type Core, sound } from './core.js'
import { networkLabels, noteStep } from './labels.js'
import type { StepOptions } from './options.js'
import { stepSchema } from './schemas.js'

/** See `Learner.step`. */
export async function step(core: Core, options: StepOptions): Promise<{ loss: number; gradNorm: number }> {
  const native = sound(core, 'step')
  const {
    xt,
    timesteps,
    target,
    labels: given,
    weight,
    dropout,
    ...optimizer
  } = parseOptions(stepSchema, options, 'step')
  const shape = checkedShape(core, xt, timesteps, 'step: xt')
  const predicted = shape.with(1, core.settings.unet.out_channels)
  const expected = predicted.reduce((product, n) => product * n, 1)
  if (target.length !== expected) {
    throw invalid(
      `step: target has ${held(target)}; expected a Float32Array of ${expected}: ${predicted.join(' × ')}, as the prediction`,
    )
  }
  const labels = networkLabels(core, given, timesteps.length, 'step: labels')?.slice()
  const weights = typeof weight === 'number' ? new Float32Array(timesteps.length).fill(weight) : weight
  if (weights.length !== timesteps.length) {
    throw invalid(`step: weight has ${weights.length} elements; expected one for each of ${timesteps.length} timesteps`)
  }
  return alone(core, 'step', 'step', async () => {
    const { loss, gradNorm } = await call(() =>
      native.computeGiven({ data: xt, shape }, timesteps, { data: target, shape: predicted }, weights, labels, dropout),
    )
    if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
      throw new ContinualDiffusionError(
        'ERR_DIVERGED',
        `step: the loss is ${loss} and its gradient's norm ${gradNorm}; expected finite numbers; the weights are ` +
          'unchanged: check the arrays, or lower the learning rate',
      )
    }
    core.unchecked = true
    await call(() => native.update(optimizer))
    noteStep(core, labels)
    return { loss, gradNorm }
  })
}
