import { describe, expect, it } from 'vitest'
import { loadAddon } from '../lib/engine/load.js'
import type { NativeDraws } from '../lib/engine/native-learner.js'
import type { NativeImages } from '../lib/engine/native-values.js'
import { noiseLevels, type Objective, paperSchedule, type ScheduleConfig, type Term } from '../lib/index.js'
import { devices, type TestDevice, tolerance } from './support/devices.js'
import { expectClose } from './support/golden.js'
import { type Batches, drawNext, fp32Learner, resolve, train } from './support/native.js'
import { bands, tinyUNet } from './support/tiny.js'

const batchSize = 5
const pixels = tinyUNet.sample_size ** 2
const dataset = bands('bands', 6)

async function setUp(config: Partial<ScheduleConfig> = {}, device: TestDevice = 'cpu') {
  const addon = loadAddon()
  const native = await fp32Learner(tinyUNet, device, { seed: 3, schedule: config })
  const { images, labels, height, width, channels } = dataset
  const count = labels.length
  const resident = await addon.createImages({ images, labels, count, height, width, channels, size: 0, device })
  const { alpha, sigma: deviation } = noiseLevels(config)
  return { native, resident, alpha, deviation }
}

function batches(images: NativeImages): Batches {
  const part = (from: number, to: number) => ({
    images,
    indices: Int32Array.from({ length: to - from }, (_, i) => from + i),
  })
  return { task: [part(0, 12)], memory: [part(12, 16)], batchSize, horizontalFlip: false }
}

const shape = [batchSize, 1, tinyUNet.sample_size, tinyUNet.sample_size]

/** Combines images with a factor of each one's own. */
function mix(a: (t: number) => number, x: Float32Array, b: (t: number) => number, y: Float32Array, draws: NativeDraws) {
  return x.map((value, i) => {
    const t = draws.timesteps[Math.floor(i / pixels)] as number
    return a(t) * value + b(t) * (y[i] as number)
  })
}

function mean(values: Iterable<number>): number {
  const all = [...values]
  return all.reduce((sum, value) => sum + value, 0) / all.length
}

const task = { kind: 'task' } as const

