/** Names and texts of data, configurations and files may hold anything: each kind of output has the function that makes them safe. */

/** Control characters but the line feed, and those that end lines or turn the direction of text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
const controls = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** Text for a terminal, with its line feeds. JSON means the same before and after. */
export function printable(text: string): string {
  return text.replace(controls, escaped)
}

/** Text that stays on one line of a terminal. */
export function oneLine(text: string): string {
  return printable(text).replaceAll('\n', escaped)
}

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
