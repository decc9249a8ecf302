import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { type ArraysOptions, fromArrays, trainTest } from '../lib/data/index.js'
import { tinyLearner } from './support/tiny.js'

const good: ArraysOptions = {
  name: 'mine',
  images: Uint8Array.from({ length: 24 }, (_, i) => i),
  labels: [1, 0],
  classes: ['a', 'b'],
  height: 2,
  width: 2,
  channels: 3,
}
const error = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) })

describe('fromArrays', () => {
  it('takes images as they are and labels of any kind', () => {
    const data = fromArrays({ ...good, size: 16 })
    expect(data).toMatchObject({ name: 'mine', height: 2, width: 2, channels: 3, size: 16 })
    expect(data.images.buffer).toBe(good.images.buffer)
    expect(data.labels).toEqual(Int32Array.of(1, 0))
    expect(fromArrays({ ...good, images: Uint8ClampedArray.from(good.images) }).images).toEqual(good.images)
  })

  it.each([
    [
      'images of another type',
      { images: new Float32Array(24) },
      /the images are of type Float32Array; expected a Uint8/,
    ],
    ['missing images', { images: undefined }, /the images are undefined/],
    ['missing labels', { labels: undefined }, /the labels are undefined/],
    ['no images', { images: new Uint8Array(), labels: [] }, /there are no labels/],
    ['too few images', { images: new Uint8Array(18) }, /18 bytes, that is 1\.5 images.*expected 24 bytes.*2 labels/],
    ['a label out of range', { labels: [0, 2] }, /label 1 is 2; expected a class index, 0 … 1/],
    ['a negative label', { labels: Int32Array.of(-1, 0) }, /label 0 is -1/],
    ['a bigint label', { labels: [0n, 1] }, /label 0 is 0n; expected a class index/],
    ['a label in quotes', { labels: ['0', 1] }, /label 0 is '0'; expected a class index/],
    ['images in a string', { images: 'abc' }, /the images are 'abc'; expected/],
    ['a label that is no integer', { labels: [0.5, 0] }, /label 0 is 0\.5/],
  ])('refuses %s', (_, change, message) => {
    expect(() => fromArrays({ ...good, ...(change as Partial<ArraysOptions>) })).toThrow(error('ERR_BAD_DATA', message))
  })

  it.each([
    [{ height: 0 }, /height is 0; expected/],
    [{ channels: 17 }, /channels is 17; expected/],
    [{ classes: [] }, /classes is \[\]; expected/],
    [{ classes: ['a', 'a'] }, /classes is \[ 'a', 'a' \]; expected each name once/],
    [{ size: 1.5 }, /size is 1\.5; expected/],
    [{ lables: [1, 0] }, /unknown option 'lables' \(did you mean 'labels'\?\)/],
  ])('refuses the option %o', (change, message) => {
    expect(() => fromArrays({ ...good, ...change })).toThrow(error('ERR_INVALID_ARGUMENT', message))
  })
})

it('fromArrays without options is refused', () => {
  expect(() => fromArrays(undefined as never)).toThrow(
    error('ERR_INVALID_ARGUMENT', /^fromArrays: the value is missing/),
  )
})

describe('trainTest', () => {
  it('refuses parts that do not match', () => {
    const train = fromArrays(good)
    expect(trainTest(train, train)).toEqual({ train, test: train })
    expect(() => trainTest(train, undefined as never)).toThrow(
      error('ERR_INVALID_ARGUMENT', /^trainTest: test: the value/),
    )
    expect(() => trainTest(train, { ...train, classes: ['a', 'c'] })).toThrow(
      error('ERR_BAD_DATA', /name of class 1 is c; expected b/),
    )
    expect(() => trainTest(train, { ...train, channels: 1 })).toThrow(
      error('ERR_BAD_DATA', /channels is 1; expected 3/),
    )
    expect(() => trainTest(train, { ...train, classes: ['a'] })).toThrow(
      error('ERR_BAD_DATA', /classes is 1; expected 2, as in mine, which it tests; it has no 'b'$/),
    )
    expect(() => trainTest(train, { ...train, classes: ['a', 'b', 'c', 'd'] })).toThrow(
      error('ERR_BAD_DATA', /classes is 4; expected 2, .*; only it has 'c', 'd'$/),
    )
  })
})

it('arrays of another realm are arrays', async () => {
  const other = <T>(code: string) => runInNewContext(code) as T
  const data = fromArrays({
    name: 'x',
    images: other<Uint8Array>('new Uint8Array(2 * 64)'),
    labels: other<Int32Array>('Int32Array.of(0, 1)'),
    classes: ['a', 'b'],
    height: 8,
    width: 8,
    channels: 1,
  })
  expect(trainTest(data, data).test.labels).toHaveLength(2)
  const learner = await tinyLearner()
  const x = other<Float32Array>('new Float32Array(64)')
  const t = other<Int32Array>('Int32Array.of(3)')
  expect(await learner.predict(x, t)).toEqual(await learner.predict(new Float32Array(64), Int32Array.of(3)))
  expect((await learner.step({ xt: x, timesteps: t, target: x })).loss).toBeGreaterThan(0)
})
