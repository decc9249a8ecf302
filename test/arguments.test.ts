import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { inspect } from 'node:util'
import { expect, it } from 'vitest'
import * as experiment from '../lib/experiment/index.js'
import * as index from '../lib/index.js'
import { isRecord } from '../lib/validation/options.js'
import { temporaryFolder } from './support/folders.js'
import { madeUpResults } from './support/results.js'
import { bandsData, tinyLearner } from './support/tiny.js'

/** What is never right, in any place but the last ones that are options. */
const wrong = [
  ...[
    undefined,
    null,
    0,
    5,
    '',
    'a\0b',
    [],
    {},
    [undefined],
    new URL('file:///x'),
    new Date(),
    () => 1,
    10n,
    Symbol('s'),
  ],
  ...[true, Number.NaN, new Float32Array(1), Promise.resolve()],
]

/** What is not meant to be called, or takes nothing. */
const passed =
  /^ContinualDiffusionError$|\.(sampleFor|classifyOnce|labelsInTurn|digest|kept|noteDevice|images|using|checkLive|constructor|dispose|addReal|freezeTeacher|endTask|finish)$/

/** Without options they take long, or load what is known. */
const long = [
  'evaluate',
  'frechetArea',
  'fashionMnist',
  'mnist',
  'Classifier.train',
  'Classifier.cached',
  'InceptionV3.load',
  'solver.learn',
]
const isLikeNone = (value: unknown) => value === undefined || (isRecord(value) && Object.keys(value).length === 0)

type Call = (...args: unknown[]) => unknown

