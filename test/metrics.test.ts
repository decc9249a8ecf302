import { expect, it } from 'vitest'
import { momentsDistance, RunningMoments } from '../lib/engine/moments.js'
import { compareCounts } from '../lib/evaluation/class-frequencies.js'
import { expectClose, Golden, goldenJson } from './support/golden.js'

interface Metrics {
  fid: number
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
    expectClose(moments.covariance(), covariance, 1e-12)
  }
})

it('calls that overlap are added in order', async () => {
  const { data } = golden.tensor('real')
  const moments = new RunningMoments(width)
  const parts = Array.from({ length: 8 }, (_, i) => data.slice(i * 50 * width, (i + 1) * 50 * width))
  await Promise.all(parts.map((part) => moments.add(part)))
  expectClose(moments.covariance(), (await momentsOf('real', 400, [400])).covariance(), 1e-12)
})

it('KLD and ARD of class histograms are those of the reference', () => {
  const { kld, ard } = compareCounts(Float64Array.from(expected.hist_true), Float64Array.from(expected.hist_generated))
  expectClose([kld], [expected.kld_true_vs_generated], 1e-6)
  expectClose([ard], [expected.ard], 1e-6)
})
