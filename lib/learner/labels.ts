import { types } from 'node:util'
import { embeddingWidth, hasClassTable, isConditional } from '../config/unet.js'
import type { Subset } from '../data/dataset.js'
import { invalid } from '../errors.js'
import type { ResolvedObjective } from '../methods/objective.js'
import { counted, nearest } from '../validation/names.js'
import { shown } from '../validation/options.js'
import { warn } from '../validation/printable.js'
import type { Core, LearnedLabels } from './core.js'
import type { LearnOptions } from './learn-options.js'
import type { Label, NetworkLabels } from './options.js'

/** How a network's table of classes grows. */
export interface Growth {
  /** More than the table has. */
  readonly rows: number
  /** Whether the last of the rows is to be the null label. */
  readonly hasNullLabel: boolean
  /** Whether it is the last row already. */
  readonly movesLast: boolean
}

/**
 * Checks that a network can learn the labels of some images.
 *
 * @returns `names`: of the classes of these images and of those learned from before; a label is an index into them
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function checkLabels(
  core: Core,
  subsets: readonly Subset[],
  { labelDropout, grow }: { readonly labelDropout: number; readonly grow: boolean },
  where: string,
): { readonly names: readonly string[]; readonly growth: Growth | undefined } {
  const { unet } = core.settings
  const isTable = hasClassTable(unet)
  if (labelDropout > 0 && !isConditional(unet)) {
    throw invalid(
      `${where}: labelDropout is ${labelDropout}, and the network takes no labels; expected 0, or a U-Net with num_class_embeds`,
    )
  }
  if (grow && !isTable) {
    throw invalid(
      `${where}: grow is true, and the network has no table of classes; expected false, or a U-Net with num_class_embeds`,
    )
  }
  if (!isConditional(unet)) return { names: subsets[0]?.dataset.classes ?? [], growth: undefined }
  if (unet.class_embed_type === 'identity') {
    throw invalid(
      `${where}: class_embed_type is 'identity', whose labels are vectors; expected null or 'timestep' to learn from labelled ` +
        'images; step() takes vectors',
    )
  }
  if (labelDropout > 0 && !isTable) {
    throw invalid(
      `${where}: labelDropout needs a null label, a row of the table; expected a U-Net with num_class_embeds`,
    )
  }
  const hasNullLabel = labelDropout > 0 || core.nullLabel === true
  let names = core.classes?.names ?? []
  for (const { dataset } of subsets) {
    const { name, classes } = dataset
    const wrong = classes.findIndex((c, i) => i < names.length && c !== names[i])
    if (wrong !== -1) {
      throw invalid(
        `${where}: the classes of ${name} are ${classes.join(', ')}; expected ${names.join(', ')}, as in the data that the ` +
          'learner knows, and further classes after these: a label must mean the same in all tasks',
      )
    }
    if (classes.length > names.length) names = classes
    const most = isTable ? unet.num_class_embeds! - (hasNullLabel ? 1 : 0) : Number.POSITIVE_INFINITY
    if (classes.length > most && !grow) {
      throw invalid(
        `${where}: ${name} has ${classes.length} classes; expected at most ${most}, as the U-Net's num_class_embeds is ` +
          `${unet.num_class_embeds}${hasNullLabel ? ', the last of which is the null label' : ''}: make a U-Net with more, or learn with ` +
          'grow: true',
      )
    }
  }
  const rows = names.length + (hasNullLabel ? 1 : 0)
  const grows = isTable && rows > unet.num_class_embeds!
  return {
    names,
    growth: grows ? { rows, hasNullLabel, movesLast: hasNullLabel && core.nullLabel !== false } : undefined,
  }
}

/**
 * What a learner knows of classes once it has learned a task.
 *
 * @param names of the classes of all data so far
 * @param weights of what its teacher generated: of one from elsewhere they say which classes it knew
 * @param learned the real images of tasks that it learned from, perhaps none, and those of a memory
 * @param anew whether it has learned some of the tasks before, so that their images are counted already
 */
