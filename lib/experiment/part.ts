import { z } from 'zod'
import { invalid } from '../errors.js'

/** One of several runs that an experiment is divided into. */
export const partSchema = z
  .strictObject({
    /** From 1. */
    number: z.int().min(1),
    of: z.int().min(1).max(1_000_000),
  })
  .refine(({ number, of }) => number <= of, 'expected a number of at most of')

type Part = z.output<typeof partSchema>

/** The folder of a part in that of the whole, e.g. `part-3-of-10`. */
export function partFolder({ number, of }: Part): string {
  return `part-${number}-of-${of}`
}

const folderName = /^part-[1-9]\d*-of-[1-9]\d*$/

export function isPartFolder(name: string): boolean {
  return folderName.test(name)
}

/**
 * The methods of each seed that belong to a part: neighbours, the seeds one after the other, so that methods of one seed share their first task.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` where there are more parts than methods and seeds
 */
export function ofPart<Method>(
  methods: readonly Method[],
  seeds: readonly number[],
  part: Part | undefined,
): readonly { readonly seed: number; readonly methods: readonly Method[] }[] {
  if (part === undefined) return seeds.map((seed) => ({ seed, methods }))
  const total = methods.length * seeds.length
  const { number, of } = part
  if (of > total) {
    throw invalid(
      `part: of is ${of}; expected at most ${total}: ${methods.length} methods with ${seeds.length} seeds, of which each part has one or more`,
    )
  }
  const first = Math.floor(((number - 1) * total) / of)
  const end = Math.floor((number * total) / of)
  const isOwn = (seed: number, method: number) => {
    const at = seed * methods.length + method
    return first <= at && at < end
  }
  return seeds
    .map((seed, s) => ({ seed, methods: methods.filter((_, m) => isOwn(s, m)) }))
    .filter(({ methods }) => methods.length > 0)
}
