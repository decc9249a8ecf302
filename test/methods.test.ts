import { describe, expect, it } from 'vitest'
import { defaultSampler } from '../lib/config/sampler.js'
import {
  compose,
  ewc,
  experienceReplay,
  finetune,
  gaussianDistillation,
  generativeDistillation,
  generativeReplay,
  joint,
  lwfDistillation,
  type MethodName,
  methodByName,
  methods,
  rankOneEwc,
  recommended,
  synapticIntelligence,
  type Term,
  teacherToStudent,
} from '../lib/methods/index.js'

const names = Object.keys(methods) as MethodName[]
const error = (message: RegExp) =>
  expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', message: expect.stringMatching(message) })

const task: Term = { source: { kind: 'task' }, target: 'data', weight: 1 }
const teacher = { kind: 'teacher', sampler: { ...defaultSampler, steps: 2 } }

/** The table of the terms that stand for the earlier tasks, with the default λ. */
const table: Record<string, [lambda: number, source: object, target: string]> = {
  'generative-replay': [1, teacher, 'data'],
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
      expect(structuredClone(method.keeps)).toEqual(method.keeps)
      expect(method.objective(3)).toEqual(methodByName(name, {}).objective(3))
      expect(method.data).toBe(name === 'joint' ? 'cumulative' : undefined)
      expect(method.weights).toBe(name === 'teacher-to-student' ? 'fresh' : undefined)
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

  it('takes any sampler for the teacher', () => {
    const { source } = generativeDistillation({ teacher: { steps: 10, eta: 0.5 } }).objective(2).terms[1] as Term
    expect(source).toEqual({ kind: 'teacher', sampler: { ...defaultSampler, steps: 10, eta: 0.5 } })
    const other = generativeDistillation({ teacher: { kind: 'ddpm', clip: false, spacing: 'leading' } }).objective(2)
    expect(other.terms[1]?.source).toMatchObject({
      sampler: { kind: 'ddpm', steps: 2, eta: 0, clip: false, spacing: 'leading' },
    })
  })

  it.each([
    [{ lambda: -0.1 }, /lambda is -0\.1; expected at least 0/],
    [{ lambda: Number.POSITIVE_INFINITY }, /lambda is Infinity/],
    [{ lambda: '1' }, /lambda is '1'; expected a number/],
    [{ teacher: { steps: 0 } }, /teacher\.steps is 0; expected/],
    [{ teacher: { steps: 2.5 } }, /teacher\.steps is 2\.5; expected an integer/],
    [{ teacher: { eta: -1 } }, /teacher\.eta is -1; expected/],
    [{ teacher: { stepz: 2 } }, /'stepz' \(did you mean 'steps'\?\).* in teacher/],
  ])('refuse %o', (options, message) => {
    expect(() => generativeDistillation(options as object)).toThrow(error(message))
  })

  it('have no teacher that generates where it does not', () => {
    expect(() => gaussianDistillation({ teacher: { steps: 2 } } as object)).toThrow(error(/unknown option 'teacher'/))
  })
})

describe('experienceReplay', () => {
  it('adds the memory, unweighted, and says what to keep', () => {
    const method = experienceReplay({ size: 50, policy: 'class-balanced' })
    const memory: Term = { source: { kind: 'memory' }, target: 'data', weight: 1 }
    for (const k of [2, 5]) expect(method.objective(k)).toEqual({ terms: [task, memory] })
    expect(method.keeps).toEqual({ memory: { size: 50, policy: 'class-balanced' } })
    expect(experienceReplay({ lambda: 0.5 }).objective(3).terms[1]?.weight).toBe(0.5)
  })

  it.each([
    [{ size: 0 }, /size is 0; expected/],
    [{ size: 1.5 }, /size is 1\.5; expected an integer/],
    [{ policy: 'fifo' }, /policy is 'fifo'; expected/],
    [{ lambda: -1 }, /lambda is -1; expected/],
  ])('refuses %o', (options, message) => {
    expect(() => experienceReplay(options as object)).toThrow(error(message))
  })
})