export function classesAfter(
  before: LearnedLabels | undefined,
  names: readonly string[],
  { tasks, kept }: { readonly tasks: readonly Subset[]; readonly kept: readonly Subset[] },
  anew: boolean,
  weights: Float64Array | undefined,
): LearnedLabels {
  // An index, no iterator: there may be 100,000 images, and nothing else runs meanwhile.
  const countsOf = (subsets: readonly Subset[]) => {
    const counts = names.map(() => 0)
    for (const { dataset, indices } of subsets) {
      for (let i = 0; i < indices.length; i++) counts[dataset.labels[indices[i]!]!]!++
    }
    return counts
  }
  const [counts, own] = [countsOf(tasks), countsOf(kept)]
  const join = anew ? Math.max : (a: number, b: number) => a + b
  const known = before?.counts ?? counts.map((_, label) => ((weights?.[label] ?? 0) > 0 ? 1 : 0))
  // The images of the learner's own memory are counted where it learned them.
  const all = counts.map((count, label) => Math.max(join(count, known[label] ?? 0), own[label] ?? 0))
  return { names, counts: all }
}

/** Notes what a step of a loop of the user's own may have learned: whether the last row means no class only they know. */
export function noteStep(core: Core, labels: NetworkLabels | undefined): void {
  const { unet } = core.settings
  if (core.nullLabel === false && hasClassTable(unet) && labels?.includes(unet.num_class_embeds! - 1))
    core.nullLabel = undefined
}

/** The labels of the classes that a learner has learned; none of an unconditional one. */
export function learnedLabels({ classes }: Pick<Core, 'classes'>): readonly number[] {
  return [...(classes?.counts ?? []).keys()].filter((label) => (classes?.counts[label] ?? 0) > 0)
}

/** The classes learned, in turn, as the labels of images of which `from` come before; undefined where there are none. */
export function labelsInTurn(core: Core, from: number, count: number): Int32Array | undefined {
  const learned = learnedLabels(core)
  if (learned.length === 0) return undefined
  return new Int32Array(count).map((_, i) => learned[(from + i) % learned.length]!)
}

/**
 * How likely each class is for what the teacher generates; undefined where the network takes no labels. Weights by name may have classes that
 * are learned later, so that all tasks can have the same ones.
 *
 * @param names of the classes of all data so far
 * @param needed whether something is to be generated: then at least one class must be
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function labelWeights(
  core: Core,
  wanted: NonNullable<LearnOptions['replayLabels']>,
  names: readonly string[],
  needed: boolean,
  where: string,
): Float64Array | undefined {
  const byName = typeof wanted === 'object' ? new Map(Object.entries(wanted)) : undefined
  if (!isConditional(core.settings.unet)) {
    if (byName === undefined) return undefined
    throw invalid(
      `${where}: replayLabels has weights, and the network takes no labels; expected a U-Net with num_class_embeds`,
    )
  }
  const unknown = byName && [...byName.keys()].find((name) => !names.includes(name))
  if (unknown !== undefined) {
    throw invalid(`${where}: replayLabels: ${noClass(unknown, names)}`)
  }
  const counts = core.classes?.counts
  const weights = Float64Array.from(names, (name, label) => {
    const count = counts?.[label] ?? 0
    if (wanted === 'frequency') return count
    // Which classes a teacher from elsewhere knows, only whoever gives weights for them can tell.
    const isLearned = counts === undefined ? needed && byName !== undefined : count > 0
    return isLearned ? (byName ? (byName.get(name) ?? 0) : 1) : 0
  })
  if (!needed || weights.some((weight) => weight > 0)) return weights
  if (counts === undefined) {
    throw invalid(
      `${where}: the teacher is to generate classes, and the learner has learned none yet; expected replayLabels with the weights of ` +
        'the classes that the teacher knows',
    )
  }
  const learned = learnedLabels(core).map((label) => names[label])
  throw invalid(
    `${where}: the weights of replayLabels are 0 for all classes learned; expected one above 0 for one of ${learned.join(', ')}`,
  )
}

/**
 * So many labels in the weights' proportions, as nearly as whole numbers allow.
 *
 * @returns the label at a position, to be asked for in rising order
 */
