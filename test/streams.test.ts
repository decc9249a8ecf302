import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { type Dataset, fashionMnist, fromArrays, type TrainTest } from '../lib/data/index.js'
import { mersenneTwister, torchRandperm } from '../lib/data/torch-random.js'
import {
  classIncremental,
  type Domain,
  dataIncremental,
  domainIncremental,
  fromDatasets,
  permuted,
  rotated,
  single,
  type Task,
  unchanged,
} from '../lib/streams/index.js'

const oracle = JSON.parse(await readFile(new URL('fixtures/randperm.json', import.meta.url), 'utf8')) as {
  cases: { seed: number; n: number; order: number[] }[]
}

const error = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) })

/** Grey images of height × 2 whose first pixel is their label. */
function small(name: string, labels: number[], classes: string[], height = 2): Dataset {
  const images = new Uint8Array(labels.length * height * 2)
  for (const [i, label] of labels.entries()) images[i * height * 2] = label
  return fromArrays({ name, images, labels, classes, height, width: 2, channels: 1 })
}

const six = ['a', 'b', 'c', 'd', 'e', 'f']
const data: TrainTest = {
  train: small('mine/train', [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0, 3, 3], six),
  test: small('mine/test', [5, 4, 3, 2, 1, 0], six),
}
const labelsOf = ({ train }: Task) => new Set([...train.indices].map((i) => train.dataset.labels[i] as number))

describe('torchRandperm', () => {
  it("is torch's own permutation", () => {
    expect(oracle.cases.length).toBeGreaterThan(30)
    for (const { seed, n, order } of oracle.cases) {
      const found = torchRandperm(n, seed)
      expect(n <= 10 ? found : [...found.slice(0, 8), ...found.slice(-8)], `seed ${seed}, n ${n}`).toEqual(order)
    }
  })

  it("has the Mersenne Twister's published 10000th number", () => {
    // The C++ standard requires it of std::mt19937, whose default seed is 5489 ([rand.predef]).
    const random = mersenneTwister(5489)
    for (let i = 1; i < 10_000; i++) random()
    expect(random()).toBe(4123659995)
  })
})