describe('methods with a penalty', () => {
  it.each([
    [ewc({ strength: 5, samples: 9 }), { kind: 'squared-gradients', samples: 9 }],
    [ewc({ strength: 5, mode: 'online', decay: 0.9 }), { kind: 'squared-gradients', samples: 256, decay: 0.9 }],
    [ewc({ strength: 5, mode: 'online' }), { kind: 'squared-gradients', samples: 256, decay: 1 }],
    [rankOneEwc({ strength: 5 }), { kind: 'mean-gradient', samples: 256, optimal: true }],
    [rankOneEwc({ strength: 5, factor: 'one', timesteps: [500, 1000] }), { optimal: false, timesteps: [500, 1000] }],
    [synapticIntelligence({ strength: 5, damping: 0.1 }), { kind: 'path-integral', damping: 0.1, decay: 1 }],
  ])('learn the task alone with the penalty that they feed: %o', (method, kept) => {
    const { name } = method
    for (const k of [2, 5]) expect(method.objective(k)).toEqual({ terms: [task], penalties: [{ name, strength: 5 }] })
    expect(method.keeps?.consolidations).toEqual([expect.objectContaining({ penalty: name, ...kept })])
    expect(ewc({ strength: 5, samples: 9 }).keeps?.consolidations?.[0]).not.toHaveProperty('decay')
  })

  it.each([
    [() => ewc({ strength: -1 }), /ewc: strength is -1; expected at least 0/],
    [() => ewc({ samples: 0 }), /samples is 0; expected/],
    [() => ewc({ timesteps: [5, 5] }), /timesteps is .*; expected \[from, to\) with from < to/],
    [() => ewc({ decay: 0.5 }), /mode is missing; expected 'online', as decay is given/],
    [() => ewc({ mode: 'online', decay: 1.5 }), /decay is 1\.5; expected/],
    [() => rankOneEwc({ strength: Number.NaN }), /strength is NaN/],
    [() => rankOneEwc({ factor: 'best' as 'one' }), /factor is 'best'; expected/],
    [() => synapticIntelligence({ damping: 0 }), /damping is 0; expected/],
  ])('refuse wrong options: %o', (make, message) => {
    expect(make).toThrow(error(message))
  })
})