export function proportioned(weights: Float64Array, count: number): (position: number) => number {
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  let label = 0
  let reached = weights[0] ?? 0
  return (position) => {
    while (reached < (total * (position + 0.5)) / count && label < weights.length - 1) reached += weights[++label]!
    return label
  }
}

/** The labels for a network that takes none. */
function none(given: unknown, where: string): undefined {
  if (given === undefined) return undefined
  throw invalid(
    `${where}: labels are given, and the network takes none; expected none, or a U-Net with num_class_embeds`,
  )
}

/**
 * The labels of images to generate.
 *
 * @param given one for all images, or one for each. Default: the classes learned, in turn
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function labelsToSample(
  core: Core,
  given: Label | readonly Label[] | NetworkLabels | undefined,
  count: number,
  where: string,
): NetworkLabels | undefined {
  const labels = labelsOf(core, given, count, where)
  if (given !== undefined) warnOfUnlearned(core, labels, where)
  return labels
}

/** Which classes a learner has learned is known of those that learned here. */
function warnOfUnlearned(
  { classes, settings: { unet } }: Core,
  labels: NetworkLabels | undefined,
  where: string,
): void {
  const { names = [], counts = [] } = classes ?? {}
  if (classes === undefined || !types.isInt32Array(labels)) return
  const nullLabel = hasClassTable(unet) ? unet.num_class_embeds! - 1 : undefined
  const unlearned = new Set(
    labels.filter((label) => !((counts[label] ?? 0) > 0) && (label < names.length || label !== nullLabel)),
  )
  if (unlearned.size === 0) return
  const those = [...unlearned].slice(0, 5).map((label) => names[label] ?? String(label))
  warn(
    `${where}: the learner has not learned ${those.join(', ')}${unlearned.size > 5 ? ', …' : ''}, and what it generates for that is none of it; ` +
      `it has learned ${learnedLabels({ classes })
        .map((label) => names[label])
        .join(', ')}`,
    'CONTINUAL_DIFFUSION_UNLEARNED',
  )
}

function labelsOf(
  core: Core,
  given: Label | readonly Label[] | NetworkLabels | undefined,
  count: number,
  where: string,
): NetworkLabels | undefined {
  const { unet } = core.settings
  if (!isConditional(unet)) return none(given, where)
  if (given === undefined) {
    const inTurn = labelsInTurn(core, 0, count)
    if (inTurn) return inTurn
    throw invalid(
      `${where}: the network takes labels, and the learner has learned no class yet, or it isn't known which; expected labels, e.g. 0 for the first class`,
    )
  }
  if (types.isInt32Array(given) || types.isFloat32Array(given)) return networkLabels(core, given, count, where)
  if (Array.isArray(given) && given.length !== count) {
    throw invalid(
      `${where}: labels has ${counted(given.length, 'element')}; expected ${count}, a label for each image, or one label for all`,
    )
  }
  if (!Array.isArray(given)) {
    return networkLabels(core, new Int32Array(count).fill(indexOf(core, given as Label, where)), count, where)
  }
  // Each is looked for once: there may be 100,000 of a few.
  const known = new Map<Label, number>()
  const labels = new Int32Array(given.length)
  for (let i = 0; i < labels.length; i++) {
    const label = given[i] as Label
    if (!known.has(label)) known.set(label, indexOf(core, label, where))
    labels[i] = known.get(label)!
  }
  return networkLabels(core, labels, count, where)
}

function indexOf(core: Core, label: Label, where: string): number {
  if (label === null) {
    if (core.nullLabel !== false && hasClassTable(core.settings.unet)) return core.settings.unet.num_class_embeds! - 1
    throw invalid(`${where}: the label null needs a network that learned with labelDropout; this one has not`)
  }
  if (typeof label === 'number') {
    if (label >= 0 && label < 2 ** 31 && Number.isInteger(label)) return label
    throw invalid(`${where}: the label ${label}; expected a whole number ≥ 0, a class's index`)
  }
  const index = core.classes?.names.indexOf(label) ?? -1
  if (index >= 0) return index
  throw invalid(`${where}: ${noClass(label, core.classes?.names)}`)
}

