import { describe, expect, it } from 'vitest'
import { networkCalls, paperSampler, type SamplerConfig, samplerKinds } from '../lib/config/sampler.js'
import { paperSchedule, type ScheduleConfig, scheduleTable } from '../lib/config/schedule.js'
import { loadAddon } from '../lib/engine/load.js'
import { samplerTimesteps, schedule } from '../lib/index.js'
import { expectClose, Golden, row } from './support/golden.js'

const golden = await Golden.read('ddim/ddim.safetensors')
const counts = [1, 2, 5, 10, 20, 100]

describe('schedule', () => {
  it('has the cumulative alphas of the reference, with and without zero terminal SNR', () => {
    expectClose(schedule().alphasCumprod, golden.tensor('alphas_cumprod_zero_snr').data, 1e-6)
    expectClose(schedule({ zeroTerminalSnr: false }).alphasCumprod, golden.tensor('alphas_cumprod_linear').data, 1e-6)
  })

  it('ends in pure noise with zero terminal SNR and keeps its beginning', () => {
    for (const betas of ['linear', 'scaled-linear', 'cosine'] as const) {
      const rescaled = schedule({ betas }).alphasCumprod
      expect(rescaled.at(-1)).toBe(0)
      expect(rescaled[0]).toBeCloseTo(schedule({ betas, zeroTerminalSnr: false }).alphasCumprod[0] as number, 12)
    }
  })

  it('has betas that multiply up to its alphas', () => {
    for (const zeroTerminalSnr of [false, true]) {
      const { betas, alphasCumprod } = schedule({ zeroTerminalSnr })
      let product = 1
      expectClose(
        betas.map((beta) => {
          product *= 1 - beta
          return product
        }),
        alphasCumprod,
        1e-12,
      )
    }
  })

  it('scaled-linear is linear in the root of beta', () => {
    const { betas } = schedule({ betas: 'scaled-linear', zeroTerminalSnr: false, timesteps: 50 })
    const roots = betas.map(Math.sqrt)
    const expected = roots.map((_, i) => Math.sqrt(1e-4) + ((Math.sqrt(0.02) - Math.sqrt(1e-4)) * i) / 49)
    expectClose(roots, expected, 1e-12)
  })

  it('cosine follows cos² until its betas are cut at 0.999', () => {
    const { alphasCumprod } = schedule({ betas: 'cosine', zeroTerminalSnr: false, timesteps: 100 })
    const f = (t: number) => Math.cos(((t / 100 + 0.008) / 1.008) * (Math.PI / 2)) ** 2
    expectClose(
      alphasCumprod.slice(0, 98),
      Float64Array.from({ length: 98 }, (_, i) => f(i + 1) / f(0)),
      1e-12,
    )
  })
})

describe('samplerTimesteps', () => {
  it.each(counts)('%i trailing steps visit the timesteps of the reference', (steps) => {
    expect(samplerTimesteps({}, { steps }).timesteps).toEqual(golden.numbers(`steps${steps}_timesteps`))
  })

  it('trailing steps go ⌊1000/S⌋ back, which need not be the next timestep, and last to the clean image', () => {
    const { timesteps, previous } = samplerTimesteps({}, { steps: 7 })
    expect([...timesteps]).toEqual([999, 856, 713, 570, 428, 285, 142])
    expect([...previous]).toEqual([857, 714, 571, 428, 286, 143, 0])
    expect([...samplerTimesteps({}, { steps: 2 }).previous]).toEqual([499, -1])
  })

  it('are all timesteps where these are fewer than the default', () => {
    expect([...samplerTimesteps({ timesteps: 5 }).timesteps]).toEqual([4, 3, 2, 1, 0])
  })

  it('leading steps end at 0', () => {
    const { timesteps, previous } = samplerTimesteps({}, { steps: 4, spacing: 'leading' })
    expect([...timesteps]).toEqual([750, 500, 250, 0])
    expect([...previous]).toEqual([500, 250, 0, -1])
  })
})