describe.each(devices)('terms are the formulas of their papers, on %s', (device) => {
  it.each(['epsilon', 'sample', 'v', 'flow', 'edm'] as const)(
    'MSE, smooth L1, Huber and min-SNR, %s-prediction',
    async (prediction) => {
      const gamma = 5
      const delta = 0.4
      const kind = prediction === 'flow' || prediction === 'edm' ? prediction : 'betas'
      const terms: Term[] = [
        { source: task, target: 'data', weight: 0.5 },
        { source: task, target: 'data', weight: 2, loss: 'smooth-l1' },
        { source: task, target: 'data', weight: 0.25, loss: { kind: 'min-snr', gamma } },
        { source: task, target: 'data', weight: 1, loss: { kind: 'huber', delta } },
      ]
      const { native, resident, alpha, deviation } = await setUp({ kind, prediction }, device)
      const draws = await drawNext(native, { terms }, batches(resident))
      expect(draws).toHaveLength(1)
      const draw = draws[0] as NativeDraws
      const x0 = draw.x0?.data as Float32Array
      const noise = draw.noise?.data as Float32Array
      const signal = (t: number) => alpha[t] as number
      const sigma = (t: number) => deviation[t] as number
      const xt = mix(signal, x0, sigma, noise, draw)
      const predicted = (await native.predict('student', { data: xt, shape }, draw.timesteps)).data
      // arXiv 2206.00364, table 1, of y = x_t/α with σ_data = 0.5.
      const ratio = (t: number) => sigma(t) / signal(t)
      const out = (t: number) => (ratio(t) * 0.5) / Math.hypot(ratio(t), 0.5)
      const skip = (t: number) => 0.25 / (ratio(t) ** 2 + 0.25)
      const target = {
        epsilon: noise,
        sample: x0,
        v: mix(signal, noise, (t) => -sigma(t), x0, draw),
        flow: noise.map((e, i) => e - (x0[i] as number)),
        edm: mix(
          (t) => 1 / out(t),
          x0,
          (t) => -skip(t) / (signal(t) * out(t)),
          xt,
          draw,
        ),
      }[prediction]
      const errors = predicted.map((value, i) => value - (target[i] as number))
      // Hang et al. 2023: x₀-prediction weighted by min(SNR, γ); ε is that divided by SNR, v by SNR + 1.
      const snrWeight = (i: number) => {
        const t = draw.timesteps[Math.floor(i / pixels)] as number
        const snr = ratio(t) ** -2
        // An error of the velocity is one of σ times as much in x₀; of F, of c_out times as much.
        const inX0 = { epsilon: 1 / snr, sample: 1, v: 1 / (snr + 1), flow: sigma(t) ** 2, edm: out(t) ** 2 }
        return Math.min(snr, gamma) * inX0[prediction]
      }
      const expected = [
        mean(Array.from(errors, (e) => e * e)),
        mean(Array.from(errors, (e) => (Math.abs(e) < 1 ? (e * e) / 2 : Math.abs(e) - 0.5))),
        mean(Array.from(errors, (e, i) => snrWeight(i) * e * e)),
        mean(Array.from(errors, (e) => (Math.abs(e) < delta ? (e * e) / 2 : delta * (Math.abs(e) - delta / 2)))),
      ] as const
      const found = await native.compute(resolve({ terms }), draws)
      for (const [i, value] of expected.entries())
        expectClose([found.terms[i] as number], [value], tolerance(device, 1e-4), `term ${i}`)
      expectClose(
        [found.loss],
        [0.5 * expected[0] + 2 * expected[1] + 0.25 * expected[2] + expected[3]],
        tolerance(device, 1e-4),
        'loss',
      )
      native.dispose()
      resident.dispose()
    },
  )

  it('min-SNR is finite at zero terminal SNR, where its weight for ε is 1', async () => {
    const last = [paperSchedule.timesteps - 1, paperSchedule.timesteps] as const
    const terms: Term[] = [
      { source: task, target: 'data', weight: 1, timesteps: last },
      { source: task, target: 'data', weight: 1, timesteps: last, loss: { kind: 'min-snr', gamma: 5 } },
    ]
    const { native, resident } = await setUp({}, device)
    const { terms: found } = await native.compute(
      resolve({ terms }),
      await drawNext(native, { terms }, batches(resident)),
    )
    expect(found[0]).toBeGreaterThan(0)
    expectClose([found[1] as number], [found[0] as number], tolerance(device, 1e-6))
    native.dispose()
    resident.dispose()
  })

  it('a Gaussian source passes its noise for x_t, and its target is the teacher', async () => {
    const terms: Term[] = [{ source: { kind: 'gaussian' }, target: 'teacher', weight: 1 }]
    const { native, resident } = await setUp({}, device)
    await native.freezeTeacher()
    await train(native, { terms: [{ source: task, target: 'data', weight: 1 }] }, batches(resident), 3)
    const draws = await drawNext(native, { terms }, batches(resident))
    const { z, timesteps } = draws[0] as NativeDraws
    if (!z) throw new Error('no z was drawn')
    const student = (await native.predict('student', z, timesteps)).data
    const teacher = (await native.predict('teacher', z, timesteps)).data
    const expected = mean(Array.from(student, (value, i) => (value - (teacher[i] as number)) ** 2))
    expect(expected).toBeGreaterThan(0)
    expectClose([(await native.compute(resolve({ terms }), draws)).loss], [expected], tolerance(device, 1e-4))
    native.dispose()
    resident.dispose()
  })

  it('a teacher that stops at the drawn timestep hands on its own x_t', async () => {
    const source = { kind: 'teacher', sampler: { steps: 3 }, stopAtTimestep: true } as const
    const terms: Term[] = [{ source, target: 'teacher', weight: 1 }]
    const { native, resident } = await setUp({}, device)
    await native.freezeTeacher()
    const draws = await drawNext(native, { terms }, batches(resident))
    const draw = draws[0] as NativeDraws
    expect(draw.noise).toBeUndefined()
    // The student still is the teacher, so whatever x_t is, both predict the same.
    expect((await native.compute(resolve({ terms }), draws)).loss).toBeLessThanOrEqual(device === 'cpu' ? 0 : 1e-9)
    await train(native, { terms: [{ source: task, target: 'data', weight: 1 }] }, batches(resident), 3)
    const { loss } = await native.compute(resolve({ terms }), draws)
    expect(loss).toBeGreaterThan(0)
    native.dispose()
    resident.dispose()
  })
})