/** What is said of a name that no class has. */
function noClass(name: string, names: readonly string[] | undefined): string {
  const near = nearest(name, names ?? [])
  const those = names?.join(', ') ?? "not known, so that labels are numbers, each a class's index: 0, 1, …"
  return `no class is named ${shown(name)}${near === undefined ? '' : ` (did you mean ${shown(near)}?)`}; the classes are ${those}`
}

/** Labels that the network takes, whatever they mean; undefined where it takes none. */
export function someLabels({ settings: { unet } }: Core, count: number): NetworkLabels | undefined {
  if (!isConditional(unet)) return undefined
  return unet.class_embed_type === 'identity' ? new Float32Array(count * embeddingWidth(unet)) : new Int32Array(count)
}

/**
 * Checks labels as the network takes them.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function networkLabels(
  core: Core,
  given: NetworkLabels | undefined,
  count: number,
  where: string,
): NetworkLabels | undefined {
  const { unet } = core.settings
  if (!isConditional(unet)) return none(given, where)
  const areVectors = unet.class_embed_type === 'identity'
  const each = areVectors ? embeddingWidth(unet) : 1
  const isKind = areVectors ? types.isFloat32Array(given) : types.isInt32Array(given)
  if (!isKind || given?.length !== count * each) {
    throw invalid(
      `${where}: labels is ${given === undefined ? 'undefined' : `of ${given.length} elements`}; expected ` +
        `${areVectors ? 'a Float32Array' : 'an Int32Array'} of ${count * each}: ` +
        `${areVectors ? `${each} numbers for each image` : 'one for each image'}`,
    )
  }
  const rows = hasClassTable(unet) ? (unet.num_class_embeds ?? 0) : Number.POSITIVE_INFINITY
  const wrong = areVectors ? undefined : given.find((label) => label < 0 || label >= rows)
  if (wrong === undefined) return given
  throw invalid(`${where}: the label ${wrong}; expected 0 … ${rows - 1}, the rows of the U-Net's table`)
}

/**
 * Checks that a network can be guided.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function checkGuidance(
  { settings, nullLabel }: Pick<Core, 'settings' | 'nullLabel'>,
  guidance: object | undefined,
  where: string,
): void {
  if (guidance === undefined) return
  const { unet } = settings
  if (hasClassTable(unet) && nullLabel !== false) return
  const why = !isConditional(unet)
    ? 'the network takes no labels'
    : hasClassTable(unet)
      ? 'the network has not learned the null label'
      : 'the network has no null label'
  throw invalid(
    `${where}: guidance needs an unconditional prediction, and ${why}; learn with labelDropout, e.g. 0.1, or leave it out`,
  )
}

/**
 * Checks that the teacher knows the null label where an objective needs that of it.
 *
 * @param first whether the objective is that of the task after this one, which is the first
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function checkNullLabel(
  { settings, nullLabel }: Core,
  { terms }: ResolvedObjective,
  labelDropout: number,
  first: boolean,
  where: string,
): void {
  const known = first && labelDropout > 0 ? true : nullLabel
  for (const { source } of terms) {
    if (source.kind !== 'teacher') continue
    checkGuidance({ settings, nullLabel: known }, source.sampler.guidance, `${where}: objective: sampler`)
    if (source.labels !== null || (hasClassTable(settings.unet) && known !== false)) continue
    throw invalid(
      `${where}: a term is told the null label, which the network ${hasClassTable(settings.unet) ? 'has not learned' : 'does not have'}; ` +
        'expected a U-Net with num_class_embeds that learns with labelDropout, e.g. 0.1, from the first task on',
    )
  }
  if (labelDropout === 0 || known !== false || terms.every(({ target }) => target !== 'teacher')) return
  throw invalid(
    `${where}: labelDropout is ${labelDropout}, and the teacher, whose predictions are learned, has not learned the null label; learn ` +
      'the earlier tasks with labelDropout too, or leave it out',
  )
}
