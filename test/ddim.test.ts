import { describe, expect, it } from 'vitest'
import { type SamplerConfig, type ScheduleConfig, samplerStep, samplerTimesteps, schedule } from '../lib/index.js'
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
    expect(samplerTimesteps({}, { steps }).timesteps).toEqual(golden.integers(`steps${steps}_timesteps`))
  })

  it('trailing steps go ⌊1000/S⌋ back, which need not be the next timestep, and last to the clean image', () => {
    const { timesteps, previous } = samplerTimesteps({}, { steps: 7 })
    expect([...timesteps]).toEqual([999, 856, 713, 570, 428, 285, 142])
    expect([...previous]).toEqual([857, 714, 571, 428, 286, 143, 0])
    expect([...samplerTimesteps({}, { steps: 2 }).previous]).toEqual([499, -1])
  })

  it('leading steps end at 0', () => {
    const { timesteps, previous } = samplerTimesteps({}, { steps: 4, spacing: 'leading' })
    expect([...timesteps]).toEqual([750, 500, 250, 0])
    expect([...previous]).toEqual([500, 250, 0, -1])
  })
})

/** Follows a golden trajectory with the toy model ε(x, t) = tanh(0.7·x + 0.001·t) − 0.1, each step from its own last sample. */
async function expectTrajectory(
  name: string,
  given: Partial<ScheduleConfig>,
  sampler: Partial<SamplerConfig>,
  noises?: string,
) {
  const expected = golden.tensor(name)
  const { timesteps, previous } = samplerTimesteps(given, sampler)
  let sample = row(expected, 0)
  for (const [i, t] of timesteps.entries()) {
    const prediction = { data: sample.data.map((x) => Math.tanh(0.7 * x + 0.001 * t) - 0.1), shape: sample.shape }
    const noise = noises === undefined ? {} : { noise: row(golden.tensor(noises), i) }
    sample = await samplerStep({
      schedule: given,
      sampler,
      sample,
      prediction,
      timestep: t,
      previous: previous[i] as number,
      ...noise,
    })
    expectClose(sample.data, row(expected, i + 1).data, 1e-4, `${name}, step ${i}`)
  }
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

const shape = [2, 1, 4, 4]
const x0 = numbers(32, 1).map((x) => x / 2)
const epsilon = numbers(32, 2)
const plain = { zeroTerminalSnr: false } as const

function mix(a: number, x: Float32Array, b: number, y: Float32Array): Float32Array {
  return x.map((value, i) => a * value + b * (y[i] as number))
}

describe('a step with the true answer', () => {
  const { alphasCumprod } = schedule(plain)
  const alpha = (t: number) => (t < 0 ? 1 : (alphasCumprod[t] as number))

  it.each(['epsilon', 'sample', 'v'] as const)('of kind %s goes along the line from ε to x₀', async (prediction) => {
    for (const [t, previous] of [
      [999, 499],
      [499, 299],
      [99, -1],
    ] as const) {
      const [signal, sigma] = [Math.sqrt(alpha(t)), Math.sqrt(1 - alpha(t))]
      const answers = { epsilon, sample: x0, v: mix(signal, epsilon, -sigma, x0) }
      const { data } = await samplerStep({
        schedule: { ...plain, prediction },
        sampler: { steps: 10, clip: false },
        sample: { data: mix(signal, x0, sigma, epsilon), shape },
        prediction: { data: answers[prediction], shape },
        timestep: t,
        previous,
      })
      expectClose(data, mix(Math.sqrt(alpha(previous)), x0, Math.sqrt(1 - alpha(previous)), epsilon), 1e-3)
    }
  })

  it.each([1, 10, 500, 999])(
    'of DDPM at t = %i is equation 11 of its paper, with the posterior variance',
    async (t) => {
      const noise = numbers(32, 3)
      const beta = schedule(plain).betas[t] as number
      const x = numbers(32, 4)
      const mean = mix(1 / Math.sqrt(1 - beta), x, -beta / Math.sqrt((1 - beta) * (1 - alpha(t))), epsilon)
      const deviation = Math.sqrt(((1 - alpha(t - 1)) / (1 - alpha(t))) * beta)
      const { data } = await samplerStep({
        schedule: plain,
        sampler: { kind: 'ddpm', steps: 1000, clip: false },
        sample: { data: x, shape },
        prediction: { data: epsilon, shape },
        timestep: t,
        previous: t - 1,
        noise: { data: noise, shape },
      })
      expectClose(data, mix(1, mean, deviation, noise), 1e-4)
    },
  )

  it('clips x₀ where it is told to', async () => {
    const step = (clip: boolean) =>
      samplerStep({
        sampler: { steps: 2, clip },
        sample: { data: numbers(32, 4), shape },
        prediction: { data: epsilon, shape },
        timestep: 499,
        previous: -1,
      })
    // The step to the clean image is x̂₀ itself.
    const free = (await step(false)).data
    expect(free.some((x) => Math.abs(x) > 1)).toBe(true)
    expectClose(
      (await step(true)).data,
      free.map((x) => Math.min(1, Math.max(-1, x))),
      1e-6,
    )
  })
})

describe('wrong options', () => {
  it.each<[string, () => unknown, RegExp]>([
    ['an unknown key', () => schedule({ beta: 1 } as never), /^schedule: unknown option 'beta'/],
    ['a beta of 1', () => schedule({ betaEnd: 1 }), /^schedule: betaEnd is 1; expected number to be <1/],
    [
      'betas that fall',
      () => schedule({ betaStart: 0.1, betaEnd: 0.01 }),
      /betaStart is 0.1; expected at most betaEnd/,
    ],
    [
      'more steps than timesteps',
      () => samplerTimesteps({ timesteps: 5 }, {}),
      /steps is 10; expected at most .* 5 time/,
    ],
    ['an unknown sampler', () => samplerTimesteps({}, { kind: 'euler' as never }), /kind is 'euler'; expected one of/],
  ])('%s', (_, run, message) => {
    expect(run).toThrow(message)
  })
})

describe('wrong steps of a sampler', () => {
  const tensor = { data: new Float32Array(4), shape: [1, 1, 2, 2] }
  const step = { sample: tensor, prediction: tensor, timestep: 10, previous: 5 }

  it.each<[string, unknown, RegExp]>([
    ['nothing', undefined, /^samplerStep: the value is missing/],
    ['an unknown key', { ...step, eta: 1 }, /unknown option 'eta'/],
    ['an array in place of a tensor', { ...step, sample: tensor.data }, /sample/],
    ['doubles', { ...step, sample: { ...tensor, data: new Float64Array(4) } }, /sample\.data is .*Float32Array/],
    ['half a timestep', { ...step, timestep: 1.5 }, /timestep is 1\.5/],
    ['data that does not fill its shape', { ...step, sample: { ...tensor, shape: [1, 1, 3, 3] } }, /./],
  ])('%s', async (_, options, message) => {
    await expect(samplerStep(options as never)).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', message: expect.stringMatching(message) }),
    )
  })
})
