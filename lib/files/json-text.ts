/** Brackets, strings and other values of JSON, with the numbers that Python writes and JSON hasn't, each after white space. */
const token =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them in strings
  /[ \t\r\n]*(?:(?<sign>[{}[\],:])|(?<string>"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\dA-Fa-f]{4}))*")|(?<other>-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])|(?:true|false|null|NaN|-?Infinity)\b)|$)/y

/** What may stand at a place, as messages say it. */
const expectations = {
  value: 'a value',
  first: "a value or ']'",
  key: 'a key in double quotes',
  firstKey: "a key in double quotes or '}'",
  colon: "':' after the key",
  next: "',' or ']'",
  nextKey: "',' or '}'",
  end: 'the end of the file',
} as const

/**
 * The first place at which a text is no JSON, or at which an object has a key again, as a message tells it; undefined where there is none.
 */
export function jsonProblem(text: string): string | undefined {
  /** The keys of each object that is open; undefined for a list. */
  const open: (Set<string> | undefined)[] = []
  let expected: keyof typeof expectations = 'value'
  const afterValue = () => (open.length === 0 ? 'end' : open.at(-1) === undefined ? 'next' : 'nextKey')
  token.lastIndex = 0
  for (;;) {
    const begin = token.lastIndex
    const { sign, string, other } = token.exec(text)?.groups ?? { sign: 'wrong' }
    const found = sign ?? (string === undefined ? (other === undefined ? 'end' : 'value') : 'string')
    const length = (sign ?? string ?? other ?? '').length
    if (found === 'end' && expected === 'end') return undefined
    const isValue = expected === 'value' || expected === 'first'
    const isKey = expected === 'key' || expected === 'firstKey'
    if (found === 'string' && isKey) {
      const keys = open.at(-1)!
      const key = JSON.parse(string!) as string
      if (keys.has(key))
        return `${placeOf(text, token.lastIndex - length)}: the key ${string} stands there a second time`
      keys.add(key)
      expected = 'colon'
    } else if (isValue && (found === 'string' || found === 'value')) expected = afterValue()
    else if (isValue && found === '[') {
      open.push(undefined)
      expected = 'first'
    } else if (isValue && found === '{') {
      open.push(new Set())
      expected = 'firstKey'
    } else if (found === ':' && expected === 'colon') expected = 'value'
    else if (found === ',' && (expected === 'next' || expected === 'nextKey'))
      expected = expected === 'next' ? 'value' : 'key'
    else if (
      (found === ']' && (expected === 'next' || expected === 'first')) ||
      (found === '}' && (expected === 'nextKey' || expected === 'firstKey'))
    ) {
      open.pop()
      expected = afterValue()
    } else {
      const at = begin + (/^[ \t\r\n]*/.exec(text.slice(begin))?.[0].length ?? 0)
      return `${placeOf(text, at)}: found ${foundAt(text, at)}; expected ${expectations[expected]}`
    }
  }
}

function foundAt(text: string, at: number): string {
  if (at >= text.length) return 'the end of the file'
  if (/^[\ufffd\0]/.test(text.slice(at)) || text[at + 1] === '\0') return 'bytes that are not UTF-8 (UTF-16?)'
  return `'${/^(?:\w+|.)/su.exec(text.slice(at, at + 20))?.[0]}'`
}

function placeOf(text: string, at: number): string {
  const before = text.slice(0, at).split(/\r\n|\r|\n/)
  return `line ${before.length}, column ${before.at(-1)!.length + 1}`
}

/** JSON whose comments, of either kind of JavaScript's, and commas before a closing bracket are blank; places stay as they are. */
export function withoutComments(text: string): string {
  const blank = (pattern: RegExp, from: string) =>
    from.replace(pattern, (part) => (part.startsWith('"') ? part : part.replace(/[^\r\n]/g, ' ')))
  const bare = blank(/"(?:[^"\\\n]|\\.)*"|\/\/.*|\/\*[\s\S]*?\*\//g, text)
  return blank(/"(?:[^"\\\n]|\\.)*"|,(?=\s*[\]}])/g, bare)
}