/** A trajectory from `start`, all states of it, with a network whose predictions are given. */
async function trajectory(
  given: Partial<ScheduleConfig>,
  sampler: Partial<SamplerConfig>,
  start: Float32Array,
  predictions: readonly Float32Array[],
  noises: readonly Float32Array[] = [],
  shape: readonly number[] = imageShape,
): Promise<Float32Array[]> {
  const tensor = (data: Float32Array) => ({ data, shape })
  const config = { ...paperSchedule, ...given }
  return loadAddon().samplerTrajectory({
    schedule: scheduleTable(config),
    prediction: config.prediction,
    sampler: { ...paperSampler, ...sampler },
    start: tensor(start),
    predictions: predictions.map(tensor),
    noises: noises.map(tensor),
  })
}

/** Follows a golden trajectory with the toy model ε(x, t) = tanh(0.7·x + 0.001·t) − 0.1, asked at the reference's states. */
async function expectTrajectory(
  name: string,
  given: Partial<ScheduleConfig>,
  sampler: Partial<SamplerConfig>,
  noises?: string,
) {
  const expected = golden.tensor(name)
  const { timesteps } = samplerTimesteps(given, sampler)
  const states = Array.from({ length: timesteps.length + 1 }, (_, i) => row(expected, i))
  const predictions = Array.from(timesteps, (t, i) => states[i]!.data.map((x) => Math.tanh(0.7 * x + 0.001 * t) - 0.1))
  const drawn = noises === undefined ? [] : predictions.map((_, i) => row(golden.tensor(noises), i).data)
  const [start] = states
  const found = await trajectory(given, sampler, start!.data, predictions, drawn, start!.shape)
  expect(found).toHaveLength(states.length)
  for (const [i, state] of states.entries()) expectClose(found[i]!, state.data, 1e-4, `${name}, step ${i}`)
}

describe('DDIM follows the reference', () => {
  it.each(counts)('%i steps, η = 0', (steps) => expectTrajectory(`steps${steps}_eta0`, {}, { steps }))

  it.each(counts)('%i steps, η = 0.6 with given noises', (steps) =>
    expectTrajectory(`steps${steps}_eta0.6`, {}, { steps, eta: 0.6 }, `steps${steps}_eta0.6_noise`),
  )

  it.each(counts)('%i steps on the plain linear schedule without clipping', (steps) =>
    expectTrajectory(`steps${steps}_linear_noclip`, { zeroTerminalSnr: false }, { steps, clip: false }),
  )
})

/** Reproducible numbers that look normal enough. */
function numbers(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * seed) * 1.7)
}

const imageShape = [2, 1, 4, 4]
const x0 = numbers(32, 1).map((x) => x / 2)
const epsilon = numbers(32, 2)
const plain = { zeroTerminalSnr: false } as const

function mix(a: number, x: Float32Array, b: number, y: Float32Array): Float32Array {
  return x.map((value, i) => a * value + b * (y[i] as number))
}