describe('classIncremental', () => {
  it.each([
    [42, '2 6 | 1 8 | 4 5 | 0 9 | 3 7'],
    [69, '0 2 | 3 5 | 4 1 | 6 9 | 8 7'],
    [1714, '7 3 | 8 0 | 1 4 | 6 2 | 9 5'],
  ])("has the paper's order for seed %i", async (seed, order) => {
    const stream = classIncremental(await fashionMnist({ subset: true }), { tasks: 5, seed })
    expect(stream.tasks.map(({ classes }) => classes.join(' ')).join(' | ')).toBe(order)
  })

  it('deals every image out once, in the data set’s order, with its own label', () => {
    for (const tasks of [1, 2, 3, 6]) {
      const stream = classIncremental(data, { tasks, seed: 7 })
      expect([...stream]).toEqual(stream.tasks)
      expect(stream.tasks.map(({ number }) => number)).toEqual(Array.from({ length: tasks }, (_, i) => i + 1))
      for (const part of ['train', 'test'] as const) {
        const all = stream.tasks.flatMap((task) => [...task[part].indices])
        expect(all.sort((a, b) => a - b)).toEqual([...data[part].labels.keys()])
        for (const task of stream) {
          expect([...task[part].indices]).toEqual([...task[part].indices].sort((a, b) => a - b))
          expect(task[part].dataset).toBe(data[part])
        }
      }
      for (const task of stream) {
        expect(labelsOf(task)).toEqual(new Set(task.classes))
        expect(task.earlier).toEqual(stream.tasks.slice(0, task.number - 1))
      }
    }
  })

  it('takes a given order, or that of the classes', () => {
    const classes = (options: object) => [...classIncremental(data, { tasks: 3, ...options })].map((t) => t.classes)
    expect(classes({ order: [5, 0, 1, 4, 2, 3] })).toEqual([
      [5, 0],
      [1, 4],
      [2, 3],
    ])
    expect(classes({})).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
    ])
    expect(classIncremental(data, { tasks: 3 }).tasks[1]?.name).toBe('c, d')
  })

  it('gives each task as many classes as it is told', () => {
    const stream = classIncremental(data, { tasks: [3, 1, 2], order: [5, 4, 3, 2, 1, 0] })
    expect(stream.tasks.map(({ classes }) => classes)).toEqual([[5, 4, 3], [2], [1, 0]])
    const labels = stream.tasks.map(({ train }) => [...train.indices].map((i) => train.dataset.labels[i]))
    expect(labels.map((of) => [...new Set(of)].sort())).toEqual([[3, 4, 5], [2], [0, 1]])
  })

  it('tells what has been seen', () => {
    const stream = classIncremental(data, { tasks: 3 })
    const [first, second] = stream.tasks as [Task, Task]
    expect(stream.seen(first)).toEqual({
      tasks: [first],
      classes: [0, 1],
      train: [first.train],
      test: [first.test],
    })
    expect(stream.seen(second)).toEqual({
      tasks: [first, second],
      classes: [0, 1, 2, 3],
      train: [first.train, second.train],
      test: [first.test, second.test],
    })
    const other = classIncremental(data, { tasks: 3 }).tasks[0] as Task
    expect(() => stream.seen(other)).toThrow(error('ERR_INVALID_ARGUMENT', /task 1 .* is not a task of this stream/))
  })

  it.each([
    [
      { tasks: 4 },
      /tasks is 4; expected a divisor of 6, the number of classes of mine, or how many .* 6 in all, such as 2 2 1 1$/,
    ],
    [{ tasks: 0 }, /tasks is 0; expected/],
    [{ tasks: [3, 2] }, /tasks is \[ 3, 2 \]; expected .* 6 in all/],
    [{ tasks: [6, 0] }, /tasks\[1\] is 0; expected/],
    [{ tasks: [] }, /tasks is \[\]; expected/],
    [{ tasks: '3' as never }, /tasks is '3'; expected/],
    [{ tasks: 12 }, /tasks is 12/],
    [{ tasks: 2, order: [0, 1, 2, 3, 4, 4] }, /order is 0 1 2 3 4 4; expected each of 0 … 5 once/],
    [{ tasks: 2, order: [0, 1, 2] }, /order is 0 1 2; expected/],
    [{ tasks: 2, order: [0, 1, 2, 3, 4, 6] }, /order is/],
    [{ tasks: 2, seed: -1 }, /seed is -1; expected/],
    [{ tasks: 2, seed: 2 ** 32 }, /seed is 4294967296; expected/],
    [{ tasks: 2, seed: 1, order: [0, 1, 2, 3, 4, 5] }, /both seed and order/],
    [{ tasks: 2, sead: 1 }, /did you mean 'seed'/],
  ])('refuses %o', (options, message) => {
    expect(() => classIncremental(data, options)).toThrow(error('ERR_INVALID_ARGUMENT', message))
  })

  it('refuses a class without images', () => {
    const test = small('mine/test', [0, 1, 2, 3, 5], six)
    expect(() => classIncremental({ ...data, test }, { tasks: 3 })).toThrow(
      error('ERR_BAD_DATA', /mine\/test has no images of class 4 \(e\)/),
    )
  })
})

it.each<[string, (data: never) => unknown]>([
  ['classIncremental', (none) => classIncremental(none, { tasks: 2 })],
  ['dataIncremental', (none) => dataIncremental(none, { tasks: 2 })],
  ['domainIncremental', (none) => domainIncremental(none, { domains: [unchanged()] })],
  ['single', (none) => single(none)],
  ['fromDatasets', (none) => fromDatasets([none])],
])('%s refuses what is no data set', (name, make) => {
  expect(() => make(undefined as never)).toThrow(
    error('ERR_INVALID_ARGUMENT', new RegExp(`^${name}: data: .*is missing`)),
  )
  expect(() => make({ train: data.train } as never)).toThrow(error('ERR_INVALID_ARGUMENT', /test is missing/))
})

describe('single', () => {
  it('has one task with everything', () => {
    const { tasks, name } = single(data)
    expect(name).toBe('mine')
    expect(tasks).toHaveLength(1)
    expect(tasks[0]?.classes).toEqual([0, 1, 2, 3, 4, 5])
    expect([...(tasks[0]?.train.indices ?? [])]).toEqual([...data.train.labels.keys()])
  })
})

describe('dataIncremental', () => {
  it('deals out equal shares, each image once', () => {
    const { tasks } = dataIncremental(data, { tasks: 4, seed: 3 })
    expect(tasks.map(({ train }) => train.indices.length)).toEqual([4, 4, 3, 3])
    expect(tasks.flatMap(({ train }) => [...train.indices]).sort((a, b) => a - b)).toEqual([
      ...data.train.labels.keys(),
    ])
    expect(dataIncremental(data, { tasks: 4, seed: 3 }).tasks).toEqual(tasks)
    expect(dataIncremental(data, { tasks: 4, seed: 4 }).tasks).not.toEqual(tasks)
  })

  it('refuses more tasks than images', () => {
    expect(() => dataIncremental(data, { tasks: 7 })).toThrow(
      error('ERR_BAD_DATA', /task 7 .* no images in mine\/test/),
    )
  })
})

