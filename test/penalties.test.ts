import { describe, expect, it } from 'vitest'
import { loadAddon } from '../lib/engine/load.js'
import type { NativeDraws, NativeLearner } from '../lib/engine/native-learner.js'
import type { NativePool, NativeTensor } from '../lib/engine/native-values.js'
import type { NativeQuadratic } from '../lib/engine/state.js'
import type { Consolidation, Objective } from '../lib/index.js'
import { devices, type TestDevice, tolerance } from './support/devices.js'
import { expectClose, row } from './support/golden.js'
import { drawNext, fp32Learner, inSession, never, resolve, train } from './support/native.js'
import { bands, tinyUNet } from './support/tiny.js'

/** One quadratic of what is kept under a name. */
async function readPenalty(native: NativeLearner, name: string, part: number): Promise<NativeQuadratic> {
  const kept = (await native.readPenalties()).find((penalty) => penalty.name === name)
  return kept?.quadratics[part] as NativeQuadratic
}

const finetuning = resolve({ terms: [{ source: { kind: 'task' }, target: 'data', weight: 1 }] })

async function setUpOn(device: TestDevice) {
  const addon = loadAddon()
  const native = await fp32Learner(tinyUNet, device, { seed: 3 })
  const { images, labels, height, width, channels } = bands('bands', 6)
  const resident = await addon.createImages({
    images,
    labels,
    count: labels.length,
    height,
    width,
    channels,
    size: 0,
    device,
  })
  const pool: NativePool = [{ images: resident, indices: Int32Array.from(labels, (_, i) => i) }]
  const batches = { task: pool, memory: [], batchSize: 4, horizontalFlip: false }
  return {
    native,
    train: (objective: Objective, steps: number) => train(native, objective, batches, steps),
    draw: (objective: Objective) => drawNext(native, objective, batches),
    drawSamples: (consolidation: Consolidation) =>
      inSession(native, finetuning, batches, (session) => session.drawSamples(consolidation)),
    consolidate: (...consolidations: Consolidation[]) =>
      inSession(native, finetuning, batches, (session) => session.consolidate(consolidations, never)),
  }
}

/** All of a learner's tensors of one kind as one array in float64. */
function flat(tensors: readonly Float32Array[]): Float64Array {
  return Float64Array.from(tensors.flatMap((tensor) => [...tensor]))
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * (b[i] as number), 0)
}

/** The gradient of the noise loss of each of the samples alone. */
async function sampleGradients(native: NativeLearner, draws: NativeDraws): Promise<Float64Array[]> {
  const gradients: Float64Array[] = []
  const one = (tensor: NativeTensor | undefined, i: number) => {
    const { data, shape } = row(tensor as NativeTensor, i)
    return { data, shape: [1, ...shape] }
  }
  for (const [i, t] of draws.timesteps.entries()) {
    const draw = { x0: one(draws.x0, i), noise: one(draws.noise, i), timesteps: Int32Array.of(t) }
    await native.compute(finetuning, [draw])
    gradients.push(flat(await native.read('gradient')))
  }
  return gradients
}

function mean(vectors: readonly Float64Array[]): Float64Array {
  return (vectors[0] as Float64Array).map(
    (_, i) => vectors.reduce((sum, v) => sum + (v[i] as number), 0) / vectors.length,
  )
}

