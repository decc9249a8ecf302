import { z } from 'zod'
import { ContinualDiffusionError, invalid } from '../errors.js'
import { unknownName } from '../validation/names.js'
import { parseOptions } from '../validation/options.js'
import { compose } from './compose.js'
import { conditionalDistillation } from './conditional-distillation.js'
import { ewc } from './ewc.js'
import { experienceReplay } from './experience-replay.js'
import { finetune } from './finetune.js'
import { gaussianDistillation, symmetricGaussianDistillation } from './gaussian-distillation.js'
import { generativeDistillation } from './generative-distillation.js'
import { generativeReplay } from './generative-replay.js'
import { joint } from './joint.js'
import { lwfDistillation } from './lwf-distillation.js'
import type { Method } from './objective.js'
import { partialGenerationDistillation } from './partial-generation-distillation.js'
import { rankOneEwc } from './rank-one-ewc.js'
import { recommended } from './recommended.js'
import { synapticIntelligence } from './synaptic-intelligence.js'
import { teacherToStudent } from './teacher-to-student.js'

/**
 * The methods by their standard names, which configuration files and the command line use.
 *
 * @category Methods
 */
export const methods = {
  recommended,
  finetune,
  joint,
  'experience-replay': experienceReplay,
  'generative-replay': generativeReplay,
  'generative-distillation': generativeDistillation,
  'conditional-distillation': conditionalDistillation,
  'partial-generation-distillation': partialGenerationDistillation,
  'gaussian-distillation': gaussianDistillation,
  'symmetric-gaussian-distillation': symmetricGaussianDistillation,
  'lwf-distillation': lwfDistillation,
  ewc,
  'rank-1-ewc': rankOneEwc,
  'synaptic-intelligence': synapticIntelligence,
  'teacher-to-student': teacherToStudent,
} as const

/**
 * A method's standard name.
 *
 * @category Methods
 */
export type MethodName = keyof typeof methods

/**
 * The options of a method, by its standard name.
 *
 * @category Methods
 */
export type MethodOptions<N extends MethodName> =
  NonNullable<Parameters<(typeof methods)[N]>[0]> extends Record<string, never>
    ? unknown
    : NonNullable<Parameters<(typeof methods)[N]>[0]>

/**
 * Makes a method from its standard name and its options, e.g. from a configuration file. The method checks its options. Methods whose
 * names are joined by `+` are composed, see {@link compose}; the options of each stand under its name:
 * `methodByName('generative-distillation+ewc', { ewc: { strength: 100 } })`.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for an unknown name; the message suggests the nearest known name
 *
 * @category Methods
 */
export function methodByName(name: string, options?: unknown): Method {
  const names = parseOptions(z.string(), name, 'methodByName: name')
    .split('+')
    .map((part) => part.trim())
  if (names.length > 1 && names.includes('')) {
    throw invalid(`the method '${name}' has no name beside a '+'; expected names joined by '+', e.g. 'joint+ewc'`)
  }
  if (names.length === 1) return single(names.join(), options)
  const shape = Object.fromEntries(names.map((part) => [part, z.unknown().optional()]))
  const byName = parseOptions(z.strictObject(shape).prefault({}), options, name)
  const [first, ...others] = names.map((part) => single(part, byName[part])) as [Method, ...Method[]]
  return compose(first, ...others)
}

function single(name: string, options: unknown): Method {
  if (Object.hasOwn(methods, name)) {
    const make: (options?: never) => Method = methods[name as MethodName]
    return make(options as never)
  }
  throw new ContinualDiffusionError('ERR_INVALID_ARGUMENT', unknownName('method', name, Object.keys(methods)))
}
