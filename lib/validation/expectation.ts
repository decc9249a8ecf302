import type { z } from 'zod'
import { counted, nearest } from './names.js'

/** What a wrong value should have been, for a schema that doesn't say it in words of its own. */
export function expectation(issue: z.core.$ZodRawIssue): string {
  return `expected ${expected(issue)}`
}

function expected(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.expected === 'number' && typeof issue.input === 'number'
        ? 'a finite number'
        : (kinds[issue.expected] ?? withArticle(issue.expected))
    case 'invalid_value': {
      const names = issue.values.filter((value) => typeof value === 'string')
      const near = typeof issue.input === 'string' ? nearest(issue.input, names) : undefined
      const any = anyOf(issue.values.map((value) => (typeof value === 'string' ? `'${value}'` : String(value))))
      return near === undefined ? any : `${any} (did you mean '${near}'?)`
    }
    case 'too_small':
      return amount(issue.origin, issue.minimum, issue.inclusive ? 'at least' : 'more than')
    case 'too_big':
      return amount(issue.origin, issue.maximum, issue.inclusive ? 'at most' : 'less than')
    case 'invalid_format':
      return withArticle(issue.format === 'url' ? 'URL' : issue.format)
    default:
      // Of objects of several kinds, told apart by one key, the values of the key.
      return 'options' in issue && Array.isArray(issue.options)
        ? anyOf(issue.options.map((value) => `'${value}'`))
        : 'another value'
  }
}

const kinds: Readonly<Record<string, string>> = {
  array: 'a list',
  boolean: 'true or false',
  int: 'an integer',
  null: 'null',
  record: 'an object',
  tuple: 'a list',
}

export function withArticle(noun: string): string {
  return `${/^[aeio]/i.test(noun) ? 'an' : 'a'} ${noun}`
}

function amount(origin: string, bound: number | bigint, how: string): string {
  if (origin === 'number' || origin === 'int') return `${how} ${bound}`
  return `${how} ${counted(Number(bound), origin === 'string' ? 'letter' : 'element')}`
}

/** `a`, `a or b`, `a, b or c`. */
export function anyOf(alternatives: readonly string[]): string {
  const others = alternatives.slice(0, -1).join(', ')
  return others === '' ? `${alternatives[0]}` : `${others} or ${alternatives.at(-1)}`
}
