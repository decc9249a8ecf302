import { types } from 'node:util'
import { isConditional, type UNetConfig } from '../config/unet.js'
import type { Subset } from '../data/dataset.js'
import { invalid } from '../errors.js'
import { shown } from '../validation/options.js'
import type { Core, LearnedClasses } from './core.js'
import type { Label, LearnOptions, NetworkLabels } from './options.js'

/** How many labels the network's table has, the null label not counted; undefined: it has none, and takes any number. */
function capacity({ unet }: Core['settings'], nullLabel: boolean): number | undefined {
  const rows = unet.num_class_embeds ?? undefined
  return rows === undefined ? undefined : rows - (nullLabel ? 1 : 0)
}

function hasTable({ class_embed_type: kind, num_class_embeds: rows }: UNetConfig): boolean {
  return (kind ?? null) === null && (rows ?? null) !== null
}

/**
 * Checks that a network can learn the labels of some images.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function checkLabels(core: Core, subsets: readonly Subset[], labelDropout: number, where: string): void {
  const { unet } = core.settings
  if (!isConditional(unet)) {
    if (labelDropout === 0) return
    throw invalid(
      `${where}: labelDropout is ${labelDropout}, and the network takes no labels; expected 0, or a U-Net with num_class_embeds`,
    )
  }
  if (unet.class_embed_type === 'identity') {
    throw invalid(
      `${where}: class_embed_type is 'identity', whose labels are vectors; expected null or 'timestep' to learn from labelled ` +
        'images; step() takes vectors',
    )
  }
  if (labelDropout > 0 && !hasTable(unet)) {
    throw invalid(
      `${where}: labelDropout needs a null label, a row of the table; expected a U-Net with num_class_embeds`,
    )
  }
  const nullLabel = labelDropout > 0 || core.nullLabel === true
  const most = capacity(core.settings, nullLabel)
  for (const { dataset } of subsets) {
    const { name, classes } = dataset
    if (most !== undefined && classes.length > most) {
      throw invalid(
        `${where}: ${name} has ${classes.length} classes; expected at most ${most}, as the U-Net's num_class_embeds is ` +
          `${unet.num_class_embeds}${nullLabel ? ', the last of which is the null label' : ''}: make a U-Net with more`,
      )
    }
    const known = core.classes?.names ?? subsets[0]!.dataset.classes
    if (classes.length !== known.length || classes.some((c, i) => c !== known[i])) {
      throw invalid(
        `${where}: the classes of ${name} are ${classes.join(', ')}; expected ${known.join(', ')}, as in the data that the ` +
          'learner knows: a label must mean the same in all tasks',
      )
    }
  }
}

/** What a learner knows of classes once it has learned a task. */
export function classesAfter(before: LearnedClasses | undefined, { dataset, indices }: Subset): LearnedClasses {
  const counts = dataset.classes.map((_, label) => before?.counts[label] ?? 0)
  for (const index of indices) counts[dataset.labels[index] as number]!++
  return { names: dataset.classes, counts }
}

/** The labels of the classes that a learner has learned; none of an unconditional one. */
export function learnedLabels({ classes }: Core): readonly number[] {
  return [...(classes?.counts ?? []).keys()].filter((label) => (classes?.counts[label] ?? 0) > 0)
}

/** How likely each class is for what the teacher generates; undefined where the network takes no labels. */
export function labelWeights(
  core: Core,
  wanted: NonNullable<LearnOptions['replayLabels']>,
  where: string,
): Float64Array | undefined {
  if (!isConditional(core.settings.unet)) return undefined
  const { names, counts } = core.classes ?? { names: [], counts: [] }
  if (wanted === 'uniform') return Float64Array.from(counts, (count) => (count > 0 ? 1 : 0))
  if (wanted === 'frequency') return Float64Array.from(counts)
  for (const name of Object.keys(wanted)) {
    if ((counts[names.indexOf(name)] ?? 0) > 0) continue
    const learned = names.filter((_, i) => counts[i]! > 0)
    throw invalid(
      `${where}: replayLabels has a weight for ${name}; the classes learned are ${learned.join(', ') || 'none yet'}`,
    )
  }
  const weights = Float64Array.from(names, (name) => wanted[name] ?? 0)
  if (weights.some((weight) => weight > 0) || counts.length === 0) return weights
  throw invalid(`${where}: all weights of replayLabels are 0; expected at least one above 0`)
}

