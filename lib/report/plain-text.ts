import { oneLine } from '../validation/printable.js'

/** A heading, a row of column heads and rows, whose first column is text and the others numbers. */
export interface PlainTable {
  readonly title: string
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

/**
 * A table in columns for a terminal. Where it is wider than `width` characters, its words are wrapped and the columns that have no room
 * stand below, beside the first one again.
 */
export function plainText({ title, ...cells }: PlainTable, width = Number.POSITIVE_INFINITY): string {
  const rows = [cells.head, ...cells.rows].map((row) => row.map(oneLine))
  const wide = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const widths = lineOf(wide) <= width ? wide : narrowed(rows, width)
  const blocks = blocksOf(widths, width).map((columns) => block(rows, columns, widths))
  return [wrap(oneLine(title), width).join('\n'), ...blocks].join('\n\n')
}

const gap = '   '

/** Where a line may be broken: an arrow stays with its word. */
const between = / (?![↑↓])/

function lineOf(widths: readonly number[]): number {
  return widths.reduce((sum, width) => sum + gap.length + width, -gap.length)
}

/** Widths in which the first column and the heads are wrapped, and numbers are not. */
function narrowed(rows: readonly (readonly string[])[], width: number): number[] {
  const longest = (texts: readonly string[]) => Math.max(...texts.map((text) => text.length))
  const words = (row: readonly string[], column: number) => row[column]!.split(between)
  const [head, ...body] = rows as [string[], ...string[][]]
  const first = Math.min(
    longest(rows.map(([text]) => text!)),
    Math.max(Math.floor(0.4 * width), longest(body.flatMap((row) => words(row, 0)))),
  )
  const most = Math.max(1, width - gap.length - 1)
  return head.map((_, column) =>
    Math.min(most, column === 0 ? first : longest([...words(head, column), ...body.map((row) => row[column]!)])),
  )
}

/** The columns of each block: the first, and as many others as have room, at least one. */
function blocksOf(widths: readonly number[], width: number): number[][] {
  const blocks: number[][] = [[0]]
  for (let column = 1; column < widths.length; column++) {
    const last = blocks.at(-1)!
    const isFull = lineOf([...last, column].map((c) => widths[c]!)) > width
    if (isFull && last.length > 1) blocks.push([0, column])
    else last.push(column)
  }
  return blocks
}

function block(rows: readonly (readonly string[])[], columns: readonly number[], widths: readonly number[]): string {
  // Of a row that has nothing here, the first column says nothing either.
  const shown = rows.filter((row, i) => i === 0 || columns.length === 1 || columns.some((c) => c > 0 && row[c] !== ''))
  const [head, ...body] = shown.map((row) => {
    const wrapped = columns.map((column) => wrap(row[column]!, widths[column]!))
    const height = Math.max(...wrapped.map((lines) => lines.length))
    return Array.from({ length: height }, (_, line) =>
      columns
        .map((column, i) => {
          const text = wrapped[i]![line] ?? ''
          return column === 0 ? text.padEnd(widths[column]!) : text.padStart(widths[column]!)
        })
        .join(gap)
        .trimEnd(),
    )
  })
  const rule = columns.map((column) => '─'.repeat(widths[column]!)).join('─'.repeat(gap.length))
  return [...head!, rule, ...body.flat()].join('\n')
}

/** Lines of at most `width` characters, broken at spaces, and inside of words that are longer. */
export function wrap(text: string, width: number): string[] {
  const lines = ['']
  for (const word of text.split(between)) {
    const line = lines.at(-1)!
    if (line !== '' && line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`
    else {
      if (line === '') lines.pop()
      let rest = word
      for (; rest.length > width; rest = rest.slice(width)) lines.push(rest.slice(0, width))
      lines.push(rest)
    }
  }
  return lines
}
