import { describe, expect, it } from 'vitest'
import { momentsDistance, RunningMoments } from '../lib/engine/moments.js'
import { compareCounts } from '../lib/evaluation/class-frequencies.js'
import {
  backwardTransfer,
  type Evaluation,
  type FeatureExtractor,
  forgetting,
  frechetDistance,
  gaussianDistance,
  type ImageBatch,
  kernelDistance,
  type Metric,
  precision,
  recall,
  taskMatrix,
} from '../lib/index.js'
import { expectClose, Golden, goldenJson } from './support/golden.js'
import { failure } from './support/tiny.js'

interface Metrics {
  fid: number
  kid: number
  precision_k3: number
  recall_k3: number
  fid_rank_deficient: number
  hist_true: number[]
  hist_generated: number[]
  kld_true_vs_generated: number
  ard: number
}

const expected = goldenJson<Metrics>('metrics/metrics.json')
const golden = await Golden.read('metrics/features.safetensors')
const width = golden.tensor('real').shape[1] as number

/** Moments of the first `count` rows, added in batches of different sizes. */
async function momentsOf(name: 'real' | 'generated', count: number, batches: readonly number[]) {
  const { data } = golden.tensor(name)
  const moments = new RunningMoments(width)
  for (let at = 0, i = 0; at < count; i++) {
    const size = Math.min(batches[i % batches.length] as number, count - at)
    await moments.add(data.slice(at * width, (at + size) * width))
    at += size
  }
  expect(moments.count).toBe(count)
  return moments
}

function covarianceOf({ m2, count }: RunningMoments): Float64Array {
  return m2.map((sum) => sum / (count - 1))
}

it('the Fréchet distance is that of the reference', async () => {
  const real = await momentsOf('real', 400, [64, 3, 128])
  const generated = await momentsOf('generated', 300, [17])
  expectClose([await momentsDistance(real, generated)], [expected.fid], 1e-6)
  expectClose([await momentsDistance(generated, real)], [expected.fid], 1e-6)
})

it('the Fréchet distance is that of the reference where both covariances are rank-deficient', async () => {
  const real = await momentsOf('real', width / 2, [5])
  const generated = await momentsOf('generated', width / 2, [8])
  expectClose([await momentsDistance(real, generated)], [expected.fid_rank_deficient], 1e-6)
})

it('running moments are the mean and the unbiased covariance, whatever the batches', async () => {
  const { data } = golden.tensor('real')
  const rows = Array.from({ length: 400 }, (_, i) => Array.from(data.subarray(i * width, (i + 1) * width)))
  const mean = Array.from({ length: width }, (_, j) => rows.reduce((sum, row) => sum + (row[j] as number), 0) / 400)
  const covariance = mean.flatMap((a, j) =>
    mean.map((b, k) => rows.reduce((sum, row) => sum + ((row[j] as number) - a) * ((row[k] as number) - b), 0) / 399),
  )
  for (const batches of [[400], [1], [7, 100]]) {
    const moments = await momentsOf('real', 400, batches)
    expectClose(moments.mean, mean, 1e-12)
    expectClose(covarianceOf(moments), covariance, 1e-12)
  }
})

it('calls that overlap are added in order', async () => {
  const { data } = golden.tensor('real')
  const moments = new RunningMoments(width)
  const parts = Array.from({ length: 8 }, (_, i) => data.slice(i * 50 * width, (i + 1) * 50 * width))
  await Promise.all(parts.map((part) => moments.add(part)))
  expectClose(covarianceOf(moments), covarianceOf(await momentsOf('real', 400, [400])), 1e-12)
})

it('KLD and ARD of class histograms are those of the reference', () => {
  const { kld, ard } = compareCounts(Float64Array.from(expected.hist_true), Float64Array.from(expected.hist_generated))
  expectClose([kld], [expected.kld_true_vs_generated], 1e-6)
  expectClose([ard], [expected.ard], 1e-6)
})