/** So many labels in the weights' proportions, as nearly as whole numbers allow. */
export function proportioned(weights: Float64Array, count: number): Int32Array {
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  let label = 0
  let reached = weights[0] ?? 0
  return Int32Array.from({ length: count }, (_, i) => {
    while (reached < (total * (i + 0.5)) / count && label < weights.length - 1) reached += weights[++label]!
    return label
  })
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
  const { unet } = core.settings
  if (!isConditional(unet)) {
    if (given === undefined) return undefined
    throw invalid(
      `${where}: labels are given, and the network takes none; expected none, or a U-Net with num_class_embeds`,
    )
  }
  if (given === undefined) {
    const learned = learnedLabels(core)
    if (learned.length > 0) return Int32Array.from({ length: count }, (_, i) => learned[i % learned.length]!)
    throw invalid(`${where}: the network takes labels, and the learner has learned no class yet; expected labels`)
  }
  if (types.isInt32Array(given) || types.isFloat32Array(given)) return networkLabels(core, given, count, where)
  const list = Array.isArray(given) ? (given as readonly Label[]) : Array.from({ length: count }, () => given as Label)
  return networkLabels(
    core,
    Int32Array.from(list, (label) => indexOf(core, label, where)),
    count,
    where,
  )
}

function indexOf(core: Core, label: Label, where: string): number {
  if (label === null) {
    if (core.nullLabel !== false && hasTable(core.settings.unet)) return core.settings.unet.num_class_embeds! - 1
    throw invalid(`${where}: the label null needs a network that learned with labelDropout; this one has not`)
  }
  if (typeof label === 'number') return label
  const index = core.classes?.names.indexOf(label) ?? -1
  if (index >= 0) return index
  throw invalid(
    `${where}: no class is named ${shown(label)}; the classes are ${core.classes?.names.join(', ') ?? 'not known yet'}`,
  )
}

/** Labels that the network takes, whatever they mean; undefined where it takes none. */
export function someLabels({ settings: { unet } }: Core, count: number): NetworkLabels | undefined {
  if (!isConditional(unet)) return undefined
  return unet.class_embed_type === 'identity' ? new Float32Array(count * labelWidth(unet)) : new Int32Array(count)
}

function labelWidth({ block_out_channels: [first = 0] }: UNetConfig): number {
  return 4 * first
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
  if (!isConditional(unet)) {
    if (given === undefined) return undefined
    throw invalid(
      `${where}: labels are given, and the network takes none; expected none, or a U-Net with num_class_embeds`,
    )
  }
  const areVectors = unet.class_embed_type === 'identity'
  const each = areVectors ? labelWidth(unet) : 1
  const isKind = areVectors ? types.isFloat32Array(given) : types.isInt32Array(given)
  if (!isKind || given?.length !== count * each) {
    throw invalid(
      `${where}: labels is ${given === undefined ? 'undefined' : `of ${given.length} elements`}; expected ` +
        `${areVectors ? 'a Float32Array' : 'an Int32Array'} of ${count * each}: ` +
        `${areVectors ? `${each} numbers for each image` : 'one for each image'}`,
    )
  }
  const rows = hasTable(unet) ? (unet.num_class_embeds ?? 0) : Number.POSITIVE_INFINITY
  const wrong = areVectors ? undefined : given.find((label) => label < 0 || label >= rows)
  if (wrong === undefined) return given
  throw invalid(`${where}: the label ${wrong}; expected 0 … ${rows - 1}, the rows of the U-Net's table`)
}

/**
 * Checks that a network can be guided.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`
 */
export function checkGuidance({ settings, nullLabel }: Core, guidance: object | undefined, where: string): void {
  if (guidance === undefined) return
  const { unet } = settings
  if (hasTable(unet) && nullLabel !== false) return
  const why = !isConditional(unet)
    ? 'the network takes no labels'
    : hasTable(unet)
      ? 'the network has not learned the null label'
      : 'the network has no null label'
  throw invalid(
    `${where}: guidance needs an unconditional prediction, and ${why}; learn with labelDropout, e.g. 0.1, or leave it out`,
  )
}
