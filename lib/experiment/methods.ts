import { z } from 'zod'
import { type MethodName, methodByName } from '../methods/by-name.js'
import type { Method } from '../methods/objective.js'

/** A method as a configuration names it: by its name alone, or as an object with its options and a label. */
export const methodEntrySchema = z
  .union([
    z.string().min(1),
    // The options are the method's own, which it checks itself.
    z.looseObject({
      name: z.string().min(1),
      label: z
        .string()
        .regex(
          /^(?!real$)[\w.-]*\w$/,
          "expected letters, digits, '.', '_' and '-', since it names a folder, and not 'real'",
        )
        .optional(),
    }),
  ])
  .transform((entry): MethodEntry => {
    if (typeof entry === 'string') return { name: entry, label: entry }
    return { ...entry, label: entry.label ?? entry.name }
  })

/** A method of an experiment: its standard name, its label in tables and folders, and its own options. */
export type MethodEntry = { readonly name: string; readonly label: string; readonly [option: string]: unknown }

/**
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for an unknown name or options that the method doesn't have
 */
export function methodOf({ name, label: _, ...options }: MethodEntry): Method {
  return methodByName(name, Object.keys(options).length === 0 ? undefined : options)
}

/** What a method does, in a sentence for people who see it for the first time. */
export function aboutMethod(name: string): string {
  return Object.hasOwn(about, name) ? about[name as MethodName] : ''
}

const about: Readonly<Record<MethodName, string>> = {
  finetune: 'Trains on the new task alone, as if there had been no other.',
  joint: 'Keeps the images of all tasks and trains on them together: what could be reached without the rule.',
  'generative-replay': 'Also trains on images that its frozen former self draws.',
  'generative-distillation': 'Also learns to denoise, as its frozen former self does, the images which that one draws.',
  'partial-generation-distillation':
    'Also learns its frozen former self’s answers on the way to images, not only at their end.',
  'gaussian-distillation': 'Also learns its frozen former self’s answers to pure noise.',
  'symmetric-gaussian-distillation':
    'Also learns its frozen former self’s answers to noise, mirrored at low noise levels.',
  'lwf-distillation': 'Also learns its frozen former self’s answers to the new task’s images.',
  'teacher-to-student': 'Learns from its frozen former self alone, without any data.',
}
