import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { cp, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseSchedulerConfig, toSchedulerConfig } from '../lib/checkpoint/scheduler-config.js'
import {
  addedNoises,
  defaultSampler,
  networkCalls,
  parseSampler,
  type SamplerConfig,
  samplerKinds,
  teacherSamplerSchema,
} from '../lib/config/sampler.js'
import { paperSchedule, type ScheduleConfig, scheduleSchema, scheduleTable } from '../lib/config/schedule.js'
import { loadAddon } from '../lib/engine/load.js'
import { parseJson } from '../lib/files/read-json.js'
import { Learner, noiseLevels, samplerTimesteps } from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose, Golden, goldenPath, row } from './support/golden.js'

const folders = readdirSync(goldenPath('samplers')).filter((name) => name !== 'unet')

/** What diffusers' scheduler of a golden folder is here. */
function read(name: string) {
  const file = goldenPath(`samplers/${name}/scheduler_config.json`)
  return parseSchedulerConfig(parseJson(readFileSync(file, 'utf8')), file)
}

/** The folder of the U-Net that a golden folder's trajectories are of. */
function unetOf(name: string): string {
  const own = goldenPath(`samplers/${name}`)
  return existsSync(path.join(own, 'config.json')) ? own : goldenPath('samplers/unet')
}

describe.each(folders)('%s', async (name) => {
  const golden = await Golden.read(`samplers/${name}/samples.safetensors`)
  const { schedule, sampler } = read(name)
  const counts = golden.names.filter((key) => key.endsWith('.start')).map((key) => Number.parseInt(key, 10))

  it.each(counts)('%i steps visit the timesteps of diffusers', (steps) => {
    const expected = golden.numbers(`${steps}.timesteps`)
    // Heun's come twice but for the first; on a straight path the network is told T · σ.
    const visited = sampler.kind === 'heun' ? expected.filter((_, i) => i === 0 || i % 2 === 1) : expected
    const { timesteps } = samplerTimesteps(schedule, { ...sampler, steps })
    const told = scheduleTable(schedule).told
    expectClose(told ? timesteps.map((t) => between(told, t)) : timesteps, visited, 1e-5)
  })

  it.each(counts)('%i steps follow the trajectory of diffusers', async (steps) => {
    const config = { ...sampler, steps }
    const samples = golden.tensor(`${steps}.samples`)
    const predictions = golden.tensor(`${steps}.predictions`)
    const noises = golden.names.includes(`${steps}.noise`) ? golden.tensor(`${steps}.noise`) : undefined
    const calls = networkCalls(config)
    expect(predictions.shape[0]).toBe(calls)
    const found = await loadAddon().samplerTrajectory({
      schedule: scheduleTable(schedule),
      prediction: schedule.prediction,
      sampler: config,
      start: golden.tensor(`${steps}.start`),
      predictions: Array.from({ length: calls }, (_, i) => row(predictions, i)),
      noises: noises ? Array.from({ length: steps }, (_, i) => row(noises, i)) : [],
    })
    expect(found).toHaveLength(steps + 1)
    // diffusers counts x_t/α in Euler's and Heun's method.
    const sigmas = golden.names.includes(`${steps}.sigmas`) ? golden.numbers(`${steps}.sigmas`) : []
    const perAlpha = (sampler.kind === 'euler' || sampler.kind === 'heun') && schedule.kind === 'betas'
    for (const [i, x] of found.entries()) {
      const call = sampler.kind === 'heun' ? Math.max(0, Math.min(2 * i, calls)) : i
      const at = sampler.kind === 'heun' ? Math.max(0, 2 * i - 1) : i
      const scale = perAlpha ? Math.hypot(1, sigmas[at] as number) : 1
      const expected = row(samples, call).data
      expectClose(
        x.map((value) => value * scale),
        expected,
        1e-4,
        `step ${i}`,
      )
    }
  })

  it.each(counts)('%i steps of a learner give the images of diffusers', async (steps) => {
    const folder = await temporaryFolder()
    await cp(unetOf(name), folder, { recursive: true })
    const config = 'scheduler_config.json'
    await cp(goldenPath(`samplers/${name}/${config}`), path.join(folder, config))
    await using learner = await Learner.load(folder, { device: 'cpu', precision: 'fp32' })
    const noise = golden.names.includes(`${steps}.noise`) ? golden.tensor(`${steps}.noise`).data : undefined
    const { data } = await learner.sample({
      count: 2,
      sampler: { steps },
      start: golden.tensor(`${steps}.start`).data,
      ...(noise && { stepNoise: noise }),
      format: 'float32',
    })
    const samples = golden.tensor(`${steps}.samples`)
    expectClose(data, row(samples, (samples.shape[0] as number) - 1).data, 1e-4)
  })

  it('is written as diffusers wrote it', () => {
    const file = goldenPath(`samplers/${name}/scheduler_config.json`)
    const { schedule: again, sampler: same } = parseSchedulerConfig(toSchedulerConfig(schedule, sampler)!, file)
    expect(again).toEqual(schedule)
    expect({ ...same, steps: sampler.steps }).toEqual(sampler)
    const theirs = parseJson(readFileSync(file, 'utf8')) as Record<string, unknown>
    for (const [key, value] of Object.entries(toSchedulerConfig(schedule, sampler)!)) {
      if (key in theirs && key !== '_diffusers_version') expect(value, key).toEqual(theirs[key])
    }
  })
})