describe.each(devices)('on %s', (device) => {
  const setUp = () => setUpOn(device)
  const within = (onCpu: number) => tolerance(device, onCpu)
  const bitwise = it.runIf(device === 'cpu')

  describe('the Fisher matrix', () => {
    const squared: Consolidation = { kind: 'squared-gradients', penalty: 'a', samples: 30 }
    const averaged: Consolidation = { kind: 'mean-gradient', penalty: 'b', samples: 30, optimal: false }

    it('has the mean squared gradient of single samples on its diagonal', async () => {
      const { native, drawSamples, train, consolidate } = await setUp()
      await train(finetuning, 3)
      const draws = await drawSamples(squared)
      // More samples than the 24 images: these come again, with other noise.
      expect(draws.x0?.shape).toEqual([30, 1, 8, 8])
      const gradients = await sampleGradients(native, draws)
      await consolidate(squared)
      const { anchor, importance } = await readPenalty(native, 'a', 0)
      const expected = mean(gradients.map((g) => g.map((value) => value * value)))
      expectClose(flat(importance), expected, within(1e-4), 'Fisher')
      expect(anchor).toEqual(await native.read('student'))
      native.dispose()
    })

    it('of rank one is the mean gradient’s, scaled to be the nearest to the whole matrix', async () => {
      const { native, drawSamples, train, consolidate } = await setUp()
      await train(finetuning, 3)
      const gradients = await sampleGradients(native, await drawSamples(averaged))
      const g = mean(gradients)
      await consolidate(averaged, { ...averaged, penalty: 'c', optimal: true })
      const [plain, optimal] = [await readPenalty(native, 'b', 0), await readPenalty(native, 'c', 0)]
      expectClose(flat(plain.importance), g, within(1e-4), 'mean gradient')
      const v = flat(optimal.importance)
      // ‖F − u·uᵀ‖² = ‖F‖² − 2·uᵀFu + ‖u‖⁴ is smallest, over all u along v, at v: a little less or more of it is farther away.
      const distance = (scale: number) => {
        const u = v.map((value) => scale * value)
        const uFu = gradients.reduce((sum, gradient) => sum + dot(gradient, u) ** 2, 0) / gradients.length
        return -2 * uFu + dot(u, u) ** 2
      }
      expect(distance(1)).toBeLessThan(distance(0.99))
      expect(distance(1)).toBeLessThan(distance(1.01))
      expect(dot(v, g) / Math.sqrt(dot(v, v) * dot(g, g))).toBeCloseTo(1, 5)
      native.dispose()
    })

    it('draws its timesteps from the range given, and the same for the same step', async () => {
      const { native, drawSamples, train } = await setUp()
      const gated: Consolidation = { ...squared, timesteps: [990, 1000] }
      const { timesteps, noise } = await drawSamples(gated)
      expect(timesteps.every((t) => t >= 990 && t < 1000)).toBe(true)
      expect((await drawSamples(gated)).noise).toEqual(noise)
      await train(finetuning, 1)
      expect((await drawSamples(gated)).noise).not.toEqual(noise)
      native.dispose()
    })
  })

  describe('penalties', () => {
    /** Weights with quadratics around other ones, of every shape and in several parts. */
    async function penalized() {
      const set = await setUp()
      const weights = await set.native.read('student')
      const near = (k: number) => weights.map((w) => w.map((value, i) => value + 0.01 * Math.sin(k + i)))
      const positive = (k: number) => weights.map((w) => w.map((_, i) => 1 + Math.cos(k * i)))
      const signed = (k: number) => weights.map((w) => w.map((_, i) => Math.cos(k * i)))
      for (const k of [1, 2]) {
        await set.native.writePenalty({ name: 'flat', shape: 'diagonal', anchor: near(k), importance: positive(k) })
        await set.native.writePenalty({ name: 'thin', shape: 'rank-1', anchor: near(k + 2), importance: signed(k) })
      }
      const penalties = [
        { name: 'thin', strength: 0.7 },
        { name: 'flat', strength: 3 },
      ]
      return { ...set, weights, objective: { ...finetuning, penalties } }
    }

    it('add strength · ½·Σ importance·δ² or ½·(importance·δ)² to the loss', async () => {
      const { native, draw, objective, weights } = await penalized()
      const draws = await draw(objective)
      const { loss, terms, penalties } = await native.compute(resolve(objective), draws)
      const theta = flat(weights)
      const expected = { flat: 0, thin: 0 }
      for (const part of [0, 1]) {
        for (const name of ['flat', 'thin'] as const) {
          const { anchor, importance } = await readPenalty(native, name, part)
          const star = flat(anchor)
          const delta = theta.map((value, i) => value - (star[i] as number))
          const F = flat(importance)
          expected[name] +=
            name === 'flat'
              ? dot(
                  F,
                  delta.map((d) => d * d),
                ) / 2
              : dot(F, delta) ** 2 / 2
        }
      }
      expectClose(penalties, [expected.thin, expected.flat], within(1e-5))
      expectClose([loss], [(terms[0] as number) + 0.7 * expected.thin + 3 * expected.flat], within(1e-5))
      native.dispose()
    })

    it('add their own gradient, by finite differences, and the norm is that of the sum', async () => {
      const { native, draw, objective, weights } = await penalized()
      const draws = await draw(objective)
      await native.compute(finetuning, draws)
      const without = flat(await native.read('gradient'))
      const { gradNorm } = await native.compute(resolve(objective), draws)
      const gradient = flat(await native.read('gradient'))
      expectClose([gradNorm], [Math.sqrt(dot(gradient, gradient))], within(1e-5))
      for (const k of [3, 4, 5]) {
        const direction = weights.map((w) => w.map((_, i) => Math.sin(k * i + 0.3)))
        const cost = async (h: number) => {
          const moved = weights.map((w, p) => w.map((value, i) => value + h * (direction[p]?.[i] as number)))
          await native.write('student', moved)
          const { penalties } = await native.compute(resolve(objective), draws)
          return 0.7 * (penalties[0] as number) + 3 * (penalties[1] as number)
        }
        // The costs are quadratic, so that central differences are exact at any distance.
        const slope = ((await cost(0.02)) - (await cost(-0.02))) / 0.04
        const along = dot(
          gradient.map((value, i) => value - (without[i] as number)),
          flat(direction),
        )
        expectClose([along], [slope], within(1e-4))
      }
      native.dispose()
    })

    bitwise('of strength 0, or at their anchor, change nothing', async () => {
      const { native, train, consolidate } = await setUp()
      const other = await setUp()
      await consolidate({ kind: 'squared-gradients', penalty: 'a', samples: 3 })
      await train({ ...finetuning, penalties: [{ name: 'a', strength: 0 }] }, 3)
      await other.train(finetuning, 3)
      expect(await native.read('student')).toEqual(await other.native.read('student'))
      await consolidate({ kind: 'squared-gradients', penalty: 'b', samples: 3 })
      const { penalties } = await train({ ...finetuning, penalties: [{ name: 'b', strength: 1e6 }] }, 1)
      expect(penalties).toEqual(Float64Array.of(0))
      native.dispose()
      other.native.dispose()
    })

    it('hold the weights the nearer to the anchor the stronger they are', async () => {
      const distances: number[] = []
      for (const strength of [0, 1e3, 1e6]) {
        const { native, train } = await setUp()
        const anchor = await native.read('student')
        const importance = anchor.map((w) => w.map(() => 1))
        await native.writePenalty({ name: 'a', shape: 'diagonal', anchor, importance })
        await train({ ...finetuning, penalties: [{ name: 'a', strength }] }, 30)
        const start = flat(anchor)
        const delta = flat(await native.read('student')).map((value, i) => value - (start[i] as number))
        distances.push(dot(delta, delta))
        native.dispose()
      }
      expect(distances).toEqual(distances.toSorted((a, b) => b - a))
      expect(distances[2]).toBeLessThan((distances[0] as number) / 10)
    })

    it('keep a quadratic for each task, or one for all', async () => {
      const { native, train, consolidate } = await setUp()
      const each: Consolidation = { kind: 'squared-gradients', penalty: 'each', samples: 5 }
      const online: Consolidation = { ...each, penalty: 'online', decay: 0.25 }
      await consolidate(each, online)
      await train(finetuning, 2)
      await consolidate(each, online)
      expect(await native.penalties()).toEqual([
        { name: 'each', shape: 'diagonal', parts: 2 },
        { name: 'online', shape: 'diagonal', parts: 1 },
      ])
      const [one, two, both] = [
        await readPenalty(native, 'each', 0),
        await readPenalty(native, 'each', 1),
        await readPenalty(native, 'online', 0),
      ]
      expect(both.anchor).toEqual(two.anchor)
      expect(both.anchor).not.toEqual(one.anchor)
      const [f1, f2] = [flat(one.importance), flat(two.importance)]
      expectClose(
        flat(both.importance),
        f1.map((value, i) => 0.25 * value + (f2[i] as number)),
        within(1e-6),
      )
      native.dispose()
    })

    it('name themselves when they diverge, and when there is nothing to take them from', async () => {
      const { native, train } = await setUp()
      const anchor = await native.read('student')
      const importance = anchor.map((w) => w.map(() => Number.POSITIVE_INFINITY))
      await native.writePenalty({ name: 'wild', shape: 'diagonal', anchor, importance })
      const objective = { ...finetuning, penalties: [{ name: 'wild', strength: 1 }] }
      await expect(train(objective, 3)).rejects.toThrow(/the penalty 'wild' is not finite at step 1/)
      const missing = { ...finetuning, penalties: [{ name: 'none', strength: 1 }] }
      await expect(train(missing, 1)).rejects.toThrow(/penalty 'none', but nothing was consolidated/)
      // On CUDA a loss is looked at when the call's steps are done.
      if (device === 'cpu') expect(await native.read('student')).toEqual(anchor)
      native.dispose()
    })
  })

  describe('the path integral', () => {
    it('is Σ −g·Δθ of the terms alone over (Δ² + ξ), and never negative', async () => {
      const { native, draw, train, consolidate } = await setUp()
      await consolidate({ kind: 'squared-gradients', penalty: 'a', samples: 4 })
      await train(finetuning, 5)
      const objective = { ...finetuning, penalties: [{ name: 'a', strength: 1e4 }] }
      const start = flat(await native.read('student'))
      const integral = new Float64Array(start.length)
      await native.followPath(true)
      let before = start
      for (let step = 0; step < 6; step++) {
        await native.compute(finetuning, await draw(objective))
        const gradient = flat(await native.read('gradient'))
        await train(objective, 1)
        const after = flat(await native.read('student'))
        for (const [i, g] of gradient.entries()) integral[i]! -= g * ((after[i] as number) - (before[i] as number))
        before = after
      }
      const damping = 1e-4
      await consolidate({ kind: 'path-integral', penalty: 'path', damping, decay: 1 })
      const { anchor, importance } = await readPenalty(native, 'path', 0)
      const quotient = integral.map(
        (omega, i) => omega / (((before[i] as number) - (start[i] as number)) ** 2 + damping),
      )
      expect(quotient.some((value) => value < 0)).toBe(true)
      expectClose(
        flat(importance),
        quotient.map((value) => Math.max(0, value)),
        within(1e-4),
      )
      expect(flat(anchor)).toEqual(before)
      // The next path begins here: without a step it adds nothing.
      await native.followPath(true)
      await consolidate({ kind: 'path-integral', penalty: 'path', damping, decay: 1 })
      expect((await readPenalty(native, 'path', 0)).importance).toEqual(importance)
      native.dispose()
    })

    bitwise('does not change what is learned, and is refused where no path was followed', async () => {
      const [one, other] = [await setUp(), await setUp()]
      await one.native.followPath(true)
      await one.train(finetuning, 4)
      await other.train(finetuning, 4)
      expect(await one.native.read('student')).toEqual(await other.native.read('student'))
      const path: Consolidation = { kind: 'path-integral', penalty: 'path', damping: 1 }
      await expect(other.consolidate(path)).rejects.toThrow(/needs the path that the weights took/)
      one.native.dispose()
      other.native.dispose()
    })
  })
})