describe('fromDatasets', () => {
  it('makes classes of the same name one', () => {
    const other: TrainTest = {
      train: small('other/train', [0, 1, 2], ['x', 'b', 'y']),
      test: small('other/test', [2], ['x', 'b', 'y']),
    }
    const stream = fromDatasets([data, other])
    const [, second] = stream.tasks as [Task, Task]
    expect(second.classes).toEqual([6, 1, 7])
    expect([...second.train.dataset.labels]).toEqual([6, 1, 7])
    expect(second.train.dataset.classes).toEqual([...six, 'x', 'y'])
    expect(second.train.dataset.images).toBe(other.train.images)
    expect(stream.seen(second).classes).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    expect(stream.name).toBe('mine → other')
  })

  it('refuses images of another shape, unless they are resized to the same', () => {
    const train = small('other/train', [0], ['x'], 3)
    const test = small('other/test', [0], ['x'], 3)
    expect(() => fromDatasets([data, { train, test }])).toThrow(
      error('ERR_BAD_DATA', /images of other\/train are 3 × 2 × 1; expected 2 × 2 × 1, as those of mine\/train/),
    )
    const sized = ({ train, test }: TrainTest) => ({ train: { ...train, size: 8 }, test: { ...test, size: 8 } })
    expect(fromDatasets([sized(data), sized({ train, test })]).tasks).toHaveLength(2)
    expect(() => fromDatasets([])).toThrow(error('ERR_INVALID_ARGUMENT', /no data sets/))
  })
})

describe('domainIncremental', () => {
  const shape = { height: 3, width: 3, channels: 2 }
  const image = Uint8Array.from({ length: 18 }, (_, i) => i * 10)
  const apply = (domain: Domain, from = image) => {
    const to = new Uint8Array(from.length)
    domain.transform(from, to, shape)
    return to
  }

  it('shows all classes in every domain', () => {
    const { tasks } = domainIncremental(data, { domains: [unchanged(), permuted(1)] })
    expect(tasks.map(({ name }) => name)).toEqual(['unchanged', 'permuted by seed 1'])
    expect(tasks[1]?.classes).toEqual([0, 1, 2, 3, 4, 5])
    expect(tasks[0]?.train.dataset.images).toEqual(data.train.images)
    const order = torchRandperm(4, 1)
    const expected = [...data.train.labels].flatMap((label) => order.map((source) => (source === 0 ? label : 0)))
    expect([...(tasks[1]?.train.dataset.images ?? [])]).toEqual(expected)
    for (const [options, message] of [
      [{ domains: [] }, /domains is \[\]; expected at least one/],
      [{}, /domains is missing/],
      [undefined, /the value is missing/],
      [{ domains: [{ name: 'none' }] }, /domains\[0\]\.transform is missing; expected a function/],
      [{ domains: [unchanged()], domain: 1 }, /unknown option 'domain' \(did you mean 'domains'\?\)/],
    ] as const) {
      expect(() => domainIncremental(data, options as never)).toThrow(error('ERR_INVALID_ARGUMENT', message))
    }
  })

  it('turns images anticlockwise', () => {
    const quarter = apply(rotated(90))
    const pixel = (from: Uint8Array, y: number, x: number) => [...from.subarray((y * 3 + x) * 2, (y * 3 + x) * 2 + 2)]
    for (let y = 0; y < 3; y++) {
      // A quarter anticlockwise puts the right-hand column on top.
      for (let x = 0; x < 3; x++) expect(pixel(quarter, 2 - x, y)).toEqual(pixel(image, y, x))
    }
    expect(apply(rotated(0))).toEqual(image)
    expect(apply(rotated(360))).toEqual(image)
    expect(apply(rotated(180), apply(rotated(180)))).toEqual(image)
    expect(apply(rotated(90), apply(rotated(-90)))).toEqual(image)
    expect([...apply(rotated(45)).subarray(8, 10)]).toEqual(pixel(image, 1, 1))
  })

  it('moves pixels without changing them', () => {
    expect([...apply(permuted(5))].sort((a, b) => a - b)).toEqual([...image])
    expect(apply(permuted(5))).toEqual(apply(permuted(5)))
    for (const seed of [-1, 2 ** 32]) {
      expect(() => permuted(seed)).toThrow(error('ERR_INVALID_ARGUMENT', new RegExp(`seed is ${seed}`)))
    }
    expect(() => rotated(Number.NaN)).toThrow(error('ERR_INVALID_ARGUMENT', /degrees is NaN/))
  })
})