/** Between the entries of a table. */
function between(table: Float32Array, at: number): number {
  const low = Math.min(Math.floor(at), table.length - 2)
  return (table[low] as number) + (at - low) * ((table[low + 1] as number) - (table[low] as number))
}

const x0 = numbers(32, 1).map((x) => x / 2)
const epsilon = numbers(32, 2)

function numbers(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * seed) * 1.7)
}

const mix = (a: number, x: Float32Array, b: number, y: Float32Array) =>
  x.map((value, i) => a * value + b * (y[i] as number))

/** What a perfect network predicts, by the formulas of the papers. */
const truth: Record<ScheduleConfig['prediction'], (alpha: number, sigma: number) => Float32Array> = {
  epsilon: () => epsilon,
  sample: () => x0,
  v: (alpha, sigma) => mix(alpha, epsilon, -sigma, x0),
  flow: () => mix(1, epsilon, -1, x0),
  // arXiv 2206.00364, table 1, for y = x_t/α with σ_data = 0.5: F = (x₀ − c_skip·y) / c_out.
  edm: (alpha, sigma) => {
    const ratio = sigma / alpha
    const skip = 0.25 / (ratio ** 2 + 0.25)
    const out = (ratio * 0.5) / Math.hypot(ratio, 0.5)
    return mix(1 / out, x0, -skip / out, mix(1, x0, ratio, epsilon))
  },
}

const plain = { zeroTerminalSnr: false } as const
const schedules: [string, Partial<ScheduleConfig>][] = [
  ['ε', plain],
  ['x₀', { ...plain, prediction: 'sample' }],
  ['v, cosine', { betas: 'cosine', prediction: 'v', ...plain }],
  ['flow', { kind: 'flow' }],
  ['flow, shifted, by x₀', { kind: 'flow', shift: 3, prediction: 'sample' }],
  ['EDM', { kind: 'edm' }],
]

