import { z } from 'zod'
import { rangeOf } from '../config/timesteps.js'
import { isConditional, type UNetConfig } from '../config/unet.js'
import { invalid } from '../errors.js'
import { type MethodName, type MethodOptions, methodByName } from '../methods/by-name.js'
import { firstTaskOf, type Method } from '../methods/objective.js'
import { optimizerStateSchema } from '../methods/objective-schema.js'
import { checkGoesOn } from './from.js'

/** A method as a configuration names it: by its name alone, or as an object with its options and a label. */
export const methodEntrySchema = z
  .union([
    z.string().min(1),
    // The other options are the method's own, which it checks itself.
    z.looseObject({
      /** What of Adam's state a task begins with. Default: `train.optimizer`, else the method's. */
      optimizer: optimizerStateSchema.optional(),
      name: z.string().min(1),
      label: z
        .string()
        .regex(
          /^(?!real$)(?!.*\.[0-9a-f]{8}\.tmp$)[\w.+-]{0,99}[\w+-]$/,
          "expected at most 100 letters, digits, '.', '_', '+' and '-', since it names a folder; not 'real', and no end such as " +
            "'.' or '.0123abcd.tmp'",
        )
        .optional(),
    }),
  ])
  .transform((entry): MethodEntry => {
    if (typeof entry === 'string') return { name: entry, label: entry }
    return { ...entry, label: entry.label ?? entry.name }
    // What the options of a method are is its own to check, and the compiler's.
  }) as unknown as z.ZodType<MethodEntry, MethodInput>

/**
 * A method of an experiment: its standard name, its label in tables and folders, and its own options.
 *
 * @category Configuration
 */
export type MethodEntry = {
  readonly name: string
  readonly label: string
  readonly optimizer?: 'reset' | 'keep' | undefined
  readonly [option: string]: unknown
}

/**
 * What an experiment says of a method besides the method's own options.
 *
 * @category Configuration
 */
export interface MethodPlace {
  /** Its name in tables and folders. Default: the method's name. */
  readonly label?: string | undefined
  /** The state of Adam that a task begins with. Default: that of `train`, else the method's. */
  readonly optimizer?: 'reset' | 'keep' | undefined
}

/**
 * The name of composed methods, e.g. `generative-distillation+ewc`.
 *
 * @category Configuration
 */
export type ComposedName = `${MethodName}+${string}`

/**
 * A method as an experiment is given it: a name, or an object with the name, the method's own options and a label.
 *
 * @category Configuration
 */
export type MethodInput =
  | MethodName
  | ComposedName
  | { [N in MethodName]: { readonly name: N } & MethodPlace & MethodOptions<N> }[MethodName]
  | ({ readonly name: ComposedName } & MethodPlace & { readonly [N in MethodName]?: MethodOptions<N> })

/** A method of an experiment as a value. */
export interface ResolvedMethod {
  readonly label: string
  /** As its entry says. */
  readonly optimizer: 'reset' | 'keep' | undefined
  readonly method: Method
  /** A description in a sentence for people who don't know the method; for composed methods one sentence for each. */
  readonly about: string
  /** Methods with the same one have the same first task; see {@link firstTaskOf}. */
  readonly firstTask: string
}

/** What of an experiment a method must fit. */
interface Surroundings {
  readonly schedule: { readonly timesteps: number }
  readonly unet: UNetConfig
  readonly from?: { readonly learnedBefore: number } | undefined
  readonly train: { readonly labelDropout: number; readonly optimizer?: 'reset' | 'keep' | undefined }
}

/**
 * Makes the method that an entry names, and checks what can be checked of it before there is any data.
 *
 * @param experiment what it will run in
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for an unknown name, options that the method doesn't have, or what the experiment
 *   doesn't have that it needs
 */
