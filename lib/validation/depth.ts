/** Levels of nesting that no file or option of this package comes near. */
const deepest = 100

/**
 * Whether a value is nested so little that it can be written as JSON and compared: both go down by recursion, for which a few
 * thousand levels are too many.
 */
export function isShallow(value: unknown, levels = deepest): boolean {
  if (typeof value !== 'object' || value === null) return true
  return levels > 0 && Object.values(value).every((inner) => isShallow(inner, levels - 1))
}

/** What a schema says of a value that isn't. */
export const shallowExpected = `expected at most ${deepest} levels of nesting`
