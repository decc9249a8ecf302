import { expect, test } from 'vitest'
import { ContinualDiffusionError } from '../lib/engine/errors.js'
import { type ExperimentInput, resolveExperiment } from '../lib/experiment/config.js'
import { presetNames } from '../lib/experiment/presets.js'

/** The message of the refusal. */
function refusal(input: unknown): string {
  try {
    resolveExperiment(input as ExperimentInput, 'run.json')
  } catch (error) {
    expect(error).toBeInstanceOf(ContinualDiffusionError)
    expect((error as ContinualDiffusionError).code).toBe('ERR_INVALID_ARGUMENT')
    return (error as Error).message
  }
  throw new Error('it was not refused')
}

test.each(presetNames)('the preset %s is whole, and what it resolves to resolves to itself', (preset) => {
  const config = resolveExperiment({ preset })
  expect(config.data.size).toBe(config.unet.sample_size)
  expect(resolveExperiment(JSON.parse(JSON.stringify(config)))).toEqual(config)
})

test('only the given keys of a section replace those of a preset; lists are replaced whole', () => {
  const base = resolveExperiment({ preset: 'demo' })
  const config = resolveExperiment({ preset: 'demo', train: { steps: 3 }, methods: ['joint'], seeds: [1, 2] })
  expect(config.train).toEqual({ ...base.train, steps: 3 })
  expect(config.methods).toEqual([{ name: 'joint', label: 'joint' }])
  expect(config.seeds).toEqual([1, 2])
  expect({ ...config, train: base.train, methods: base.methods, seeds: base.seeds }).toEqual(base)
})

test("epochs take the place of a preset's steps and the other way round", () => {
  const { train } = resolveExperiment({ preset: 'demo', train: { epochs: 2 } })
  expect(train).toMatchObject({ epochs: 2 })
  expect(train).not.toHaveProperty('steps')
  const paper = resolveExperiment({ preset: 'fashion-mnist-paper', train: { steps: 5 } }).train
  expect(paper).toMatchObject({ steps: 5 })
  expect(paper).not.toHaveProperty('epochs')
})

test('an unknown key is refused with the nearest known one, at every depth', () => {
  expect(refusal({ preset: 'demo', sedes: [1] })).toMatch(/run\.json.*'sedes'.*'seeds'/)
  expect(refusal({ preset: 'demo', train: { batchsize: 3 } })).toMatch(/'batchsize'.*'batchSize'.*train/)
  expect(refusal({ preset: 'demo', unet: { layer_per_block: 3 } })).toMatch(/'layer_per_block'.*'layers_per_block'/)
  expect(refusal({ preset: 'demo', methods: [{ name: 'generative-replay', lamda: 1 }] })).toMatch(/'lamda'.*'lambda'/)
})

test('unknown methods and presets are refused with the nearest known ones', () => {
  expect(refusal({ preset: 'demo', methods: ['generative-distilation'] })).toMatch(/'generative-distillation'/)
  expect(refusal({ preset: 'dmo' })).toMatch(/'dmo'.*demo/)
})

test.each([
  ['neither steps nor epochs', { train: { steps: undefined } }, /steps and epochs/],
  ['both steps and epochs', { train: { steps: 1, epochs: 1 } }, /steps and epochs/],
  ['a size that is not the U-Net’s', { data: { size: 20 } }, /data\.size is 20.*sample_size/],
  ['a seed twice', { seeds: [1, 1] }, /seeds.*each seed once/],
  ['a label twice', { methods: ['joint', 'joint'] }, /methods.*each label once/],
  ['a label that would leave the run folder', { methods: [{ name: 'joint', label: '../x' }] }, /label/],
  ['the label of the real images', { methods: [{ name: 'joint', label: 'real' }] }, /label/],
  ['a subset that is not shipped', { data: { name: 'mnist' } }, /data\.subset/],
  ['a decay of 1', { ema: 1 }, /ema is 1/],
  ['tasks that do not divide the classes', { stream: { tasks: 3 } }, /stream\.tasks is 3; expected a divisor of 10/],
  [
    'an order with a class twice',
    { stream: { order: [0, 1, 2, 3, 4, 5, 6, 7, 8, 8] } },
    /stream\.order is .*0 … 9 once/,
  ],
  ['a subset and a folder', { data: { folder: '/x' } }, /data\.folder is '\/x'; expected none/],
  ['a colour network', { unet: { in_channels: 3, out_channels: 3 } }, /unet\.in_channels is 3; expected 1.*grey/],
  ['more sampling steps than timesteps', { sampler: { steps: 1001 } }, /sampler\.steps is 1001; expected at most/],
  [
    'more steps of the teacher than timesteps',
    { methods: ['joint', { name: 'generative-replay', teacher: { steps: 5000 } }] },
    /run\.json: methods, generative-replay: objective: terms\[1\]\.source\.steps is 5000; expected at most/,
  ],
])('%s is refused', (_, change, message) => {
  expect(refusal({ preset: 'demo', ...change })).toMatch(message)
})

test('a method may run twice with other options under another label', () => {
  const methods = ['generative-replay', { name: 'generative-replay', label: 'replay-10', teacher: { steps: 10 } }]
  expect(resolveExperiment({ preset: 'demo', methods }).methods.map(({ label }) => label)).toEqual([
    'generative-replay',
    'replay-10',
  ])
})
