/** Letters of a name that a message shows; no name of ours has as many. */
export const shownAtMost = 60

/** A number of things, as a message says it: `1 channel`, `3 channels`. */
export function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`
}

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
 * @param lists whether all known names follow, which one of several messages does
 */
export function unknownName(kind: string, name: string, known: readonly string[], lists = true): string {
  const near = nearest(name, known)
  const hint = near === undefined ? '' : ` (did you mean ${quote(near)}?)`
  const list = lists ? `; known: ${known.length === 0 ? 'none' : known.join(', ')}` : ''
  return `unknown ${kind} ${quote(name)}${hint}${list}`
}

function quote(name: string): string {
  return `'${short(name)}'`
}

/** A name as a message shows it. */
export function short(name: string): string {
  return name.length > shownAtMost ? `${name.slice(0, shownAtMost - 1)}…` : name
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
