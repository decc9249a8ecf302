import { inspect } from 'node:util'
import { z } from 'zod'
import { ContinualDiffusionError, type ErrorCode } from '../errors.js'
import { anyOf, expectation } from './expectation.js'

/**
 * Checks options that came from outside against a schema and returns them with the schema's defaults filled in.
 *
 * @param schema what is allowed; objects should be `z.strictObject`, so that a misspelt key is refused and not ignored
 * @param value the options as given
 * @param where what the message starts with: a function, a file or a command
 * @param code the error's code; default `ERR_INVALID_ARGUMENT`
 * @throws ContinualDiffusionError that names every wrong option with the value found and the one expected, and for an
 *   unknown key the nearest known one
 */
export function parseOptions<S extends z.ZodType>(
  schema: S,
  value: unknown,
  where: string,
  code: ErrorCode = 'ERR_INVALID_ARGUMENT',
): z.output<S> {
  const result = schema.safeParse(value, { error: expectation })
  if (result.success) return result.data
  const lines = result.error.issues.flatMap((issue) => describe(issue, schema, value, []))
  const more = lines.length > namedAtMost ? [`and ${lines.length - namedAtMost} more`] : []
  const message = [...lines.slice(0, namedAtMost), ...more].join('; ')
  throw new ContinualDiffusionError(code, `${where}: ${message}`, { cause: result.error })
}

/** Wrong options that a message names. */
const namedAtMost = 20

/** Letters of a name that a message shows; no name of ours has as many. */
const shownAtMost = 60

/**
 * The known name that is most like `name`, or undefined when none is like it: at most a third of its letters, and at
 * least one, may have to be changed, added, left out or swapped with the next.
 */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  if (name.length > shownAtMost) return undefined
  let best: string | undefined
  let bestDistance = Math.max(1, Math.floor(name.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/**
 * A sentence for a name that isn't among the known ones: which one was perhaps meant, and which there are.
 *
 * @param kind what the name is of, e.g. `method`
 */
export function unknownName(kind: string, name: string, known: readonly string[]): string {
  const near = nearest(name, known)
  const hint = near === undefined ? '' : ` (did you mean ${quote(near)}?)`
  return `unknown ${kind} ${quote(name)}${hint}; known: ${known.join(', ')}`
}

type Issue = z.core.$ZodIssue

function describe(issue: Issue, schema: z.ZodType, value: unknown, base: readonly PropertyKey[]): string[] {
  const path = [...base, ...issue.path]
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, path, value)
    return issue.keys.map((key) => {
      const inside = path.length === 0 ? '' : ` in ${shownPath(path)}`
      return `${unknownName('option', key, known)}${inside}`
    })
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    // The alternative that got furthest is the one that was meant; when none got into the value, all are named.
    const deeper = issue.errors.find((issues) =>
      issues.some((i) => i.path.length > 0 || i.code === 'unrecognized_keys'),
    )
    if (deeper) return deeper.flatMap((inner) => describe(inner, schema, value, path))
    const expected = new Set(issue.errors.flat().map(({ message }) => message.replace(/^expected /, '')))
    return [`${subject(path, value)}; expected ${anyOf([...expected])}`]
  }
  return [`${subject(path, value)}; ${issue.message}`]
}

function subject(path: readonly PropertyKey[], value: unknown): string {
  const found = path.reduce(valueAt, value)
  const name = path.length === 0 ? 'the value' : shownPath(path)
  return found === undefined ? `${name} is missing` : `${name} is ${shown(found)}`
}

/** A value in a message: as JavaScript writes it, and no longer than a line, however large it is. */
export function shown(value: unknown): string {
  const text = inspect(value, {
    depth: 1,
    breakLength: Number.POSITIVE_INFINITY,
    maxArrayLength: 5,
    maxStringLength: shownAtMost,
  })
  return text.length > 120 ? `${text.slice(0, 119)}…` : text
}

/** The way to a field in a message: `runs[0].tasks`. */
export function shownPath(path: readonly PropertyKey[]): string {
  return path
    .map((key, i) => (typeof key === 'number' ? `[${key}]` : i === 0 ? short(String(key)) : `.${short(String(key))}`))
    .join('')
}

function quote(name: string): string {
  return `'${short(name)}'`
}

function short(name: string): string {
  return name.length > shownAtMost ? `${name.slice(0, shownAtMost - 1)}…` : name
}

/** Keys of the objects that the schema allows at a path; of several kinds of object, those of the value's own kind. */
function keysAt(schema: z.ZodType, path: readonly PropertyKey[], value: unknown): string[] {
  let at: readonly z.core.$ZodType[] = unwrap(schema, value)
  let found = value
  for (const key of path) {
    found = valueAt(found, key)
    at = at.flatMap((s) => {
      if (s instanceof z.ZodObject) return unwrap(s.shape[key as string], found)
      if (s instanceof z.ZodArray) return unwrap(s.element, found)
      if (s instanceof z.ZodTuple) return unwrap(s.def.items[key as number], found)
      if (s instanceof z.ZodRecord) return unwrap(s.valueType, found)
      return []
    })
  }
  return [...new Set(at.flatMap((s) => (s instanceof z.ZodObject ? Object.keys(s.shape) : [])))]
}

/** The schemas behind optional, default, nullable, readonly, transformed and united ones. */
function unwrap(schema: z.core.$ZodType | undefined, value: unknown): readonly z.core.$ZodType[] {
  if (schema === undefined) return []
  if (schema instanceof z.ZodDiscriminatedUnion) {
    const { discriminator, options } = schema.def
    const key = valueAt(value, discriminator)
    return options
      .flatMap((option) => unwrap(option, value))
      .filter((s) => !(s instanceof z.ZodObject) || z.safeParse(s.shape[discriminator], key).success)
  }
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => unwrap(option, value))
  if (schema instanceof z.ZodPipe) return unwrap(schema.in, value)
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodReadonly
  ) {
    return unwrap(schema.unwrap(), value)
  }
  return [schema]
}

/** Whether a value is an object with keys, and no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function valueAt(value: unknown, key: PropertyKey): unknown {
  return (value as Record<PropertyKey, unknown> | null | undefined)?.[key]
}

/** Damerau's distance in its restricted form: insertions, deletions, substitutions, swaps of neighbours. */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    const above = rows[i - 1] as number[]
    for (let j = 1; j <= b.length; j++) {
      const substitution = (above[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      let distance = Math.min((above[j] as number) + 1, (row[j - 1] as number) + 1, substitution)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, ((rows[i - 2] as number[])[j - 2] as number) + 1)
      }
      row.push(distance)
    }
    rows.push(row)
  }
  return (rows[a.length] as number[])[b.length] as number
}
