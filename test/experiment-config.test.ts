import { expect, test } from 'vitest'
import { withOptions } from '../lib/cli/run-action.js'
import { ContinualDiffusionError } from '../lib/errors.js'
import { type ExperimentInput, resolveExperiment } from '../lib/experiment/config.js'
import type { MethodInput } from '../lib/experiment/methods.js'
import { presetNames } from '../lib/experiment/presets.js'
import { methods } from '../lib/methods/index.js'

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
  const data = preset === 'cifar10-paper' ? { folder: 'somewhere' } : {}
  const config = resolveExperiment({ preset, data } as ExperimentInput)
  expect(config.data.map(({ size }) => size)).toEqual([config.unet.sample_size])
  expect(resolveExperiment(JSON.parse(JSON.stringify(config)))).toEqual(config)
})

test('only the given keys of a section replace those of a preset; lists are replaced whole', () => {
  const base = resolveExperiment({ preset: 'demo' })
  const config = resolveExperiment({ preset: 'demo', train: { steps: 3 }, methods: ['joint'], seeds: [1, 2] })
  expect(config.train).toEqual({ ...base.train, steps: 3 })
  expect(config.methods).toEqual([{ name: 'joint', label: 'joint' }])
  const labelled = resolveExperiment({ preset: 'demo', methods: [{ name: 'joint', label: 'dpm-solver++' }] })
  expect(labelled.methods.map(({ label }) => label)).toEqual(['dpm-solver++'])
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

const conditional = { unet: { num_class_embeds: 11 }, train: { labelDropout: 0.1 } }

test.each([
  ['neither steps nor epochs', { train: { steps: undefined } }, /steps and epochs/],
  ['both steps and epochs', { train: { steps: 1, epochs: 1 } }, /steps and epochs/],
  ['a size that is not the U-Net’s', { data: { size: 20 } }, /data\.size is 20.*sample_size/],
  ['a seed twice', { seeds: [1, 1] }, /seeds.*each seed once/],
  ['a label twice', { methods: ['joint', 'joint'] }, /methods.*each label once/],
  ['a label that would leave the run folder', { methods: [{ name: 'joint', label: '../x' }] }, /label/],
  [
    'a label that ends in a dot',
    { methods: [{ name: 'joint', label: 'joint.' }] },
    /label is "?'?joint\.'?"?; expected .*no end such as '\.'/,
  ],
  ['the label of the real images', { methods: [{ name: 'joint', label: 'real' }] }, /label/],
  ['a subset that is not shipped', { data: { name: 'mnist', subset: true } }, /unknown option 'subset'.*in data/],
  ['data of no known name', { data: { name: 'fashion' } }, /data\.name is 'fashion'.*fashion-mnist/],
  ['a folder that is missing', { data: { name: 'cifar-10' } }, /data\.folder is missing/],
  ['a stream of no known kind', { stream: { kind: 'incremental' } }, /stream\.kind.*class-incremental/],
  [
    'an option of another stream',
    { stream: { kind: 'single', tasks: 5 } },
    /unknown option 'tasks'; known: kind in stream/,
  ],
  ['several data sets in one task', { data: [{ name: 'mnist' }, { name: 'mnist' }] }, /data.*from-datasets/],
  ['a stream without tasks', { stream: { tasks: 0 } }, /stream\.tasks is 0/],
  ['no steps', { train: { steps: 0 } }, /train\.steps is 0/],
  ['a λ below 0', { methods: [{ name: 'generative-replay', lambda: -1 }] }, /lambda is -1/],
  [
    'a λ below 0 in a composition',
    { methods: [{ name: 'generative-replay+ewc', ewc: { strength: -1 } }] },
    /strength is -1/,
  ],
  [
    'more teacher steps than timesteps',
    { methods: [{ name: 'generative-replay', teacher: { steps: 1001 } }] },
    /1001.*1000/,
  ],
  ['more sampler steps than timesteps', { sampler: { steps: 1001 } }, /sampler\.steps is 1001.*1000/],
  [
    'more bands than timesteps',
    { evaluation: { denoisingBands: 1001 } },
    /denoisingBands is 1001; expected at most schedule/,
  ],
  ['more samples than a grid has', { samples: { count: 1e9 } }, /samples\.count is 1000000000; expected at most 10000/],
  ['an option of another sampler', { sampler: { kind: 'heun', eta: 1 } }, /sampler\.eta is 1; expected 0: only 'ddim'/],
  [
    'an option of another schedule',
    { schedule: { kind: 'edm', betaEnd: 1e-3 } },
    /schedule\.betaEnd is 0\.001; expected/,
  ],
  [
    'a Fisher matrix at more timesteps than there are',
    { methods: [{ name: 'ewc', timesteps: [0, 2000] }] },
    /run\.json: ewc: timesteps\[1\] is 2000; expected at most schedule\.timesteps/,
  ],
  ['a metric of no known name', { evaluation: { metrics: ['frechetDistanc'] } }, /did you mean 'frechetDistance'/],
  [
    'an inception score of fewer images than splits',
    { evaluation: { count: 9, metrics: ['inceptionScore'] } },
    /evaluation\.count is 9; expected at least 10, the splits of the inception score/,
  ],
  ['a metric twice', { evaluation: { metrics: ['ard', 'ard'] } }, /each metric once/],
  ['more neighbours than images', { evaluation: { count: 3 } }, /evaluation\.count is 3; .*evaluation\.k, which is 3/],
  [
    'an area over falling numbers of steps',
    { evaluation: { areaSteps: [5, 2] } },
    /evaluation\.areaSteps is .*; expected rising numbers/,
  ],
  [
    'an area over more steps than timesteps',
    { evaluation: { areaSteps: [2, 1001] } },
    /evaluation\.areaSteps is .*; expected at most schedule\.timesteps/,
  ],
  ['a solver at no temperature', { solver: { temperature: 0 } }, /solver\.temperature is 0/],
  ['a decay of 1', { ema: 1 }, /ema is 1/],
  ['tasks of too few classes', { stream: { tasks: [3, 2, 2] } }, /stream\.tasks is \[ 3, 2, 2 \]; .* 10 in all/],
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
    /run\.json: generative-replay: teacher\.steps is 5000; expected at most/,
  ],
  [
    'guidance without a null label',
    { sampler: { guidance: { scale: 2 } } },
    /sampler\.guidance is .*the null label is not learned/,
  ],
  [
    'guidance beyond the schedule',
    { ...conditional, sampler: { guidance: { scale: 2, timesteps: [0, 2000] } } },
    /guidance\.timesteps is .*; expected at most schedule\.timesteps/,
  ],
  [
    "a teacher's guidance without a null label",
    {
      ...conditional,
      train: {},
      methods: ['joint', { name: 'generative-replay', teacher: { guidance: { scale: 2 } } }],
    },
    /generative-replay: teacher\.guidance needs a null label/,
  ],
  ['labelDropout without labels', { train: { labelDropout: 0.1 } }, /train\.labelDropout is 0\.1; expected 0/],
  ['a table that grows without a table', { train: { grow: true } }, /train\.grow is true; expected false/],
  [
    'weights of classes without labels',
    { train: { replayLabels: { Bag: 1 } } },
    /train\.replayLabels is .*takes no labels/,
  ],
  ['labels that are vectors', { unet: { class_embed_type: 'identity' } }, /unet\.class_embed_type is 'identity'/],
  [
    'an even pool of noisy images',
    { methods: [{ name: 'partial-generation-distillation', pool: { reuse: 2, classes: 'even' } }] },
    /pool\.classes is 'even', and no classifier tells the classes of noisy images/,
  ],
  [
    "Adam's state for fresh weights",
    { methods: ['joint', { name: 'teacher-to-student', optimizer: 'keep' }] },
    /teacher-to-student: optimizer is 'keep', but each task begins with fresh weights/,
  ],
])('%s is refused', (_, change, message) => {
  expect(refusal({ preset: 'demo', ...change })).toMatch(message)
})

test('a method may run twice with other options under another label', () => {
  const methods: MethodInput[] = [
    'generative-replay',
    { name: 'generative-replay', label: 'replay-10', teacher: { steps: 10 } },
  ]
  expect(resolveExperiment({ preset: 'demo', methods }).methods.map(({ label }) => label)).toEqual([
    'generative-replay',
    'replay-10',
  ])
})

test("data of another name and streams of another kind take none of a preset's keys", () => {
  const { data } = resolveExperiment({ preset: 'demo', data: { name: 'mnist' } })
  expect(data).toEqual([{ name: 'mnist', size: 16 }])
  const { stream } = resolveExperiment({ preset: 'demo', stream: { kind: 'single' } })
  expect(stream).toEqual({ kind: 'single' })
  expect(resolveExperiment({ preset: 'demo', stream: { tasks: 2 } }).stream).toEqual({
    kind: 'class-incremental',
    tasks: 2,
  })
})

test("the paper's presets have the paper's values", () => {
  const cifar = resolveExperiment({ preset: 'cifar10-paper', data: { folder: 'cifar' } })
  expect(cifar).toMatchObject({
    sampler: { steps: 20, eta: 0 },
    train: { epochs: 200, batchSize: 64, lr: 2e-4, clipGradNorm: 1, horizontalFlip: true },
    ema: 0,
    seeds: [42, 69, 1714],
    evaluation: { count: 10_000 },
    unet: { block_out_channels: [128, 256, 256, 256], layers_per_block: 2 },
    solver: { epochs: 20, batchSize: 128, lr: 1e-3, temperature: 2, distillation: 'paper' },
  })
  const lambdas = Object.fromEntries(cifar.methods.map(({ name, lambda }) => [name, lambda]))
  expect(lambdas).toMatchObject({
    'generative-distillation': 0.75,
    'gaussian-distillation': 8,
    'lwf-distillation': 1.25,
  })
  expect(resolveExperiment({ preset: 'fashion-mnist-paper' })).toMatchObject({
    sampler: { steps: 10 },
    train: { epochs: 100, batchSize: 128, lr: 2e-4, horizontalFlip: false },
    unet: { block_out_channels: [64, 128, 256, 512], layers_per_block: 1 },
  })
})

test('three presets have every method: those for any network, the one that learns without data, and the one for labels', () => {
  const named = (preset: (typeof presetNames)[number]) =>
    resolveExperiment({ preset } as ExperimentInput).methods.flatMap(({ name }) => name.split('+'))
  const all = [...named('every-method'), ...named('teacher-to-student'), ...named('demo-conditional')]
  expect(new Set(all)).toEqual(new Set(Object.keys(methods)))
})

test('titles say what is learned', () => {
  const title = (change: object) => {
    const { title: _, ...config } = resolveExperiment({ preset: 'demo' })
    return resolveExperiment({ ...config, ...change } as ExperimentInput).title
  }
  expect(title({})).toBe('Split Fashion-MNIST (small subset) in five tasks')
  expect(title({ stream: { kind: 'domain-incremental', domains: ['unchanged', { rotate: 45 }] } })).toBe(
    'Fashion-MNIST (small subset) in two domains',
  )
  expect(title({ data: [{ name: 'mnist' }, { name: 'fashion-mnist' }], stream: { kind: 'from-datasets' } })).toBe(
    'MNIST, then Fashion-MNIST',
  )
})

test('a stream may say how many classes each task brings, in a file and on the command line', () => {
  const uneven = resolveExperiment({ preset: 'demo', stream: { tasks: [4, 3, 3] } })
  expect(uneven.stream).toMatchObject({ kind: 'class-incremental', tasks: [4, 3, 3] })
  expect(resolveExperiment(withOptions({ preset: 'demo' }, { tasks: [4, 3, 3] }))).toEqual(uneven)
  expect(
    resolveExperiment(withOptions({ preset: 'demo' }, { lrSchedule: 'cosine', accumulate: 2 })).train,
  ).toMatchObject({ steps: 400, lr: 4e-3, accumulate: 2, lrSchedule: { kind: 'cosine', warmup: 0, final: 0 } })
  expect(resolveExperiment(withOptions({ preset: 'demo' }, { tasks: [2] })).stream).toMatchObject({ tasks: 2 })
})