describe('compose', () => {
  const both = compose(generativeDistillation({ lambda: 0.5 }), ewc({ strength: 5 }))

  it('has the terms and penalties of both, the common term with the first one’s weight', () => {
    expect(both.name).toBe('generative-distillation+ewc')
    expect(both.objective(1)).toEqual({ terms: [task] })
    for (const k of [2, 4]) {
      const { terms } = generativeDistillation({ lambda: 0.5 }).objective(k)
      expect(both.objective(k)).toEqual({ terms, penalties: [{ name: 'ewc', strength: 5 }] })
    }
    expect(both.keeps).toEqual(ewc().keeps)
    const terms = compose(experienceReplay(), lwfDistillation({ lambda: 1 })).objective(2).terms
    expect(terms.map(({ source, target, weight }) => [source.kind, target, weight])).toEqual([
      ['task', 'data', 1],
      ['memory', 'data', 1],
      ['task', 'teacher', 0.5],
    ])
  })

  it('keeps what both keep, and trains on all data if one does', () => {
    const three = compose(ewc(), synapticIntelligence(), experienceReplay({ size: 5 }))
    expect(three.name).toBe('ewc+synaptic-intelligence+experience-replay')
    expect(three.objective(2).terms).toHaveLength(2)
    expect(three.keeps?.consolidations?.map(({ penalty }) => penalty)).toEqual(['ewc', 'synaptic-intelligence'])
    expect(three.keeps?.memory?.size).toBe(5)
    expect(three.data).toBeUndefined()
    expect(compose(ewc(), joint())).toMatchObject({ data: 'cumulative' })
    expect(compose(ewc(), joint()).epochOf).toBeUndefined()
    expect(compose(ewc(), joint({ compute: 'equal' }))).toMatchObject({ data: 'cumulative', epochOf: 'task' })
    expect(compose(ewc(), recommended()).optimizer).toBe('keep')
    expect(compose(recommended(), teacherToStudent()).optimizer).toBeUndefined()
  })

  it('refuses what is no method', () => {
    expect(() => compose(ewc(), joint as never)).toThrow(
      error(/compose: method 2 is the function joint; .* call it, joint\(\)/),
    )
  })

  it('refuses what a learner can’t keep twice', () => {
    expect(() => compose(ewc(), ewc({ mode: 'online' }))).toThrow(error(/both methods have the penalty 'ewc'/))
    const [small, large] = [experienceReplay({ size: 5 }), experienceReplay({ size: 6 })]
    expect(() => compose(small, large)).toThrow(error(/keeps\.memory is {"size":5.* in the first method and {"size":6/))
    expect(compose(small, small).keeps).toEqual(small.keeps)
    const averaged = generativeReplay({ teacherDecay: 0.5 })
    expect(() => compose(averaged, generativeReplay({ teacherDecay: 0.25 }))).toThrow(error(/keeps\.teacherDecay/))
  })

  it('is what names joined by + mean, each with its own options', () => {
    const options = { ewc: { strength: 5 }, 'generative-distillation': { lambda: 0.5 } }
    const named = methodByName('generative-distillation+ewc', options)
    expect({ ...named, objective: named.objective(3) }).toEqual({ ...both, objective: both.objective(3) })
    expect(methodByName('finetune+ewc').name).toBe('finetune+ewc')
    expect(methodByName(' finetune + ewc ', { ewc: { strength: 5 } }).name).toBe('finetune+ewc')
    expect(methodByName('finetune ').name).toBe('finetune')
    expect(() => methodByName('generative-distillation+ewcc')).toThrow(
      error(/unknown method 'ewcc' \(did you mean 'ewc'/),
    )
    expect(() => methodByName('finetune+ewc', { strength: 5 })).toThrow(error(/unknown option 'strength'/))
    expect(() => methodByName('finetune+ewc', { ewc: { strength: -1 } })).toThrow(error(/strength is -1/))
  })
})

describe('options of every method with a teacher', () => {
  it.each(Object.keys(table))('%s takes a range of timesteps and an average', (name) => {
    const method = methodByName(name, { timesteps: [0, 300], teacherDecay: 0.5 })
    expect(method.objective(1)).toEqual({ terms: [task] })
    const plain = methodByName(name).objective(3).terms
    // The term for the earlier tasks alone is gated; its weight stays.
    const gated = plain.map((term, i) => (i === plain.length - 1 ? { ...term, timesteps: [0, 300] } : term))
    expect(method.objective(3).terms).toEqual(gated)
    expect(method.keeps).toEqual({ teacherDecay: 0.5 })
    expect(methodByName(name).keeps).toBeUndefined()
    expect(() => methodByName(name, { teacherDecay: 1 })).toThrow(error(/teacherDecay is 1; expected/))
    expect(() => methodByName(name, { timesteps: [-1, 5] })).toThrow(error(/timesteps\[0\] is -1; expected/))
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

  it('learns the noise on generated images where it is not to distil', () => {
    expect(teacherToStudent({ target: 'data' }).objective(2)).toEqual({
      terms: [{ source: teacher, target: 'data', weight: 1, loss: 'mse' }],
    })
    expect(() => teacherToStudent({ target: 'data', input: 'gaussian' })).toThrow(
      error(/input is 'gaussian'; expected 'generation'/),
    )
  })

  it('takes a range of timesteps, and passes its fresh weights on when it is composed', () => {
    const method = teacherToStudent({ timesteps: [0, 300] })
    expect(method.objective(1)).toEqual({ terms: [task] })
    expect(method.objective(2).terms[0]?.timesteps).toEqual([0, 300])
    expect(compose(finetune(), method).weights).toBe('fresh')
    expect(compose(finetune(), joint()).weights).toBeUndefined()
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
    expect(() => methodByName('constructor')).toThrow(
      error(/unknown method 'constructor'; known: recommended, finetune, joint/),
    )
  })
})
