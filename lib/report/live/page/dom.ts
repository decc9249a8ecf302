/** The element of this id, which the page has. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T
}

/** Sets a text where it changed, so that it is not read aloud again. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

/** A new element. What runs and their data are called is only ever text. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties)
  element.append(...children)
  return element
}

/** A table whose first column is a heading. */
export function fillTable(
  table: HTMLTableElement,
  { caption, head, rows }: { caption?: string; head: readonly string[]; rows: readonly (readonly (Node | string)[])[] },
): void {
  const heading = (scope: string, ...children: (Node | string)[]) => {
    const cell = make('th', {}, ...children)
    cell.scope = scope
    return cell
  }
  table.replaceChildren(
    ...(caption === undefined ? [] : [make('caption', {}, caption)]),
    make('thead', {}, make('tr', {}, ...head.map((text) => heading('col', text)))),
    make(
      'tbody',
      {},
      ...rows.map(([first = '', ...cells]) =>
        make('tr', {}, heading('row', first), ...cells.map((cell) => make('td', {}, cell))),
      ),
    ),
  )
}

/** Four digits or so. */
export function digits(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return '–'
  const size = Math.abs(value)
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2)
  return value.toLocaleString('en', { maximumSignificantDigits: 4 })
}

/** `1 h 5 min`. */
export function duration(seconds: number | undefined): string {
  if (seconds === undefined || !Number.isFinite(seconds)) return '–'
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

export function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20)
}

/** A picture of the run folder. */
export function imageOf(file: string, version: string): string {
  return `image?file=${encodeURIComponent(file)}&of=${encodeURIComponent(version)}`
}
