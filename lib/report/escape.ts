import { oneLine, printable } from '../validation/printable.js'

/** Names and texts of data, configurations and files may hold anything: each kind of output has the function that makes them safe. */

/** Text inside a line or a table cell of Markdown. */
export function escapeMarkdown(text: string): string {
  return oneLine(text)
    .replace(/[\\`*_|[\]~]/g, '\\$&')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
}

/** Text inside HTML and XML, also inside double-quoted attributes. */
export function escapeXml(text: string): string {
  return printable(text)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
