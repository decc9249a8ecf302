import path from 'node:path'
import { expect, it } from 'vitest'
import * as experiment from '../lib/experiment/index.js'
import * as index from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { bandsData, tinyLearner } from './support/tiny.js'

/** What is never right, in any place but the last ones that are options. */
const wrong = [undefined, null, 5, '', 'a\0b', [], {}, new URL('file:///x'), () => 1, 10n, new Date(), Symbol('s')]

/** Extractors are told apart by what they do, and are checked where they are used; these make objects of what they are given. */
const elsewhere =
  /^(ContinualDiffusionError|frechetDistance|kernelDistance|precision|recall|conditionalAccuracy|averageRatioDeviation|classFrequencies|frechetArea)$/
const internal = /\.(sampleFor|classifyOnce|features|digest|images|using|constructor|dispose|start)$/
/** Would load or download what is known. */
const needNothing = /^(fashionMnist|mnist)$/

it('a wrong argument in any place of any function is told as an error of this package', async () => {
  const data = bandsData()
  const stream = index.classIncremental(data, { tasks: 2 })
  const learner = await tinyLearner()
  const classifier = await index.Classifier.train(data, { device: 'cpu', epochs: 0.1 })
  const solver = await index.Solver.create(stream, { device: 'cpu' })
  const out = path.join(await temporaryFolder(), 'x')

  const functions = new Map<string, (...args: unknown[]) => unknown>()
  for (const [name, value] of Object.entries({ ...index, ...experiment })) {
    if (typeof value !== 'function') continue
    if (!/^class\b/.test(Function.prototype.toString.call(value))) functions.set(name, value as () => unknown)
    for (const key of Object.getOwnPropertyNames(value)) {
      const own = (value as unknown as Record<string, unknown>)[key]
      if (typeof own === 'function') functions.set(`${name}.${key}`, own.bind(value))
    }
  }
  for (const [name, object] of Object.entries({ learner, classifier, solver, stream })) {
    const prototype = name === 'stream' ? object : Object.getPrototypeOf(object)
    for (const key of Object.getOwnPropertyNames(prototype)) {
      const { value } = Object.getOwnPropertyDescriptor(prototype, key)!
      if (typeof value === 'function') functions.set(`${name}.${key}`, value.bind(object))
    }
  }
  const right = [
    data,
    stream,
    learner,
    classifier,
    stream.tasks[0],
    stream.seen(stream.tasks[0]!),
    index.finetune(),
    out,
  ]

  const told: string[] = []
  for (const [name, call] of functions) {
    if ([elsewhere, internal, needNothing].some((pattern) => pattern.test(name))) continue
    for (const value of wrong) {
      for (const args of [[value], [value, value], ...right.map((first) => [first, value])]) {
        // A second argument that may be left out, or says where a message begins.
        if (args.length === 2 && (value === undefined || /parseUNetConfig|resolveExperiment|learn$/.test(name)))
          continue
        try {
          let result = call(...args) as { next?: () => unknown } | undefined
          if (typeof result?.next === 'function') result = result.next() as typeof result
          await result
        } catch (error) {
          const what = `${name}(${args.map((arg) => typeof arg).join(', ')}): ${error}`
          if (!(error instanceof index.ContinualDiffusionError)) told.push(what)
        }
      }
    }
  }
  expect([...new Set(told)]).toEqual([])
  expect(functions.size).toBeGreaterThan(60)
  expect(await index.Learner.load('').catch(({ message }) => message)).toBe(
    "Learner.load: folder: the value is ''; expected a path: not empty, and without NUL",
  )
}, 120_000)
