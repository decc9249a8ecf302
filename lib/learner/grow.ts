import { call } from '../engine/call.js'
import { type StateTensor, stateTensors } from '../engine/state.js'
import { type Core, createNative, live } from './core.js'
import type { Growth } from './labels.js'

/** What of a learner changes when its table grows. */
export type Grown = Pick<Core, 'native' | 'settings'>

const table = 'class_embedding.weight'

/** Tensors that have a number for each weight, and 0 for one that has not been trained. The others are weights. */
const zeroAtFirst: ReadonlySet<StateTensor> = new Set(['exp_avg', 'exp_avg_sq', 'path_integral'])

/**
 * A copy of a learner whose table of classes has more rows. All else is the same to the bit: student, average, teacher, Adam's state,
 * penalties and position. The null label's row stays the last. A new row of the weights is a function of (seed, class): it doesn't depend on
 * what the table grew from. The new rows of student, average and teacher are the same.
 */
export async function grow(core: Core, { rows, movesLast, hasNullLabel }: Growth): Promise<Grown> {
  const old = live(core)
  const { unet } = core.settings
  const settings = { ...core.settings, unet: { ...unet, num_class_embeds: rows } }
  const { seed, step, taskStep, optimizerStep } = old.state
  // As for the weights of a task, none of which begins with these. Its rows are drawn one after the other, so that more rows change none.
  const native = await createNative(settings, (seed ^ 0x9e3779b9) >>> 0)
  try {
    const at = native.parameters.findIndex(({ name }) => name === table)
    const fresh = (await call(() => native.read('student')))[at]!
    const width = fresh.length / rows
    // Row 0 is a new null label's: class 0 is never new where the null label is.
    if (hasNullLabel) fresh.copyWithin((rows - 1) * width, 0, width)
    const none = new Float32Array(fresh.length)
    const widened = (all: readonly Float32Array[], filled: Float32Array) => {
      const before = all[at]!
      const kept = before.length - (movesLast ? width : 0)
      const after = filled.slice()
      after.set(before.subarray(0, kept))
      if (movesLast) after.set(before.subarray(kept), (rows - 1) * width)
      return all.with(at, after)
    }
    for (const tensor of stateTensors) {
      if (!call(() => old.has(tensor))) continue
      const values = await call(() => old.read(tensor))
      await call(() => native.write(tensor, widened(values, zeroAtFirst.has(tensor) ? none : fresh)))
    }
    for (const { name, shape, quadratics } of await call(() => old.readPenalties())) {
      for (const { anchor, importance } of quadratics) {
        const quadratic = { anchor: widened(anchor, fresh), importance: widened(importance, none) }
        await call(() => native.writePenalty({ name, shape, ...quadratic }))
      }
    }
    await call(() => native.setState({ seed, step, taskStep, optimizerStep }))
    return { native, settings }
  } catch (error) {
    call(() => native.dispose())
    throw error
  }
}

/** Makes the learner the one that has grown. */
export function takeOver(core: Core, { native, settings }: Grown): void {
  const old = live(core)
  core.native = native
  core.settings = settings
  call(() => old.dispose())
}
