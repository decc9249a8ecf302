import { isDeepStrictEqual } from 'node:util'
import { invalid } from '../errors.js'
import type { Keeps, Method, Objective, Term } from './objective.js'
import { checkMethod, termSchema } from './objective-schema.js'

/**
 * Joins methods into one, e.g. `compose(generativeDistillation(), ewc())`. The result has the terms and penalties of all of them, and
 * keeps what they keep. If several methods have a term that differs in its weight at most, such as *task → data*, the result has that term
 * once, with the weight from the first of them. The result trains on all tasks' data, from fresh weights, or with Adam's state kept, if one of
 * the methods does; fresh weights begin with a fresh state.
 *
 * @returns a method named by the methods' names, joined by `+`
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when two methods have a penalty of the same name, or want different memories or
 *   different values of `teacherDecay`
 *
 * @category Methods
 */
export function compose(first: Method, ...others: readonly Method[]): Method {
  for (const [i, method] of [first, ...others].entries()) checkMethod(method, `compose: method ${i + 1}`)
  return others.reduce(both, first)
}

function both(first: Method, second: Method): Method {
  const name = `${first.name}+${second.name}`
  const keeps = join(first.keeps, second.keeps, name)
  const data = first.data === 'cumulative' || second.data === 'cumulative' ? 'cumulative' : undefined
  const fresh = first.weights === 'fresh' || second.weights === 'fresh'
  // The state of Adam that belongs to weights that are drawn anew can't be kept.
  const keepsOptimizer = !fresh && (first.optimizer === 'keep' || second.optimizer === 'keep')
  const epochOf = [first, second].every((method) => method.data !== 'cumulative' || method.epochOf === 'task')
  return {
    name,
    ...(data ? { data } : {}),
    ...(data && epochOf ? { epochOf: 'task' } : {}),
    ...(fresh ? { weights: 'fresh' } : {}),
    ...(keepsOptimizer ? { optimizer: 'keep' } : {}),
    ...(keeps ? { keeps } : {}),
    objective(k): Objective {
      const [a, b] = [first.objective(k), second.objective(k)]
      const own = b.terms.filter((term) => !a.terms.some((other) => sameButWeight(term, other)))
      const penalties = [...(a.penalties ?? []), ...(b.penalties ?? [])]
      return { terms: [...a.terms, ...own], ...(penalties.length > 0 ? { penalties } : {}) }
    },
  }
}

function sameButWeight(a: Term, b: Term): boolean {
  return isDeepStrictEqual(withoutWeight(a), withoutWeight(b))
}

/** With its defaults, which a method may have written out. */
function withoutWeight(term: Term): Term {
  const { data = term } = termSchema.safeParse(term)
  return { loss: 'mse', ...data, weight: 0 } as Term
}

function join(a: Keeps | undefined, b: Keeps | undefined, name: string): Keeps | undefined {
  if (a === undefined || b === undefined) return a ?? b
  for (const key of ['memory', 'teacherDecay'] as const) {
    if (a[key] !== undefined && b[key] !== undefined && !isDeepStrictEqual(a[key], b[key])) {
      const [one, other] = [a[key], b[key]].map((value) => JSON.stringify(value))
      throw invalid(
        `${name}: keeps.${key} is ${one} in the first method and ${other} in the second; expected the same in both, as a learner has only one`,
      )
    }
  }
  const consolidations = [...(a.consolidations ?? []), ...(b.consolidations ?? [])]
  const names = consolidations.map(({ penalty }) => penalty)
  const twice = names.find((penalty, i) => names.indexOf(penalty) !== i)
  if (twice !== undefined)
    throw invalid(
      `${name}: both methods have the penalty '${twice}'; a learner keeps a penalty once, so give one of them another name`,
    )
  return { ...a, ...b, ...(consolidations.length > 0 ? { consolidations } : {}) }
}