describe.each(schedules)('a trajectory with true predictions, %s,', (_, given) => {
  // What is right for a noisy trajectory depends on its noise, but for x₀.
  const fitting = samplerKinds.filter(
    (kind) => given.prediction === 'sample' || addedNoises({ kind, steps: 1, eta: 0 }) === 0,
  )
  it.each(fitting)('goes by %s along the line from ε to x₀', async (kind) => {
    const sampler: SamplerConfig = { ...read('euler').sampler, kind, steps: 10, spacing: 'trailing' }
    const config = {
      ...paperSchedule,
      prediction: given.kind === undefined ? ('epsilon' as const) : given.kind,
      ...given,
    }
    const schedule = { ...config, prediction: config.prediction === 'betas' ? ('epsilon' as const) : config.prediction }
    const { alpha, sigma } = noiseLevels(schedule)
    const at = (t: number): [number, number] => (t < 0 ? [1, 0] : [alpha[t] as number, sigma[t] as number])
    const { timesteps, previous } = samplerTimesteps(schedule, sampler)
    const asked = [...timesteps].flatMap((t, i) => (kind === 'heun' && i > 0 ? [t, t] : [t]))
    const tensor = (data: Float32Array) => ({ data, shape: [2, 1, 4, 4] })
    const noises = Array.from({ length: addedNoises(sampler) }, (_, i) => tensor(numbers(32, 5 + i)))
    const scale = kind === 'euler' || kind === 'heun' ? at(timesteps[0] as number)[1] : 1
    const found = await loadAddon().samplerTrajectory({
      schedule: scheduleTable(schedule),
      prediction: schedule.prediction,
      sampler,
      start: tensor(mix(at(timesteps[0] as number)[0] / scale, x0, at(timesteps[0] as number)[1] / scale, epsilon)),
      predictions: asked.map((t) => tensor(truth[schedule.prediction](...at(t)))),
      noises,
    })
    expectClose(found.at(-1) as Float32Array, x0, 2e-3)
    if (noises.length > 0) return
    for (const [i, t] of previous.entries())
      expectClose(found[i + 1] as Float32Array, mix(at(t)[0], x0, at(t)[1], epsilon), 1e-3, `step ${i}`)
  })
})

describe('wrong options', () => {
  it.each<[string, () => unknown, RegExp]>([
    [
      'Karras spacing of timesteps',
      () => samplerTimesteps({}, { karras: true }),
      /karras is true; expected false for 'ddim'/,
    ],
    [
      'v on a straight path',
      () => noiseLevels({ kind: 'flow', prediction: 'v' }),
      /prediction is 'v'; expected 'flow'/,
    ],
    [
      'more betas than timesteps',
      () => noiseLevels({ betas: [0.1, 0.2], timesteps: 3 }),
      /timesteps is 3; expected as many/,
    ],
    ['η of Euler', () => samplerTimesteps({}, { kind: 'euler', eta: 1 }), /eta is 1; expected 0: only 'ddim' has eta/],
    ['a variance of DDIM', () => samplerTimesteps({}, { variance: 'large' }), /variance is 'large'; expected 'small'/],
    ['betas of a flow', () => noiseLevels({ kind: 'flow', betaEnd: 0.5 }), /betaEnd is 0.5; expected none: a schedule/],
    ['a shift of betas', () => noiseLevels({ shift: 3 }), /shift is 3; .* only one of the kind 'flow'/],
    [
      'ends of cosine betas',
      () => noiseLevels({ betas: 'cosine', betaEnd: 0.5 }),
      /expected none: cosine betas have no/,
    ],
    ['no range of σ', () => noiseLevels({ kind: 'edm', sigmaMin: 80 }), /sigmaMin is 80; expected less than sigmaMax/],
  ])('%s', (_, run, message) => {
    expect(run).toThrow(message)
  })

  it('says nothing of what a default writes out, and keeps only the fields of the kind', async () => {
    expect(scheduleSchema.parse({ ...paperSchedule, kind: 'flow', prediction: 'flow' })).toEqual({
      kind: 'flow',
      timesteps: 1000,
      shift: 1,
      prediction: 'flow',
    })
    expect(Object.keys(scheduleSchema.parse({ betas: 'cosine' }))).not.toContain('betaEnd')
    const learner = { ...defaultSampler, kind: 'unipc', karras: true } as const
    expect(parseSampler(paperSchedule, { kind: 'ddim', eta: 1 }, 'here', learner)).toMatchObject({
      karras: false,
      eta: 1,
    })
    expect(parseSampler(paperSchedule, { kind: 'euler' }, 'here', learner)).toMatchObject({ karras: true })
  })

  it('noise of another length, or for a sampler that takes none', async () => {
    await using learner = await Learner.load(goldenPath('samplers/unet'), { device: 'cpu' })
    const start = new Float32Array(5)
    await expect(learner.sample({ count: 1, start })).rejects.toThrow(
      /sample: start has 5 elements; expected 16 numbers/,
    )
    await expect(learner.sample({ count: 1, stepNoise: start })).rejects.toThrow(
      /stepNoise has 5 .* expected none: this sampler/,
    )
  })
})

