import fc from 'fast-check'
import { expect, it } from 'vitest'
import { jsonProblem } from '../lib/files/json-text.js'

const isJson = (text: string) => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

it('finds a problem in just those texts that JSON.parse refuses, the numbers of Python aside', () => {
  const json = fc.json({ noUnicodeString: false }).filter((text) => !/NaN|Infinity/.test(text))
  fc.assert(fc.property(json, (text) => void expect(jsonProblem(text)).toBeUndefined()))
  // A piece is taken out, doubled or put in: most texts are broken, and some are not.
  const damaged = fc
    .tuple(json, fc.nat(), fc.nat(4), fc.constantFrom('', ',', ':', '[', '}', '"', '1', '0', ' ', '\\', 'e', '-', '\n'))
    .map(([text, at, length, put]) => {
      const from = at % (text.length + 1)
      return text.slice(0, from) + put + text.slice(from + length)
    })
    .filter((text) => !/NaN|Infinity/.test(text))
  fc.assert(
    fc.property(damaged, (text) => {
      const problem = jsonProblem(text)
      if (problem?.includes('a second time')) return
      expect(problem === undefined).toBe(isJson(text))
    }),
    { numRuns: 500 },
  )
})

it.each([
  ['{"a": 1\n "b": 2}', "line 2, column 2: found '\"'; expected ',' or '}'"],
  ['[1,\r\n02]', "line 2, column 1: found '02'; expected a value"],
  ['{a: 1}', "line 1, column 2: found 'a'; expected a key in double quotes or '}'"],
  ['{"a" 1}', "line 1, column 6: found '1'; expected ':' after the key"],
  ['', 'line 1, column 1: found the end of the file; expected a value'],
  ['\ufffd\ufffd{\0"\0', 'line 1, column 1: found bytes that are not UTF-8 (UTF-16?); expected a value'],
  ['{\0"\0', "line 1, column 2: found bytes that are not UTF-8 (UTF-16?); expected a key in double quotes or '}'"],
  ['[1] x', "line 1, column 5: found 'x'; expected the end of the file"],
  ['[[{"a": {"b": 1, "b": 2}}]]', 'line 1, column 18: the key "b" stands there a second time'],
])('tells line and column: %s', (text, message) => expect(jsonProblem(text)).toBe(message))