it('a wrong argument in any place of any function is told as an error of this package', async () => {
  const out = await temporaryFolder()
  const data = bandsData()
  const stream = index.classIncremental(data, { tasks: 2 })
  const [first, second] = stream.tasks as [index.Task, index.Task]
  const seen = stream.seen(first)
  const learner = await tinyLearner({ sampler: { steps: 1 } })
  const classifier = await index.Classifier.train(data, { device: 'cpu', epochs: 0.1 })
  const solver = await index.Solver.create(stream, { device: 'cpu' })
  const network = await index.TorchScriptFeatures.load(
    new URL('fixtures/torchscript/channels.pt', import.meta.url).pathname,
    { size: 4, device: 'cpu' },
  )
  const images = await learner.sample({ count: 4 })
  const metric = index.frechetDistance(classifier)
  const counting = index.classFrequencies(classifier)
  const asked = index.conditionalAccuracy(classifier)
  const results = madeUpResults([1, 2, 3])
  const method = index.finetune()
  const store = new index.ImageStore()
  const nowhere = path.join(out, 'nowhere')
  await learner.save(path.join(out, 'learner'))
  await solver.save(path.join(out, 'solver'))
  await writeFile(path.join(out, 'x'), '')

  const functions = new Map<string, Call>()
  const methodsOf = (name: string, object: object, keys: readonly PropertyKey[]) => {
    for (const key of keys) {
      const { value } = Object.getOwnPropertyDescriptor(object, key) ?? {}
      if (typeof value === 'function' && typeof key === 'string') functions.set(`${name}.${key}`, value)
    }
  }
  for (const [name, value] of Object.entries({ ...index, ...experiment })) {
    if (typeof value !== 'function') continue
    const isClass = /^class\b/.test(Function.prototype.toString.call(value))
    if (!isClass) functions.set(name, value as Call)
    else methodsOf(name, value, Object.getOwnPropertyNames(value))
  }
  const objects = { learner, classifier, solver, network, store, stream, method, metric: metric.start() }
  for (const [name, object] of Object.entries(objects)) {
    const prototype: object = Object.getPrototypeOf(object)
    const holder = prototype === Object.prototype ? object : prototype
    methodsOf(name, holder, Object.getOwnPropertyNames(holder))
    for (const [key, value] of functions) if (key.startsWith(`${name}.`)) functions.set(key, value.bind(object))
  }
  for (const [name, one] of Object.entries({ counting, asked })) {
    const run = one.start()
    functions.set(`${name}.add`, run.add as Call)
  }

  /** Arguments that are right. */
  const right: Record<string, readonly unknown[]> = {
    'Classifier.train': [data, { device: 'cpu', epochs: 0.1 }],
    'Classifier.cached': [data, { device: 'cpu', epochs: 0.1, folder: out }],
    'classifier.classify': [images],
    'classifier.features': [images],
    'Learner.create': [{ unet: learner.unet }],
    'Learner.load': [path.join(out, 'learner'), {}],
    'learner.learn': [first, method, { steps: 1 }],
    'learner.train': [first, method, { steps: 1 }],
    'learner.replayPool': [second, method, { steps: 1 }],
    'learner.sample': [{ count: 1 }],
    'learner.predict': [new Float32Array(64), new Int32Array(1)],
    'learner.denoisingLoss': [first.test, {}],
    'learner.step': [{ xt: new Float32Array(64), timesteps: new Int32Array(1), target: new Float32Array(64) }],
    'learner.save': [nowhere],
    'Solver.create': [stream, { device: 'cpu' }],
    'Solver.load': [path.join(out, 'solver'), {}],
    'solver.learn': [first, null, { epochs: 1 }],
    'solver.accuracy': [first],
    'solver.classify': [images],
    'solver.save': [nowhere],
    'TorchScriptFeatures.load': ['x', { size: 4 }],
    'network.features': [images],
    'InceptionV3.load': [{}],
    // There is no such network here.
    fid: [network, {}],
    kid: [network, {}],
    inceptionScore: [network, {}],
    'store.release': [data.train],
    'stream.seen': [first],
    'method.objective': [1],
    'metric.add': [images, 'generated', new Int32Array(4)],
    'counting.add': [images, 'real', new Int32Array(4)],
    'asked.add': [images, 'generated', new Int32Array(4)],
    evaluate: [learner, seen, [metric], { count: 4, batchSize: 4 }],
    frechetArea: [learner, seen, classifier, { count: 4, steps: [1, 2] }],
    taskMatrix: [[{ tasks: [{ values: { a: { value: 1 } } }] }], 'a'],
    forgetting: [[[1], [1, 2]], {}],
    backwardTransfer: [[[1], [1, 2]], {}],
    classIncremental: [data, { tasks: 2 }],
    dataIncremental: [data, { tasks: 2 }],
    domainIncremental: [data, { domains: [index.unchanged()] }],
    fromDatasets: [[data]],
    single: [data],
    nextTask: [data, { tasksLearned: 0, learned: { names: [], tasks: [] } }],
    rotated: [90],
    permuted: [1],
    compose: [method, index.ewc(), method],
    methodByName: ['finetune', {}],
    fromArrays: [{ ...data.train }],
    trainTest: [data.train, data.test],
    fromAsyncIterable: [
      [{ image: new Uint8Array(64), label: 0 }],
      { name: 'x', classes: ['a'], height: 8, width: 8, channels: 1 },
    ],
    loadCifar10: [{ folder: nowhere }],
    loadCifar100: [{ folder: nowhere }],
    loadIdx: [{ train: { images: 'x', labels: 'x' }, test: { images: 'x', labels: 'x' } }],
    loadImageFolder: [nowhere, { size: 8 }],
    fashionMnist: [{ folder: nowhere, size: 5 }],
    mnist: [{ folder: nowhere, size: 5 }],
    schedule: [{}],
    samplerTimesteps: [learner.schedule, learner.sampler],
    parseUNetConfig: [learner.unet, 'here'],
    toDiffusersConfig: [learner.unet],
    imageGrid: [images, {}],
    resolveExperiment: [{ preset: 'demo' }, 'here'],
    // No experiment, as it would run.
    runExperiment: [{ preset: 'demo', seeds: [] }, {}],
    resumeExperiment: [nowhere, {}],
    evaluateSaved: [path.join(out, 'learner'), { experiment: { preset: 'nope' } }],
    compareRuns: [[nowhere], nowhere],
    writeReport: [nowhere],
    watchRun: [nowhere, {}],
    finalTable: [results, 'text'],
    pairedTable: [results, 'text'],
    tablesByTask: [results, 'text'],
    methodTests: [results, 'finetune'],
    testTable: [results, 'text'],
    pairedDifference: [results, 'frechetDistance', 'finetune', 'generative-distillation'],
  }
  const withClassifier = ['classFrequencies', 'conditionalAccuracy', 'averageRatioDeviation']
  const withExtractor = ['frechetDistance', 'kernelDistance', 'gaussianDistance', 'precision', 'recall']
  for (const name of [...withClassifier, ...withExtractor]) right[name] = [classifier, {}]
  const told: string[] = []
  for (const [name, call] of functions) {
    if (passed.test(name)) continue
    const args = right[name] ?? (call.length <= 1 ? [{}] : undefined)
    if (args === undefined) told.push(`${name}: what are its right arguments?`)
    for (const [place, value] of (args ?? []).flatMap((_, i) => wrong.map((one) => [i, one] as const))) {
      if (long.includes(name) && place === args!.length - 1 && isLikeNone(value)) continue
      try {
        const result = call(...args!.with(place, value))
        await (name === 'learner.learn' ? (result as Generator).next() : result)
      } catch (error) {
        if (error instanceof index.ContinualDiffusionError && error.code) continue
        told.push(`${name}: argument ${place}, ${inspect(value)}: ${error}`)
      }
    }
  }
  expect(told).toEqual([])
  expect(functions.size).toBeGreaterThan(60)
  expect(await index.Learner.load('').catch(({ message }) => message)).toBe(
    "Learner.load: folder: the value is ''; expected a path: not empty, and without NUL",
  )
  expect(() => index.frechetDistance(undefined as never)).toThrow(
    'frechetDistance: extractor: the value is missing; expected a feature extractor, e.g. a Classifier',
  )
}, 120_000)
