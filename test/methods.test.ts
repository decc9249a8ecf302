import { describe, expect, it } from 'vitest'
import {
  finetune,
  gaussianDistillation,
  generativeDistillation,
  generativeReplay,
  joint,
  type MethodName,
  methodByName,
  methods,
  type Term,
  teacherToStudent,
} from '../lib/methods/index.js'

const names = Object.keys(methods) as MethodName[]
const error = (message: RegExp) =>
  expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', message: expect.stringMatching(message) })

const task: Term = { source: { kind: 'task' }, target: 'noise', weight: 1 }
const teacher = { kind: 'teacher', steps: 2, eta: 0 }

/** The table of the terms that stand for the earlier tasks, with the default λ. */
const table: Record<string, [lambda: number, source: object, target: string]> = {
  'generative-replay': [1, teacher, 'noise'],
  'generative-distillation': [0.75, teacher, 'teacher'],
  'partial-generation-distillation': [0.75, { ...teacher, stopAtTimestep: true }, 'teacher'],
  'gaussian-distillation': [8, { kind: 'gaussian' }, 'teacher'],
  'symmetric-gaussian-distillation': [8, { kind: 'gaussian', symmetric: true }, 'teacher'],
  'lwf-distillation': [1.25, { kind: 'task' }, 'teacher'],
}

describe('every method', () => {
  it.each(names)(
    '%s has its standard name, trains the first task as finetune does, and gives the same each time',
    (name) => {
      const method = methodByName(name)
      expect(method.name).toBe(name)
      expect(method.objective(1)).toEqual({ terms: [task] })
      expect(method.objective(3)).toEqual(methodByName(name, {}).objective(3))
      expect(method.data).toBe(name === 'joint' ? 'cumulative' : undefined)
      expect(structuredClone(method.objective(3))).toEqual(method.objective(3))
    },
  )

  it.each(names)('%s refuses a task number that is none', (name) => {
    for (const k of [0, -1, 1.5, Number.NaN]) {
      expect(() => methodByName(name).objective(k)).toThrow(error(/task number is .*; expected 1, 2, 3/))
    }
  })

  it.each(names)('%s refuses unknown options', (name) => {
    expect(() => methodByName(name, { lamda: 1 })).toThrow(error(/unknown option 'lamda'/))
    expect(() => methodByName(name, 3)).toThrow(error(/the value is 3/))
  })
})

describe('finetune and joint', () => {
  it('learn the task alone, unweighted', () => {
    for (const k of [2, 5]) {
      expect(finetune().objective(k)).toEqual({ terms: [task] })
      expect(joint().objective(k)).toEqual({ terms: [task] })
    }
  })
})

describe('balanced methods', () => {
  it.each(Object.entries(table))('%s has the terms of its row at every task', (name, [lambda, source, target]) => {
    for (const k of [2, 3, 5]) {
      const [real, earlier, ...more] = methodByName(name).objective(k).terms as [Term, Term]
      expect(more).toEqual([])
      expect(real).toEqual({ ...task, weight: 1 / k })
      expect(earlier).toEqual({ source, target, weight: expect.closeTo(((k - 1) / k) * lambda, 12) })
    }
    const weight = methodByName(name, { lambda: 0.5 }).objective(4).terms[1]?.weight
    expect(weight).toBe(0.375)
  })

  it('gives each of k tasks the same weight when λ is 1', () => {
    for (const k of [2, 3, 10]) {
      const [real, earlier] = generativeReplay().objective(k).terms as [Term, Term]
      expect(earlier.weight / (k - 1)).toBeCloseTo(real.weight, 12)
    }
  })

  it('takes the teacher’s steps and η', () => {
    const { source } = generativeDistillation({ teacher: { steps: 10, eta: 0.5 } }).objective(2).terms[1] as Term
    expect(source).toEqual({ kind: 'teacher', steps: 10, eta: 0.5 })
    expect(generativeDistillation({ teacher: { steps: 10 } }).objective(2).terms[1]?.source).toMatchObject({ eta: 0 })
  })

  it.each([
    [{ lambda: -0.1 }, /lambda is -0\.1; expected number to be >=0/],
    [{ lambda: Number.POSITIVE_INFINITY }, /lambda is Infinity/],
    [{ lambda: '1' }, /lambda is '1'; expected number/],
    [{ teacher: { steps: 0 } }, /teacher\.steps is 0; expected/],
    [{ teacher: { steps: 2.5 } }, /teacher\.steps is 2\.5; expected int/],
    [{ teacher: { eta: -1 } }, /teacher\.eta is -1; expected/],
    [{ teacher: { stepz: 2 } }, /'stepz' \(did you mean 'steps'\?\).* in teacher/],
  ])('refuse %o', (options, message) => {
    expect(() => generativeDistillation(options as object)).toThrow(error(message))
  })

  it('have no teacher that generates where it does not', () => {
    expect(() => gaussianDistillation({ teacher: { steps: 2 } } as object)).toThrow(error(/unknown option 'teacher'/))
  })
})

describe('teacherToStudent', () => {
  it.each([
    ['generation', teacher],
    ['partial-generation', { ...teacher, stopAtTimestep: true }],
    ['gaussian', { kind: 'gaussian' }],
    ['symmetric-gaussian', { kind: 'gaussian', symmetric: true }],
  ] as const)('learns from the teacher alone: %s', (input, source) => {
    expect(teacherToStudent({ input }).objective(2)).toEqual({
      terms: [{ source, target: 'teacher', weight: 1, loss: 'mse' }],
    })
  })

  it('takes another loss', () => {
    const loss = { kind: 'min-snr', gamma: 5 } as const
    expect(teacherToStudent({ loss }).objective(2).terms[0]?.loss).toEqual(loss)
    expect(() => teacherToStudent({ loss: { kind: 'min-snr', gamma: 0 } })).toThrow(error(/loss\.gamma is 0; expected/))
    expect(() => teacherToStudent({ loss: 'l1' as 'mse' })).toThrow(error(/loss is 'l1'; expected/))
  })
})

describe('methodByName', () => {
  it('names the nearest method', () => {
    expect(() => methodByName('generative-distilation')).toThrow(error(/did you mean 'generative-distillation'\?/))
    expect(() => methodByName('constructor')).toThrow(error(/unknown method 'constructor'; known: finetune, joint/))
  })
})