export function resolveMethod(
  { name, label, optimizer, ...options }: MethodEntry,
  { schedule: { timesteps }, unet, from, train }: Surroundings,
): ResolvedMethod {
  const method = methodByName(name, Object.keys(options).length === 0 ? undefined : options)
  const atMost = (what: string, value: number) => {
    if (value <= timesteps) return
    throw invalid(`${label}: ${what} is ${value}; expected at most schedule.timesteps, which is ${timesteps}`)
  }
  for (const { source, timesteps: drawn } of method.objective(2).terms) {
    if (source.kind === 'teacher') {
      const { sampler: { steps = 0, guidance } = {}, stopAtTimestep, pool } = source
      atMost('teacher.steps', steps)
      atMost('teacher.guidance.timesteps[1]', guidance?.timesteps?.[1] ?? 0)
      if (guidance && train.labelDropout === 0) {
        throw invalid(
          `${label}: teacher.guidance needs a null label; give train a labelDropout, e.g. 0.1, or leave it out`,
        )
      }
      if (source.labels === null && train.labelDropout === 0) {
        throw invalid(
          `${label} needs a null label; give train a labelDropout, e.g. 0.1, and the U-Net num_class_embeds`,
        )
      }
      if (stopAtTimestep && pool?.classes === 'even' && !isConditional(unet)) {
        throw invalid(
          `${label}: pool.classes is 'even', and no classifier tells the classes of noisy images; expected 'as-generated'`,
        )
      }
      if (pool?.keep && isConditional(unet)) {
        throw invalid(`${label}: pool.keep is true, and the network takes labels; expected a pool without keep`)
      }
    }
    atMost('timesteps[1]', rangeOf(drawn)?.[1] ?? 0)
  }
  for (const consolidation of method.keeps?.consolidations ?? []) {
    if ('timesteps' in consolidation && consolidation.timesteps) atMost('timesteps[1]', consolidation.timesteps[1])
  }
  if (method.weights === 'fresh' && (optimizer ?? train.optimizer) === 'keep') {
    throw invalid(`${label}: optimizer is 'keep', but each task begins with fresh weights; expected 'reset'`)
  }
  const learnedBefore = from?.learnedBefore ?? 0
  checkGoesOn({ label, method, needsClassifier: needsClassifier(method, unet) }, learnedBefore)
  const sentences = method.name.split('+').map((part) => (Object.hasOwn(about, part) ? about[part as MethodName] : ''))
  return { label, optimizer, method, about: sentences.join(' '), firstTask: firstTaskOf(method, 1 + learnedBefore) }
}

/** Options of the solver of an experiment, which may be there only to tell the classes of pools; undefined where there is no solver. */
export function solverOptions<Options>(
  { solver, unet }: { readonly solver?: Options | undefined; readonly unet: UNetConfig },
  method: Method,
): Options | { epochs: number } | undefined {
  return solver ?? (needsClassifier(method, unet) ? { epochs: 5 } : undefined)
}

/** Whether a method draws evenly by class from a replay pool whose images have no labels. */
export function needsClassifier(method: Method, unet: UNetConfig): boolean {
  if (isConditional(unet)) return false
  return method.objective(2).terms.some(({ source }) => source.kind === 'teacher' && source.pool?.classes === 'even')
}

const about: Readonly<Record<MethodName, string>> = {
  recommended:
    'Generative distillation from a pool of better images, drawn evenly by class; Adam’s state is kept from task to task.',
  finetune: 'Trains on the new task alone, and does nothing against forgetting.',
  joint:
    'Keeps the images of all tasks and trains on all of them: the upper bound, which breaks the rule that old images are gone.',
  'experience-replay': 'Also trains on some real images that it kept of the earlier tasks.',
  'generative-replay': 'Also trains on images that its frozen teacher, the network before this task, generates.',
  'generative-distillation': 'Also learns its frozen teacher’s predictions for images that the teacher generates.',
  'conditional-distillation':
    'Also learns its frozen teacher’s predictions, with labels and without, for a pool of images that has each class equally often.',
  'partial-generation-distillation':
    'Also learns its frozen teacher’s predictions on the way to images, not only at their end.',
  'gaussian-distillation': 'Also learns its frozen teacher’s predictions for pure noise.',
  'symmetric-gaussian-distillation':
    'Also learns its frozen teacher’s predictions for noise, mirrored at low noise levels.',
  'lwf-distillation': 'Also learns its frozen teacher’s predictions for the new task’s images.',
  ewc: 'Holds each weight near its value after the earlier tasks, and more so the more their losses depend on it.',
  'rank-1-ewc': 'Holds the weights back in the one direction on which the earlier tasks’ losses depend most.',
  'synaptic-intelligence':
    'Holds each weight near its value after the earlier tasks, and more so the more it helped to learn them.',
  'teacher-to-student':
    'Each task trains a new student, which learns from the frozen last student alone, without any data.',
}
