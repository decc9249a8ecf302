import { inspect } from 'node:util'
import { z } from 'zod'
import { ContinualDiffusionError, type ErrorCode } from '../errors.js'
import { anyOf, expectation } from './expectation.js'
import { short, shownAtMost, unknownName } from './names.js'

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
  const { issues } = result.error
  const isLeftOut = value === undefined && issues[0]?.path.length === 0 && issues[0].message === 'expected an object'
  const needed = isLeftOut ? neededKeys(schema) : []
  const lines =
    needed.length > 0
      ? [`the value is missing; expected an object with ${needed.join(', ')}`]
      : issues.flatMap((issue) => describe(issue, schema, value, []))
  const more = lines.length > namedAtMost ? [`and ${lines.length - namedAtMost} more`] : []
  const message = [...lines.slice(0, namedAtMost), ...more].join('; ')
  throw new ContinualDiffusionError(code, `${where}: ${message}`, { cause: result.error })
}

/** The keys without which options are refused. */
function neededKeys(schema: z.ZodType): string[] {
  const issues = schema.safeParse({}).error?.issues ?? []
  return [...new Set(issues.filter(({ path }) => path.length > 0).map(({ path }) => String(path[0])))]
}

/** Wrong options that a message names. */
const namedAtMost = 20

type Issue = z.core.$ZodIssue

function describe(issue: Issue, schema: z.ZodType, value: unknown, base: readonly PropertyKey[]): string[] {
  const path = [...base, ...issue.path]
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, path, value)
    return issue.keys.map((key, i) => {
      const inside = path.length === 0 ? '' : ` in ${shownPath(path)}`
      return `${unknownName('option', key, known, i === issue.keys.length - 1)}${inside}`
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

/** Without the keys whose value is undefined, which would hide a default. */
export function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>
}

function valueAt(value: unknown, key: PropertyKey): unknown {
  return (value as Record<PropertyKey, unknown> | null | undefined)?.[key]
}