describe('a trajectory with true predictions', () => {
  const { alphasCumprod } = schedule(plain)
  const alpha = (t: number) => (t < 0 ? 1 : (alphasCumprod[t] as number))
  const signal = (t: number) => Math.sqrt(alpha(t))
  const sigma = (t: number) => Math.sqrt(1 - alpha(t))

  it.each(['epsilon', 'sample', 'v'] as const)('of kind %s goes along the line from ε to x₀', async (prediction) => {
    const sampler = { steps: 10, clip: false }
    const { timesteps, previous } = samplerTimesteps(plain, sampler)
    const on = (t: number) => mix(signal(t), x0, sigma(t), epsilon)
    const truth = (t: number) => ({ epsilon, sample: x0, v: mix(signal(t), epsilon, -sigma(t), x0) })[prediction]
    const found = await trajectory({ ...plain, prediction }, sampler, on(999), Array.from(timesteps, truth))
    for (const [i, t] of previous.entries()) expectClose(found[i + 1]!, on(t), 1e-3, `step ${i}`)
  })

  it('of DDPM has steps that are equation 11 of its paper, with the posterior variance', async () => {
    const { betas } = schedule(plain)
    const noises = Array.from({ length: 1000 }, (_, i) => numbers(32, 3 + i))
    const sampler = { kind: 'ddpm', steps: 1000, clip: false } as const
    const found = await trajectory(plain, sampler, numbers(32, 4), Array(1000).fill(epsilon), noises)
    for (const [i, x] of found.slice(0, 999).entries()) {
      const t = 999 - i
      const beta = betas[t] as number
      const mean = mix(1 / Math.sqrt(1 - beta), x, -beta / Math.sqrt((1 - beta) * (1 - alpha(t))), epsilon)
      const deviation = Math.sqrt(((1 - alpha(t - 1)) / (1 - alpha(t))) * beta)
      expectClose(found[i + 1]!, mix(1, mean, deviation, noises[i]!), 1e-4, `timestep ${t}`)
    }
  })

  const withoutFloats = [
    { timesteps: 20_000 },
    { timesteps: 20_000, zeroTerminalSnr: false },
    { betaEnd: 0.24 },
    { betaStart: 0.5, betaEnd: 0.5, timesteps: 200, zeroTerminalSnr: false },
    { betaStart: 0.5, betaEnd: 0.5, timesteps: 200 },
  ] as const
  const everySampler = samplerKinds.flatMap((kind): Partial<SamplerConfig>[] => {
    if (kind === 'ddim')
      return [{ kind }, { kind, eta: 1 }, { kind, parity: undefined }, { kind, eta: 1, parity: undefined }]
    return kind === 'ddpm' ? [{ kind }] : [{ kind }, { kind, karras: true }]
  })
  it.each(everySampler)('of every sampler stays finite where ᾱ has no float32, and ends at x₀: %o', async (sampler) => {
    const steps = 10
    const noises = Array.from({ length: steps }, (_, i) => numbers(32, 3 + i))
    const predictions = Array(networkCalls({ kind: sampler.kind!, steps })).fill(x0)
    for (const given of withoutFloats) {
      for (const spacing of ['trailing', 'leading', 'linspace'] as const) {
        const told = { ...given, prediction: 'sample' } as const
        const found = await trajectory(told, { ...sampler, steps, spacing }, numbers(32, 4), predictions, noises)
        // What is left of Heun's slope by rounding, it multiplies by the noise's share.
        const most = sampler.kind === 'heun' ? 3e38 : 10
        for (const x of found) expect(Math.max(...x.map(Math.abs)), spacing).toBeLessThan(most)
        expectClose(found.at(-1)!, x0, 1e-4)
      }
    }
  })

  it('clips x₀ where it is told to', async () => {
    // The last step, to the clean image, gives x̂₀ itself.
    const end = async (clip: boolean) =>
      (await trajectory(plain, { steps: 2, clip }, numbers(32, 4), [epsilon, epsilon])).at(-1)!
    const free = await end(false)
    expect(free.some((x) => Math.abs(x) > 1)).toBe(true)
    expect((await end(true)).every((x) => Math.abs(x) <= 1)).toBe(true)
  })
})

describe('wrong options', () => {
  it.each<[string, () => unknown, RegExp]>([
    ['an unknown key', () => schedule({ beta: 1 } as never), /^schedule: unknown option 'beta'/],
    ['a beta of 1', () => schedule({ betaEnd: 1 }), /^schedule: betaEnd is 1; expected less than 1/],
    [
      'too many timesteps',
      () => schedule({ timesteps: 20_001 }),
      /^schedule: timesteps is 20001; expected at most 20,?000/,
    ],
    ['too many betas', () => schedule({ betas: Array(20_001).fill(1e-4) }), /^schedule: betas .*20,?000/],
    [
      'betas that fall',
      () => schedule({ betaStart: 0.1, betaEnd: 0.01 }),
      /betaStart is 0.1; expected at most betaEnd/,
    ],
    [
      'more steps than timesteps',
      () => samplerTimesteps({ timesteps: 5 }, { steps: 10 }),
      /steps is 10; expected at most .* 5 time/,
    ],
    [
      'an unknown sampler',
      () => samplerTimesteps({}, { kind: 'plms' as never }),
      /kind is 'plms'; expected 'ddim', 'ddpm', .* or 'unipc'$/,
    ],
  ])('%s', (_, run, message) => {
    expect(run).toThrow(message)
  })
})
