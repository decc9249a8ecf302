import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { type AsyncIterableOptions, fromAsyncIterable, type LabelledImage } from '../lib/index.js'
import { failure } from './support/tiny.js'

const options: AsyncIterableOptions = { name: 'source', classes: ['even', 'odd'], height: 2, width: 1, channels: 3 }

const pixels = (i: number) => Uint8Array.from({ length: 6 }, (_, p) => (i * 6 + p) % 256)

/** Images one after another, in an array that is used again; remembers how it was left. */
function source(count: number, change: (i: number) => Partial<LabelledImage> = () => ({})) {
  const state = { given: 0, closed: false }
  async function* images(): AsyncGenerator<LabelledImage> {
    const image = new Uint8Array(6)
    try {
      for (let i = 0; i < count; i++) {
        await Promise.resolve()
        image.set(pixels(i))
        state.given++
        yield { image, label: i % 2, ...change(i) }
      }
    } finally {
      state.closed = true
    }
  }
  return { images: images(), state }
}

describe('fromAsyncIterable', () => {
  it('keeps every image of the source, with its label', async () => {
    // More than its first array holds, several times over.
    const { images } = source(100)
    const data = await fromAsyncIterable(images, { ...options, size: 8 })
    expect(data).toMatchObject({ name: 'source', classes: ['even', 'odd'], height: 2, width: 1, channels: 3, size: 8 })
    expect([...data.labels]).toEqual(Array.from({ length: 100 }, (_, i) => i % 2))
    expect([...data.images]).toEqual(Array.from({ length: 100 }, (_, i) => [...pixels(i)]).flat())
    expect(data.images.buffer.byteLength).toBe(600)
  })

  it('takes class names for labels, a Node stream, and a plain array', async () => {
    const items = [
      { image: pixels(0), label: 'odd' },
      { image: new Uint8ClampedArray(pixels(1)), label: 0 },
    ]
    const fromStream = await fromAsyncIterable(Readable.from(items), options)
    expect([...fromStream.labels]).toEqual([1, 0])
    expect(await fromAsyncIterable(items, options)).toEqual(fromStream)
  })

  it('takes no more than the limit, and closes the source', async () => {
    const { images, state } = source(1000)
    expect((await fromAsyncIterable(images, { ...options, limit: 7 })).labels).toHaveLength(7)
    expect(state).toEqual({ given: 7, closed: true })
  })

  it.each<[string, Partial<LabelledImage>, RegExp]>([
    [
      'an image of another length',
      { image: new Uint8Array(5) },
      /source: image 3 .*is Uint8Array of 5; expected a Uint8Array of 6: 2 × 1 × 3/,
    ],
    ['an image of another type', { image: new Float32Array(6) as never }, /is Float32Array of 6/],
    ['no image', { image: undefined as never }, /is undefined/],
    ['a label out of range', { label: 2 }, /image 3 of the source: the label is 2; expected a class index, 0 … 1/],
    ['an unknown name', { label: 'prime' }, /the label is 'prime'; expected .* one of even, odd/],
    ['half a label', { label: 0.5 }, /the label is 0.5/],
  ])('refuses %s, and closes the source', async (_, wrong, message) => {
    const { images, state } = source(5, (i) => (i === 3 ? wrong : {}))
    const error = await failure(fromAsyncIterable(images, options))
    expect([error.code, error.message]).toEqual(['ERR_BAD_DATA', expect.stringMatching(message)])
    expect(state.closed).toBe(true)
  })

  it('lets others run, and an abort, while a source never waits, and keeps what is larger than a chunk', async () => {
    const abort = new AbortController()
    setTimeout(() => abort.abort('late'), 20)
    const image = new Uint8Array(1024 * 1024)
    const endless = (function* () {
      while (true) yield { image, label: 0 }
    })()
    const shape = { name: 'large', classes: ['one'], height: 1024, width: 1024, channels: 1 }
    await expect(fromAsyncIterable(endless, { ...shape, signal: abort.signal })).rejects.toBe('late')
    const items = Array.from({ length: 10 }, (_, i) => ({ image: image.map(() => i), label: 0 }))
    const { images } = await fromAsyncIterable(items, shape)
    expect(images).toHaveLength(10 * image.length)
    expect(items.every((_, i) => images[i * image.length] === i && images[(i + 1) * image.length - 1] === i)).toBe(true)
    const twice = fromAsyncIterable(items, { ...shape, classes: ['one', 'one'] })
    await expect(twice).rejects.toThrow(/each name once/)
  })

  it('refuses a source without images, and wrong options', async () => {
    expect((await failure(fromAsyncIterable([], options))).message).toMatch(/at least one image/)
    expect((await failure(fromAsyncIterable([], { ...options, limt: 1 } as never))).message).toMatch(
      /did you mean 'limit'/,
    )
    expect((await failure(fromAsyncIterable([], { ...options, height: 0 }))).message).toMatch(/height is 0/)
  })

  it('hands on what the source throws, and the reason of an abort', async () => {
    const broken = source(5, () => {
      throw new RangeError('broken')
    })
    await expect(fromAsyncIterable(broken.images, options)).rejects.toThrow(RangeError)
    const controller = new AbortController()
    const { images, state } = source(1000, (i) => {
      if (i === 4) controller.abort('enough')
      return {}
    })
    await expect(fromAsyncIterable(images, { ...options, signal: controller.signal })).rejects.toBe('enough')
    expect(state).toEqual({ given: 5, closed: true })
  })
})