describe('metrics of given features', () => {
  /** An extractor whose images are numbers of rows, one byte pair each. */
  function looksUp(rows: Float32Array, dimension: number, about: Partial<FeatureExtractor> = {}): FeatureExtractor {
    return {
      name: 'table',
      dimension,
      features: async ({ data, count }) => {
        const numbers = new Uint16Array(data.buffer, data.byteOffset, count)
        const features = new Float32Array(count * dimension)
        for (const [i, n] of numbers.entries()) {
          features.set(rows.subarray(n * dimension, (n + 1) * dimension), i * dimension)
        }
        return features
      },
      ...about,
    }
  }

  function images(numbers: readonly number[]): ImageBatch {
    const data = new Uint8Array(Uint16Array.from(numbers).buffer)
    return { data, count: numbers.length, height: 1, width: 2, channels: 1 }
  }

  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

  async function measured(metric: Metric, real: readonly number[], generated: readonly number[], batch = 97) {
    const run = metric.start()
    for (let at = 0; at < real.length; at += batch) await run.add(images(real.slice(at, at + batch)), 'real')
    for (let at = 0; at < generated.length; at += batch) {
      await run.add(images(generated.slice(at, at + batch)), 'generated')
    }
    return run.finish()
  }

  const real = golden.tensor('real')
  const generated = golden.tensor('generated')
  const both = new Float32Array(real.data.length + generated.data.length)
  both.set(real.data)
  both.set(generated.data, real.data.length)
  const table = looksUp(both, width)
  const [m, n] = [real.shape[0] as number, generated.shape[0] as number]

  it.each([
    ['fid', frechetDistance(table)],
    ['kid', kernelDistance(table)],
    ['precision_k3', precision(table)],
    ['recall_k3', recall(table)],
  ] as const)('%s is that of the reference', async (name, metric) => {
    const found = await measured(metric, range(0, m), range(m, m + n))
    expectClose([found.value], [expected[name]], 1e-6)
    expect(found).toMatchObject({ real: m, generated: n })
  })

  it('pairs are compared across blocks: kernel distances and precision of many rows are those of their formulas', async () => {
    // More rows than a block has, in two dimensions, in float64 here as there.
    const [reals, fakes] = [1100, 1040]
    let state = 1
    const random = () => {
      state = (state * 48271) % 2147483647
      return state / 2147483647
    }
    const points = Float32Array.from({ length: (reals + fakes) * 2 }, (_, i) => random() + (i < reals * 2 ? 0 : 0.3))
    const at = (i: number) => [points[2 * i] as number, points[2 * i + 1] as number] as const
    const kernel = (i: number, j: number) => {
      const [[a, b], [c, d]] = [at(i), at(j)]
      return ((a * c + b * d) / 2 + 1) ** 3
    }
    const square = (i: number, j: number) => {
      const [[a, b], [c, d]] = [at(i), at(j)]
      return (a - c) ** 2 + (b - d) ** 2
    }
    const r = range(0, reals)
    const g = range(reals, reals + fakes)
    const mean = (of: typeof kernel, rows: number[], columns: number[]) => {
      let sum = 0
      for (const i of rows) for (const j of columns) if (i !== j) sum += of(i, j)
      return sum / (rows.length * (columns.length - (rows === columns ? 1 : 0)))
    }
    const mmd2 = (of: typeof kernel) => mean(of, r, r) + mean(of, g, g) - 2 * mean(of, r, g)
    const inside = (manifold: number[], others: number[], k: number) => {
      const radii = manifold.map((i) => {
        const distances = Float64Array.from(
          manifold.filter((j) => j !== i),
          (j) => square(i, j),
        )
        return distances.sort()[k - 1] as number
      })
      return (
        others.filter((j) => manifold.some((i, of) => square(i, j) <= (radii[of] as number))).length / others.length
      )
    }
    const pairs = looksUp(points, 2)
    const kid = await measured(kernelDistance(pairs), r, g, 400)
    expectClose([kid.value], [mmd2(kernel)], 1e-6)
    const gaussian = await measured(gaussianDistance(pairs, { sigma: 0.7 }), r, g, 400)
    expectClose([gaussian.value], [1000 * mmd2((i, j) => Math.exp(-square(i, j) / (2 * 0.7 ** 2)))], 1e-6)
    expect((await measured(precision(pairs), r, g, 400)).value).toBe(inside(r, g, 3))
    expect((await measured(recall(pairs, { k: 5 }), r, g, 400)).value).toBe(inside(g, r, 5))
  })

  it('images that equal real ones have precision and recall 1, also where several are alike', async () => {
    const few = range(0, 40)
    const alike = [...few, ...few, ...few, ...few, ...few]
    for (const [a, b] of [
      [few, few],
      [alike, few],
      [alike, alike],
    ] as const) {
      expect((await measured(precision(table), a, b)).value).toBe(1)
      expect((await measured(recall(table), b, a)).value).toBe(1)
    }
  })

  it('the kernel distance is unbiased: 0 on the average between halves of the same images, so below 0 for some', async () => {
    const values: number[] = []
    for (let i = 0; i < 12; i++) {
      // Halves by a different bit pattern of the number each.
      const half = range(0, m).filter((row) => ((row * (2 * i + 3)) >> 2) % 2 === 0)
      const rest = range(0, m).filter((row) => !half.includes(row))
      values.push((await measured(kernelDistance(table), half, rest)).value)
    }
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    expect(Math.abs(mean)).toBeLessThan(0.1 * expected.kid)
    expect(Math.min(...values)).toBeLessThan(0)
  })

  it('names its features, and is called FID if and only if they are Inception-v3', () => {
    expect(frechetDistance(table)).toMatchObject({
      name: 'frechetDistance',
      title: `Fréchet distance (table, ${width} features)`,
    })
    const wide = looksUp(both, 2048)
    expect(frechetDistance(wide).title).toBe('Fréchet distance (table, 2048 features)')
    expect(kernelDistance(wide)).toMatchObject({
      name: 'kernelDistance',
      title: 'Kernel distance (table, 2048 features)',
    })
    const inception = looksUp(both, 2048, { inceptionV3: true })
    expect(frechetDistance(inception)).toMatchObject({ name: 'fid', title: 'FID (table, 2048 features)' })
    expect(kernelDistance(inception)).toMatchObject({ name: 'kid', title: 'KID (table, 2048 features)' })
    for (const metric of [frechetDistance, kernelDistance]) {
      expect(() => metric(looksUp(both, width, { inceptionV3: true }))).toThrow(
        `inceptionV3 is true, but there are ${width} features`,
      )
    }
    expect(precision(table).title).toBe(`Precision, k = 3 (table, ${width} features)`)
    expect([precision(table), recall(table)].map(({ higherIsBetter }) => higherIsBetter)).toEqual([true, true])
    expect(recall(table, { name: 'other' }).name).toBe('other')
  })

  it('an abort ends the comparison of all pairs', async () => {
    for (const metric of [kernelDistance(table), precision(table), recall(table)]) {
      const run = metric.start()
      await run.add(images(range(0, m)), 'real')
      await run.add(images(range(m, m + n)), 'generated')
      const controller = new AbortController()
      const finished = run.finish(controller.signal)
      controller.abort('enough')
      await expect(finished).rejects.toBe('enough')
    }
  })

  it('says what is missing: too few images, a wrong k, features of another width', async () => {
    await expect(measured(kernelDistance(table), [0], [1, 2])).rejects.toThrow(/1 real image; expected at least 2/)
    await expect(measured(precision(table), range(0, 9), [1, 2, 3])).rejects.toThrow(
      /3 generated images; .* at least 4/,
    )
    expect(() => precision(table, { k: 0 })).toThrow(/k is 0/)
    const broken: FeatureExtractor = { name: 'broken', dimension: 3, features: async () => new Float32Array(4) }
    await expect(measured(frechetDistance(broken), [0, 1], [1])).rejects.toThrow(
      /broken: 4 numbers for 2 images; .* 3 for each/,
    )
  })

  it.each<[string, (metric: FeatureExtractor) => Metric]>([
    ['Fréchet distance', frechetDistance],
    ['kernel distance', kernelDistance],
    ['precision', precision],
    ['recall', recall],
  ])('%s refuses features that are no finite numbers, or of another kind or number than before', async (_, metric) => {
    const answering = (answer: (extractor: { dimension: number }) => unknown) => {
      const extractor = { name: 'mine', dimension: 2, features: async () => answer(extractor) as Float32Array }
      return measured(metric(extractor), range(0, 3), range(0, 3))
    }
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const error = await failure(answering(() => Float32Array.of(1, 2, 3, 4, 5, bad)))
      expect(error.code).toBe('ERR_INVALID_ARGUMENT')
      expect(error.message).toBe(`mine: feature 1 of image 2 in a batch of 3 is ${bad}; expected finite numbers only`)
    }
    await expect(answering(() => [1, 2, 3, 4, 5, 6])).rejects.toThrow(
      'mine: its features are [ 1, 2, 3, 4, 5, ... 1 more item ]; expected a Float32Array of 3 × 2 numbers',
    )
    await expect(answering(() => undefined)).rejects.toThrow(/mine: its features are undefined/)
    await expect(
      answering((extractor) => {
        extractor.dimension = 3
        return new Float32Array(9)
      }),
    ).rejects.toThrow(/mine: its dimension is 3; expected 2 as before/)
  })

  it('a covariance for which there is no memory is told', () => {
    expect(() => frechetDistance({ ...table, dimension: 2 ** 30 }).start()).toThrow(/of 1073741824 features takes/)
  })
})

