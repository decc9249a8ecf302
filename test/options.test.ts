import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { ContinualDiffusionError } from '../lib/errors.js'
import { arraySchema } from '../lib/validation/fields.js'
import { nearest, unknownName } from '../lib/validation/names.js'
import { parseOptions } from '../lib/validation/options.js'

const schema = z.strictObject({
  lambda: z.number().min(0).default(1),
  teacher: z.strictObject({ steps: z.int().min(1), eta: z.number() }).prefault({ steps: 2, eta: 0 }),
  sides: z.array(z.int()).optional(),
  loss: z.union([z.enum(['mse', 'smooth-l1']), z.strictObject({ kind: z.literal('min-snr') })]).optional(),
})

function failure(value: unknown, expected: z.ZodType = schema): ContinualDiffusionError {
  try {
    parseOptions(expected, value, 'here')
  } catch (error) {
    if (error instanceof ContinualDiffusionError) return error
    throw error
  }
  throw new Error('no failure')
}

describe('parseOptions', () => {
  it('returns the value with its defaults', () => {
    expect(parseOptions(schema, {}, 'here')).toEqual({ lambda: 1, teacher: { steps: 2, eta: 0 } })
  })

  it('names the nearest known key at any depth', () => {
    expect(failure({ lamda: 1 }).message).toMatch(
      /^here: unknown option 'lamda' \(did you mean 'lambda'\?\); known: lambda, /,
    )
    expect(failure({ teacher: { step: 3, eta: 0, steps: 2 } }).message).toMatch(
      /'step' \(did you mean 'steps'\?\); known: steps, eta in teacher$/,
    )
    expect(failure({ loss: { kind: 'min-snr', gama: 5 } }).message).toContain("'gama'; known: kind in loss")
  })

  it('gives the path, the value found and the one expected, for every fault', () => {
    const { message, code } = failure({ lambda: -1, teacher: { steps: 1.5, eta: 'no' }, sides: [1, 2, 'x'] })
    expect(code).toBe('ERR_INVALID_ARGUMENT')
    expect(message).toMatch(/lambda is -1; expected at least 0/)
    expect(message).toMatch(/teacher\.steps is 1\.5; expected an integer/)
    expect(message).toMatch(/teacher\.eta is 'no'; expected a number/)
    expect(message).toMatch(/sides\[2\] is 'x'; expected a number/)
  })

  it('says what is missing and which alternatives there are', () => {
    expect(failure({ teacher: { steps: 2 } }).message).toContain('teacher.eta is missing; expected a number')
    expect(failure({ loss: 'l2' }).message).toMatch(/loss is 'l2'; expected 'mse' or 'smooth-l1' or an object$/)
    expect(failure(null).message).toBe('here: the value is null; expected an object')
  })

  it.each<[z.ZodType, unknown, string]>([
    [z.enum(['a', 'b', 'c']), 1, "1; expected 'a', 'b' or 'c'"],
    [z.boolean(), 'yes', "'yes'; expected true or false"],
    [z.number().gt(0).lt(1), 1, '1; expected less than 1'],
    [z.number().gt(0), 0, '0; expected more than 0'],
    [z.string().min(1), '', "''; expected at least 1 letter"],
    [z.array(z.int()).max(2), [1, 2, 3], '[ 1, 2, 3 ]; expected at most 2 elements'],
    [z.tuple([z.int(), z.int()]), [1], '[ 1 ]; expected at least 2 elements'],
    [z.record(z.string(), z.int()), [], '[]; expected an object'],
    [z.instanceof(AbortSignal), 1, '1; expected an AbortSignal'],
    [z.url(), 'here', "'here'; expected a URL"],
    [z.null(), 0, '0; expected null'],
    [arraySchema(Float32Array), [], '[]; expected a Float32Array'],
  ])('in words of its own: %#', (expected, value, message) => {
    expect(failure(value, expected).message).toBe(`here: the value is ${message}`)
  })

  it('names the kinds of objects that one key tells apart', () => {
    const kinds = z.discriminatedUnion('kind', [
      z.strictObject({ kind: z.literal('ratio') }),
      z.strictObject({ kind: z.literal('power') }),
    ])
    expect(failure({ kind: 'powr' }, kinds).message).toBe("here: kind is 'powr'; expected 'ratio' or 'power'")
    expect(failure({}, z.union([z.number(), kinds])).message).toBe("here: kind is missing; expected 'ratio' or 'power'")
  })

  it('tells of an array whose memory was transferred', () => {
    const array = new Float32Array(4)
    structuredClone(array.buffer, { transfer: [array.buffer] })
    expect(failure(array, arraySchema(Float32Array)).message).toMatch(
      /expected a Float32Array with .*\(its buffer is detached\)$/,
    )
    expect(parseOptions(arraySchema(Float32Array), new Float32Array(0), 'here')).toHaveLength(0)
  })

  it('uses the code it is given', () => {
    expect(() => parseOptions(schema, 1, 'config.json', 'ERR_BAD_CHECKPOINT')).toThrow(
      expect.objectContaining({ code: 'ERR_BAD_CHECKPOINT' }),
    )
  })

  it('refuses numbers that are not finite', () => {
    for (const lambda of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(failure({ lambda }).message).toBe(`here: lambda is ${lambda}; expected a finite number`)
  })
})

describe('nearest', () => {
  it('finds misspelt names and nothing for others', () => {
    const names = ['finetune', 'joint', 'generative-replay', 'generative-distillation']
    expect(nearest('generative-distilation', names)).toBe('generative-distillation')
    expect(nearest('Finetune', names)).toBe('finetune')
    expect(nearest('jiont', names)).toBe('joint')
    expect(nearest('adam', names)).toBeUndefined()
    expect(unknownName('method', 'adam', names)).not.toContain('did you mean')
  })
})