it.each(samplerKinds)('%s has as many steps by default as fit into a short schedule', (kind) => {
  for (const spacing of ['trailing', 'leading', 'linspace'] as const) {
    for (const timesteps of [2, 10, 11, 12]) {
      const schedule = { ...paperSchedule, timesteps }
      const { steps } = parseSampler(schedule, { kind, spacing }, 'here')
      const more = () => parseSampler(schedule, { kind, spacing, steps: steps + 1 }, 'here')
      if (steps < 10) expect(more).toThrow('expected at most')
      expect(steps).toBeLessThanOrEqual(10)
    }
  }
})

it.each([
  ['ddim-zero-snr', 'DDIMParallelScheduler'],
  ['ddpm-fixed-large', 'DDPMParallelScheduler'],
])('%s is read from a %s too, whose steps are the same', (name, parallel) => {
  const file = goldenPath(`samplers/${name}/scheduler_config.json`)
  const theirs = parseJson(readFileSync(file, 'utf8')) as Record<string, unknown>
  expect(parseSchedulerConfig({ ...theirs, _class_name: parallel }, file)).toEqual(read(name))
})

describe('a learned variance', () => {
  const file = goldenPath('samplers/ddpm-learned-range/scheduler_config.json')

  it('is read from a pipeline, whose images are those of diffusers, and is saved again', async () => {
    const [folder, saved] = [await temporaryFolder(), path.join(await temporaryFolder(), 'saved')]
    await cp(unetOf('ddpm-learned-range'), path.join(folder, 'unet'), { recursive: true })
    await rm(path.join(folder, 'unet/scheduler_config.json'))
    await cp(file, path.join(folder, 'scheduler/scheduler_config.json'))
    const index = {
      _class_name: 'DDPMPipeline',
      scheduler: ['diffusers', 'DDPMScheduler'],
      unet: ['diffusers', 'UNet2DModel'],
    }
    await writeFile(path.join(folder, 'model_index.json'), JSON.stringify(index))
    const golden = await Golden.read('samplers/ddpm-learned-range/samples.safetensors')
    const draw = (learner: Learner) =>
      learner.sample({
        count: 2,
        sampler: { steps: 10 },
        start: golden.tensor('10.start').data,
        stepNoise: golden.tensor('10.noise').data,
        format: 'float32',
      })
    await using learner = await Learner.load(folder, { device: 'cpu', precision: 'fp32' })
    const { data } = await draw(learner)
    expectClose(data, row(golden.tensor('10.samples'), 10).data, 1e-4)
    await learner.save(saved, { format: 'pipeline' })
    const scheduler = parseJson(readFileSync(path.join(saved, 'scheduler/scheduler_config.json'), 'utf8'))
    expect(scheduler).toMatchObject({ _class_name: 'DDPMScheduler', variance_type: 'learned_range' })
    await using again = await Learner.load(saved, { device: 'cpu', precision: 'fp32' })
    expect((await draw(again)).data).toEqual(data)
    // Where another variance is asked for, it is not used.
    const small = { kind: 'ddpm', variance: 'small', steps: 2 } as const
    const { data: plain } = await learner.sample({ count: 1, seed: 1, sampler: small, format: 'float32' })
    const ranged = await learner.sample({ count: 1, seed: 1, sampler: { steps: 2 }, format: 'float32' })
    expect(ranged.data).not.toEqual(plain)
  })

  it('is refused of a network that says none, and of other samplers', async () => {
    await using learner = await Learner.load(goldenPath('samplers/unet'), { device: 'cpu' })
    const { unet } = learner
    const sampler = { kind: 'ddpm', variance: 'learned-range' } as const
    const message =
      /sampler\.variance is 'learned-range'; expected 'small' or 'large': the U-Net's out_channels is 1, .* 2 here/
    await expect(learner.sample({ count: 1, sampler })).rejects.toThrow(message)
    await expect(Learner.create({ unet, sampler })).rejects.toThrow(message)
    expect(() => samplerTimesteps({}, { variance: 'learned' })).toThrow(
      /variance is 'learned'; expected 'small': only 'ddpm'/,
    )
    expect(() => teacherSamplerSchema.parse(sampler)).toThrow(/expected.*small/)
  })
})