describe('forgetting and backward transfer', () => {
  it('are those of their definitions, positive where it got worse and where it got better', () => {
    const distance = [[10], [20, 8], [16, 30, 9]]
    // Task 1 was best after task 1 (10), task 2 after task 2 (8).
    expect(forgetting(distance)).toEqual({ tasks: [16 - 10, 30 - 8], mean: (6 + 22) / 2 })
    expect(backwardTransfer(distance)).toEqual({ tasks: [-6, -22], mean: -14 })
    const accuracy = { higherIsBetter: true }
    // Task 1 was best after task 2, above its diagonal: forgetting and backward transfer differ.
    expect(forgetting([[0.5], [0.75, 1], [0.625, 0.5, 1]], accuracy)).toEqual({ tasks: [0.125, 0.5], mean: 0.3125 })
    expect(backwardTransfer([[0.5], [0.75, 1], [0.625, 0.5, 1]], accuracy)).toEqual({
      tasks: [0.125, -0.5],
      mean: -0.1875,
    })
  })

  it('are null where nothing was measured, and so is the mean over such tasks', () => {
    expect(forgetting([[1], [2, 1], [null, 3, 1]])).toEqual({ tasks: [null, 2], mean: null })
    expect(forgetting([[null], [2, 1], [5, 3, 1]])).toEqual({ tasks: [3, 2], mean: 2.5 })
    expect(backwardTransfer([[null], [2, 1], [5, 3, 1]])).toEqual({ tasks: [null, -2], mean: null })
  })

  it('refuse what is no such matrix', () => {
    expect(() => forgetting([[1]])).toThrow(/1 tasks; expected at least 2/)
    expect(() => backwardTransfer([[1], [2]])).toThrow(/row 2 of the matrix has 1 values; expected 2/)
  })

  it('take their matrix from evaluations', () => {
    const value = (of: number | null) => ({
      values: { d: { value: of, real: 1, generated: 1 } },
      real: 1,
      generated: 1,
    })
    const counts = { real: 1, generated: 1, values: {} }
    const evaluations: Evaluation[] = [
      { ...counts, tasks: [{ task: 1, ...value(1) }] },
      {
        ...counts,
        tasks: [
          { task: 1, ...value(null) },
          { task: 2, ...value(3) },
        ],
      },
    ]
    expect(taskMatrix(evaluations, 'd')).toEqual([[1], [null, 3]])
    expect(() => taskMatrix(evaluations, 'e')).toThrow(/after task 1 has values of 'e' for 0 single tasks; expected 1/)
    expect(() => taskMatrix([{ ...counts }], 'd')).toThrow(/evaluate with the option perTask/)
  })
})
