import { seriesColor } from './colors.js'
import { escapeXml as e } from './escape.js'
import { readable } from './summary.js'

/** The mark that goes with a method's name, in the colour of its series. */
export function chip(n: number): string {
  return `<i class="chip" style="background: var(--${seriesColor(n)})"></i>`
}

/** A method's name with its mark. */
export function methodName(label: string, n: number): string {
  return `${chip(n)}${e(readable(label))}`
}

/** HTML needs no namespaces on inline SVG; what scales is the view box. */
export function inline(svg: string): string {
  return svg.replace(/ xmlns(:xlink)?="[^"]*"/g, '').replace(/(<svg [^>]*?) width="\d+" height="\d+"/, '$1')
}

/** What opens when it is asked for. */
export function details(summary: string, html: string, isOpen = false): string {
  return `<details${isOpen ? ' open' : ''}><summary>${e(summary)}</summary>${html}</details>`
}

/** A table whose first column is a heading; cells are HTML. */
export function table(options: {
  caption?: string
  head: readonly string[]
  rows: readonly (readonly string[])[]
  foot?: readonly string[]
}): string {
  const { caption, head, rows, foot } = options
  const row = ([first, ...cells]: readonly string[]) =>
    `<tr><th scope="row">${first}</th>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`
  return `<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>
${caption === undefined ? '' : `<caption>${e(caption)}</caption>`}
<thead><tr>${head.map((cell) => `<th scope="col">${cell}</th>`).join('')}</tr></thead>
<tbody>
${rows.map(row).join('\n')}
</tbody>
${foot === undefined ? '' : `<tfoot>${row(foot)}</tfoot>`}
</table></div>`
}

/** `3 min 5 s`. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`
}
