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

/**
 * Says something that a person should know of, while the work goes on. The text may hold names of files and classes.
 *
 * @param code for programs that listen to warnings
 */
export function warn(message: string, code: string): void {
  process.emitWarning(printable(message), { code })
}