describe('draws', () => {
  const terms: Term[] = [
    { source: task, target: 'data', weight: 1, timesteps: [100, 200] },
    { source: { kind: 'memory' }, target: 'data', weight: 1 },
  ]

  /** Positions in the data set of the images that were drawn, and whether each is mirrored; fails for one that isn't there. */
  function found(x0: Float32Array): { position: number; mirrored: boolean }[] {
    const side = tinyUNet.sample_size
    return Array.from({ length: x0.length / pixels }, (_, n) => {
      for (let position = 0; position < dataset.labels.length; position++) {
        for (const mirrored of [false, true]) {
          const same = dataset.images.subarray(position * pixels, (position + 1) * pixels).every((byte, i) => {
            const x = i % side
            const at = mirrored ? i - x + (side - 1 - x) : i
            return Math.abs((x0[n * pixels + at] as number) - (byte / 127.5 - 1)) < 1e-5
          })
          if (same) return { position, mirrored }
        }
      }
      throw new Error(`image ${n} of the batch is none of the data set`)
    })
  }

  it('are images of the right set, scaled to [−1, 1], and timesteps of the given range', async () => {
    const { native, resident } = await setUp()
    const [fromTask, fromMemory] = (await drawNext(native, { terms }, batches(resident))) as [NativeDraws, NativeDraws]
    for (const { position, mirrored } of found(fromTask.x0?.data as Float32Array)) {
      expect(position).toBeLessThan(12)
      expect(mirrored).toBe(false)
    }
    for (const { position } of found(fromMemory.x0?.data as Float32Array)) {
      expect(position).toBeGreaterThanOrEqual(12)
      expect(position).toBeLessThan(16)
    }
    expect(fromTask.timesteps.every((t) => t >= 100 && t < 200)).toBe(true)
    native.dispose()
    resident.dispose()
  })

  it('see every image of the task once an epoch, and mirror about half of them when told to', async () => {
    const { native, resident } = await setUp()
    const objective: Objective = { terms: [{ source: task, target: 'data', weight: 1 }] }
    const options = { ...batches(resident), batchSize: 4, horizontalFlip: true }
    const seen: { position: number; mirrored: boolean }[] = []
    for (let step = 0; step < 12; step++) {
      const [drawn] = await drawNext(native, objective, options)
      seen.push(...found(drawn?.x0?.data as Float32Array))
      await train(native, objective, batches(resident), 1)
    }
    // 12 images in batches of 4: three steps an epoch.
    for (let epoch = 0; epoch < 4; epoch++) {
      const positions = seen.slice(epoch * 12, (epoch + 1) * 12).map(({ position }) => position)
      expect(positions.sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, i) => i))
    }
    const mirrored = seen.filter(({ mirrored }) => mirrored).length
    expect(mirrored).toBeGreaterThan(8)
    expect(mirrored).toBeLessThan(40)
    native.dispose()
    resident.dispose()
  })

  it('do not change what a session draws, and are what it draws', async () => {
    const { native, resident } = await setUp()
    const { native: other } = await setUp()
    const objective: Objective = { terms: [{ source: task, target: 'data', weight: 1 }] }
    const byHand = await native.compute(resolve(objective), await drawNext(native, objective, batches(resident)))
    const report = await train(other, objective, batches(resident), 1)
    expect([...report.losses]).toEqual([byHand.loss])
    expect([...report.gradNorms]).toEqual([byHand.gradNorm])
    native.dispose()
    other.dispose()
    resident.dispose()
  })

  it('cut into chunks of any size, training gives the same weights to the bit', async () => {
    const objective: Objective = { terms: [{ source: task, target: 'data', weight: 1 }] }
    const after: Float32Array[][] = []
    for (const chunks of [[7], [1, 1, 1, 1, 1, 1, 1], [2, 5]]) {
      const { native, resident } = await setUp()
      for (const steps of chunks) await train(native, objective, batches(resident), steps)
      after.push(await native.read('student'))
      native.dispose()
      resident.dispose()
    }
    expect(after[1]).toEqual(after[0])
    expect(after[2]).toEqual(after[0])
  })
})
