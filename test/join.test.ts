import { expect, test } from 'vitest'
import { type ExperimentInput, resolveExperiment } from '../lib/experiment/config.js'
import { teacherCalls } from '../lib/experiment/cost.js'
import { joinRuns } from '../lib/experiment/join.js'
import type { RunRecord } from '../lib/experiment/read-run.js'
import {
  conditionalDistillation,
  generativeDistillation,
  lwfDistillation,
  type ReplayPool,
} from '../lib/methods/index.js'
import { cell, methodsOf } from '../lib/report/summary.js'
import { madeUpCurves, madeUpResults } from './support/results.js'
import { tinyExperiment } from './support/tiny-experiment.js'

/** A run of the two made-up methods. */
function record(folder: string, seeds: number[], change: object = {}): RunRecord {
  const { out: _, ...config } = resolveExperiment({ ...tinyExperiment, seeds, ...change } as ExperimentInput)
  const results = madeUpResults(seeds)
  return { folder, config, results, curves: madeUpCurves(results) }
}

test('seeds of the same method are put together', () => {
  const { results, curves } = joinRuns([record('/runs/a', [1]), record('/runs/b', [2, 3])])
  expect(methodsOf(results)).toEqual(['finetune', 'generative-distillation'])
  expect(results.runs.map(({ method, seed }) => `${method} ${seed}`)).toEqual([
    'finetune 1',
    'generative-distillation 1',
    'finetune 2',
    'generative-distillation 2',
    'finetune 3',
    'generative-distillation 3',
  ])
  expect(cell(results, 'frechetDistance', 'finetune', 2)!.values).toEqual([146.4, 146.4, 147.4])
  expect(results.runs[2]!.tasks[0]!.samples).toBe('/runs/b/samples/finetune/seed-2/task-1.png')
  expect(curves).toHaveLength(12)
})

test('methods with other settings, or with the same seed, are told apart by their folders', () => {
  const apart = joinRuns([record('/runs/a', [1]), record('/runs/b', [2], { ema: 0.5 })])
  const labels = ['finetune (a)', 'generative-distillation (a)', 'finetune (b)', 'generative-distillation (b)']
  expect(methodsOf(apart.results)).toEqual(labels)
  expect(new Set(apart.curves.map(({ method }) => method))).toEqual(new Set(labels))
  expect(methodsOf(joinRuns([record('/runs/a', [1]), record('/runs/b', [1])]).results)).toEqual(labels)
  // Only the one whose options differ.
  const methods = ['finetune', { name: 'generative-distillation', lambda: 2 }]
  expect(methodsOf(joinRuns([record('/x/a', [1]), record('/y/a', [2], { methods })]).results)).toEqual([
    'finetune',
    'generative-distillation (x/a)',
    'generative-distillation (y/a)',
  ])
})

test.each([
  ['data[0].subset', { data: { subset: false } }, 'false; expected true'],
  ['stream.tasks', { stream: { tasks: 2 } }, '2; expected 5'],
  ['evaluation.count', { evaluation: { count: 31 } }, '31; expected 30'],
])('runs with other %s can not be compared', (key, change, found) => {
  expect(() => joinRuns([record('/runs/a', [1]), record('/runs/b', [2], change)])).toThrow(
    `compare: ${key} of /runs/b is ${found}, as in /runs/a: only runs with the same data`,
  )
})

test('a folder that is named twice is refused', () => {
  expect(() => joinRuns([record('/runs/a', [1]), record('/runs/a', [1])])).toThrow(/named twice/)
})

test('teacher calls: its steps, and its predictions', () => {
  const { objective } = generativeDistillation({ teacher: { steps: 2 } })
  const training = { steps: 400, batchSize: 32 }
  expect([1, 2].map((k) => teacherCalls(objective(k), training))).toEqual([0, 3])
  expect(teacherCalls(lwfDistillation().objective(2), training)).toBe(1)
  // Two terms of one source share what the teacher generates and predicts.
  const [, term] = objective(2).terms
  const three = { terms: [term!, { ...term!, target: 'data' as const }, { ...term!, timesteps: [0, 10] as const }] }
  expect(teacherCalls(three, training)).toBe(6)
})

test('teacher calls: images of a pool are spread over the steps that draw from them', () => {
  const calls = (pool: ReplayPool, steps = 400) =>
    teacherCalls(generativeDistillation({ teacher: { steps: 20 }, pool }).objective(2), { steps, batchSize: 32 })
  expect(calls({ images: 1280 })).toBe(3) // 20 · 1280 / (400 · 32) + 1
  expect(calls({ reuse: 10 })).toBe(3)
  expect(calls({ images: 1280, refresh: 150 })).toBe(7) // three pools
  expect(calls({ reuse: 10 }, 100)).toBe(3)
  // The pool was made for 400 steps, and the task ended after 200.
  const { objective } = generativeDistillation({ teacher: { steps: 20 }, pool: { reuse: 10 } })
  expect(teacherCalls(objective(2), { steps: 400, done: 200, batchSize: 32 })).toBe(5)
  // Generated once, and predicted for twice: with labels and without.
  expect(teacherCalls(conditionalDistillation().objective(2), { steps: 400, batchSize: 32 })).toBe(4)
})
