import { isDeepStrictEqual } from 'node:util'
import type { Guidance } from '../config/sampler.js'
import { embeddingWidth, hasClassTable } from '../config/unet.js'
import { call } from '../engine/call.js'
import { invalid } from '../errors.js'
import { type Core, createNative } from './core.js'
import type { NetworkLabels } from './options.js'
import { differences } from './task-in-progress.js'

/**
 * Checks that a learner can be guided by a second one: that both mean the same by image, timestep, prediction and label.
 *
 * @param labels of the images to generate
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export async function checkGuide(
  core: Core,
  guide: Core,
  guidance: Guidance | undefined,
  labels: NetworkLabels | undefined,
  where: string,
): Promise<void> {
  if (guidance === undefined) {
    throw invalid(
      `${where} is given, and the sampler has no guidance; expected its scale too, e.g. sampler: { guidance: { scale: 2 } }`,
    )
  }
  const named = Math.min(core.classes?.names.length ?? 0, guide.classes?.names.length ?? 0)
  const wrong = differences(aspects(guide, named), aspects(core, named))
  if (wrong.length > 0) {
    throw invalid(`${where} differs from the learner in what both must have in common: ${wrong.join('; ')}`)
  }
  if ((await hasFirstWeights(guide)) && !(await hasFirstWeights(core))) {
    throw invalid(`${where} has learned nothing: its weights are random; expected a learner that has taken steps`)
  }
  const unlearned = labels?.find((label) => hasLearned(core, label) === true && hasLearned(guide, label) === false)
  if (unlearned === undefined) return
  const name = core.classes?.names[unlearned]
  throw invalid(
    `${where} has not learned ${name === undefined ? 'the null label' : `the class ${name}`}; expected a learner that has, or other labels`,
  )
}

/** What two learners must have in common for one to guide the other. `named`: so many classes have names in both. */
function aspects({ settings, classes }: Core, named: number) {
  const { unet, schedule, device, precision } = settings
  const { sample_size, in_channels, class_embed_type = null, num_class_embeds = null } = unet
  return {
    unet: {
      ...{ sample_size, in_channels, class_embed_type, num_class_embeds },
      ...(class_embed_type === 'identity' && { 'width of a label': embeddingWidth(unet) }),
    },
    schedule,
    device,
    precision,
    classes: classes?.names.slice(0, named) ?? [],
  }
}

/** Whether the weights are still those drawn from the seed. A network from elsewhere has taken no steps here, and has others. */
async function hasFirstWeights({ native, settings }: Core): Promise<boolean> {
  const { step, seed } = native.state
  if (step > 0) return false
  const fresh = await createNative({ ...settings, ema: 0 }, seed)
  try {
    const [first, now] = await Promise.all([call(() => fresh.read('student')), call(() => native.read('student'))])
    return isDeepStrictEqual(first, now)
  } finally {
    call(() => fresh.dispose())
  }
}

/** Whether a learner has learned what a label stands for, where that is known. */
function hasLearned({ settings: { unet }, classes, nullLabel }: Core, label: number): boolean | undefined {
  if (hasClassTable(unet) && label === unet.num_class_embeds! - 1 && nullLabel !== false) return nullLabel
  return classes && (classes.counts[label] ?? 0) > 0
}
