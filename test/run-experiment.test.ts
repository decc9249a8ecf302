import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { loadAddon } from '../lib/engine/load.js'
import { type ExperimentInput, resolveExperiment } from '../lib/experiment/config.js'
import type { RunEvent } from '../lib/experiment/events.js'
import { RunFolder } from '../lib/experiment/folder.js'
import { presets as experimentPresets } from '../lib/experiment/presets.js'
import { runExperiment } from '../lib/experiment/run.js'
import type { Results } from '../lib/report/results.js'
import { finalTable, pairedTable, tablesByTask } from '../lib/report/table.js'
import { filesBelow, ownCache, temporaryFolder } from './support/folders.js'
import { tinyExperiment } from './support/tiny-experiment.js'

ownCache()

/** What a run computed, without what differs from run to run. */
function computed(results: Results) {
  return results.runs.map(({ method, seed, tasks }) => ({
    method,
    seed,
    tasks: tasks.map(({ task, name, steps, metrics }) => ({ task, name, steps, metrics })),
  }))
}

test('sharing the first task changes no result, and is the same as computing it again', async () => {
  const parent = await temporaryFolder()
  const run = async (shareFirstTask: boolean) => {
    const out = path.join(parent, String(shareFirstTask))
    const { results } = await runExperiment({
      ...tinyExperiment,
      stream: { tasks: 2 },
      seeds: [42, 69],
      shareFirstTask,
      out,
    })
    return { out, results }
  }
  const shared = await run(true)
  const separate = await run(false)
  expect(computed(shared.results)).toEqual(computed(separate.results))
  const from = ({ results }: { results: Results }) =>
    results.runs.map(({ tasks }) => tasks.map((task) => task.sharedFrom))
  const none = Array(2).fill(undefined)
  expect(from(separate)).toEqual([none, none, none, none])
  const taken = ['finetune', ...none.slice(1)]
  expect(from(shared)).toEqual([none, taken, none, taken])
  // The last learners are the same to the byte.
  const weights = 'learners/generative-distillation/seed-69/task-2/diffusion_pytorch_model.safetensors'
  expect(await readFile(path.join(shared.out, weights))).toEqual(await readFile(path.join(separate.out, weights)))
})

test("a method's solver knows the first task too, though another method learned it", async () => {
  const out = path.join(await temporaryFolder(), 'run')
  const known = async (methods: ExperimentInput['methods'], name: string) => {
    const experiment = { ...tinyExperiment, stream: { tasks: 2 }, methods, out: path.join(out, name) }
    const { results } = await runExperiment(experiment as ExperimentInput)
    return Object.fromEntries(
      results.runs.map(({ method, tasks }) => [method, tasks.map(({ solver }) => solver?.length)]),
    )
  }
  const recommended = { name: 'recommended', teacher: { steps: 2 }, pool: { reuse: 2 } } as const
  const expected = { finetune: [undefined, undefined], recommended: [1, 2] }
  expect(await known(['finetune', recommended], 'a')).toEqual(expected)
  expect(await known([recommended, 'finetune'], 'b')).toEqual(expected)
})

test('a run tells what goes on, in order, and its folder can be read again', async () => {
  const out = path.join(await temporaryFolder(), 'run')
  const events: RunEvent[] = []
  const brought = vi.spyOn(loadAddon(), 'createImages')
  const { results } = await runExperiment({ ...tinyExperiment, out }, { onEvent: (event) => events.push(event) })
  // The train and the test set, once for the classifier and all methods and tasks.
  expect(brought.mock.calls.map(([{ size }]) => size).sort()).toEqual([8, 8])
  brought.mockRestore()
  const order = ['folder', 'classifier', 'ready', 'learn', 'evaluate', 'task']
  const first = order.map((kind) => events.findIndex((event) => event.kind === kind))
  expect(first.filter((at, i) => i !== 1 && at < 0)).toEqual([])
  // Five tasks of one method, four of the other.
  const ended = events.filter((event) => event.kind === 'task')
  expect(ended.map(({ part }) => part.part)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(new Set(ended.map(({ part }) => part.parts))).toEqual(new Set([9]))

  expect(JSON.parse(await readFile(path.join(out, 'results.json'), 'utf8'))).toEqual(
    JSON.parse(JSON.stringify(results)),
  )
  const config = JSON.parse(await readFile(path.join(out, 'config.json'), 'utf8'))
  const { out: _, ...expected } = resolveExperiment({ ...tinyExperiment, out })
  expect(resolveExperiment(config)).toEqual(expected)

  const lines = (await readFile(path.join(out, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n')
  const logged = lines.map((line) => JSON.parse(line))
  expect(logged.filter(({ kind }) => kind === 'evaluate')).toHaveLength(9)
  const steps = logged.filter(({ kind, method, task }) => kind === 'train' && method === 'finetune' && task === 2)
  expect(steps.at(-1)).toMatchObject({ step: 3, steps: 3 })
})

test('with everything on: per-task values, denoising losses, a solver, and the first task as if nothing were shared', async () => {
  const run = async (shareFirstTask: boolean) => {
    const solved = new Set<string>()
    const onEvent = (event: RunEvent) => {
      if (event.kind !== 'solver') return
      const { part } = event
      solved.add(part ? `task ${part.task} by ${part.method}` : 'of a shared task')
      expect(event.done).toBeLessThanOrEqual(event.total)
    }
    const experiment: ExperimentInput = {
      ...tinyExperiment,
      data: { name: 'fashion-mnist', subset: true },
      stream: { tasks: 2 },
      train: { steps: 2, batchSize: 4 },
      evaluation: { count: 30, perTaskMinimum: 1, denoisingBands: 2, metrics: ['ard', 'recall'] },
      solver: { epochs: 0.02 },
      methods: [
        'finetune',
        'generative-replay',
        { name: 'generative-replay+ewc', ewc: { samples: 20 } },
        { name: 'experience-replay', size: 10 },
      ],
      shareFirstTask,
      out: path.join(await temporaryFolder(), 'run'),
    }
    const { results, page } = await runExperiment(experiment, { onEvent })
    const tasks = results.runs.flatMap(({ method }) => [1, 2].map((task) => `task ${task} by ${method}`))
    const shared = 'task 1 by generative-replay'
    const expected = shareFirstTask ? [...tasks.filter((task) => task !== shared), 'of a shared task'] : tasks
    expect([...solved].sort()).toEqual(expected.sort())
    return { results, page: await readFile(page, 'utf8') }
  }
  const { results, page } = await run(true)
  expect(results.metrics).toMatchObject({ ard: { better: 'lower' }, recall: { better: 'higher' } })
  for (const { method, tasks } of results.runs) {
    expect(tasks.map(({ alone }) => alone!.map(({ task, real }) => [task, real]))).toEqual([
      [[1, 500]],
      [
        [1, 500],
        [2, 500],
      ],
    ])
    expect(tasks.map(({ solver }) => solver!.length)).toEqual([1, 2])
    expect(tasks[1]!.denoising!.map(({ from, to, images }) => [from, to, images])).toEqual([
      [0, 500, 1000],
      [500, 1000, 1000],
    ])
    // Of two steps to generate with, and none to predict.
    expect(tasks.map(({ teacherCalls }) => teacherCalls)).toEqual([0, method.startsWith('generative-replay') ? 2 : 0])
    // What keeps something of the first task, for a penalty or a memory, has a first task of its own.
    expect(tasks[0]!.sharedFrom).toBe(method === 'generative-replay' ? 'finetune' : undefined)
  }
  for (const id of [
    'samples',
    'numbers',
    'by-task',
    'solver',
    'frequencies',
    'denoising',
    'losses',
    'cost',
    'making',
  ]) {
    expect(page).toContain(`<section id="${id}">`)
  }
  const separate = (await run(false)).results
  const known = ({ runs }: Results) => runs.map(({ tasks }) => tasks.map(({ alone, solver }) => ({ alone, solver })))
  expect(known(results)).toEqual(known(separate))
}, 180_000)

test('every method runs, is judged after the last task alone, and has a row in the table', async () => {
  const { preset: _, methods: __, evaluation: ___, ...tiny } = tinyExperiment
  // A Fisher matrix of few images.
  const few = (key: string, options: unknown) =>
    /ewc$/.test(key) && typeof options === 'object' ? { ...options, samples: 20 } : options
  const methods = experimentPresets['every-method'].methods.map((entry) =>
    typeof entry === 'string' || !('name' in entry)
      ? entry
      : entry.name.includes('+')
        ? Object.fromEntries(Object.entries(entry).map(([key, options]) => [key, few(key, options)]))
        : few(entry.name, entry),
  ) as ExperimentInput['methods']
  const preset: ExperimentInput = { ...tiny, preset: 'every-method', methods, seeds: [42] }
  const { results, page } = await runExperiment({
    ...preset,
    stream: { tasks: 2 },
    solver: { epochs: 0.02 },
    evaluation: { count: 30, bootstrap: 0 },
    out: path.join(await temporaryFolder(), 'run'),
  })
  const labels = resolveExperiment(preset).methods.map(({ label }) => label)
  expect(results.runs.map(({ method }) => method)).toEqual(labels)
  for (const { tasks } of results.runs) {
    expect(tasks[0]!.metrics).toEqual({})
    expect(Object.keys(tasks[1]!.metrics)).toEqual(Object.keys(results.metrics))
  }
  // Below it stand the notes of the values that it marks.
  const [table = ''] = finalTable(results, 'markdown').split(/\n\n(?=†)/)
  const rows = table.split('\n').slice(4)
  expect(rows.map((row) => row.split(' | ')[0])).toEqual([
    ...labels.map((label) => `| ${label}`),
    '| (real training images)',
  ])
  for (const row of rows) expect(row).not.toContain('–')
  // A table by task has no column for a task without values.
  expect(tablesByTask(results).split('\n')[2]).toMatch(/^After task +2/)
  for (const id of ['samples', 'numbers', 'by-task', 'losses', 'cost']) {
    expect(await readFile(page, 'utf8')).toContain(`<section id="${id}">`)
  }
}, 180_000)

test('a student without data is judged by the area over its sampler steps', async () => {
  const { preset: _, methods: __, evaluation: ___, ...tiny } = tinyExperiment
  const { results } = await runExperiment({
    ...tiny,
    preset: 'teacher-to-student',
    seeds: [42],
    evaluation: { count: 30, areaSteps: [1, 2, 3] },
    out: path.join(await temporaryFolder(), 'run'),
  })
  expect(results.metrics.frechetArea?.title).toMatch(/^Area of Fréchet distance over 1, 2, 3 steps \(/)
  for (const { tasks } of results.runs.slice(1)) expect(tasks[0]!.sharedFrom).toBe('generation')
  for (const { value, detail } of results.runs.flatMap(({ tasks }) => tasks.map((task) => task.metrics.frechetArea!))) {
    const [one, two, three] = detail!.distances as [number, number, number]
    expect(value).toBeCloseTo((one + 2 * two + three) / 2, 10)
  }
})

test('an abort in mid-run rejects with its reason and leaves whole files', async () => {
  const out = path.join(await temporaryFolder(), 'run')
  const controller = new AbortController()
  const reason = new Error('enough')
  const running = runExperiment(
    { ...tinyExperiment, train: { steps: 100_000, batchSize: 4 }, out },
    { signal: controller.signal, onEvent: (event) => event.kind === 'learn' && controller.abort(reason) },
  )
  await expect(running).rejects.toBe(reason)
  const files = await filesBelow(out)
  expect(files).toContain('config.json')
  expect(files).toContain('checkpoints/1/checkpoint.json')
  const expected =
    /^(config\.json|classifier\.safetensors|(metrics|events)\.jsonl|live\/status\.json|checkpoints\/1\/.*|samples\/real\/seed-42\/task-\d\.png)$/
  expect(files.filter((file) => !expected.test(file))).toEqual([])
})

test('an abort after a task leaves a page of what was done', async () => {
  const out = path.join(await temporaryFolder(), 'run')
  const controller = new AbortController()
  const running = runExperiment(
    { ...tinyExperiment, out },
    { signal: controller.signal, onEvent: (event) => event.kind === 'task' && controller.abort('enough') },
  )
  await expect(running).rejects.toBe('enough')
  const page = await readFile(path.join(out, 'report.html'), 'utf8')
  expect(page).toMatch(/This run is not complete/)
  expect(page).toMatch(/Task 1/)
  expect(page).not.toMatch(/Task 2/)
})

test('what can not be had is refused before anything is written', async () => {
  const out = path.join(await temporaryFolder(), 'run')
  await expect(runExperiment({ ...tinyExperiment, device: 'cuda:99', out })).rejects.toMatchObject({
    code: 'ERR_DEVICE_UNAVAILABLE',
  })
  const data = { subset: false, folder: path.join(out, 'nowhere') }
  await expect(runExperiment({ ...tinyExperiment, data, out })).rejects.toMatchObject({ code: 'ERR_DATA_NOT_FOUND' })
  expect(existsSync(out)).toBe(false)
})

test('of two runs with the same folder one gets it; numbered ones get a folder each', async () => {
  const parent = await temporaryFolder()
  const out = path.join(parent, 'run')
  const both = await Promise.allSettled([1, 2].map((n) => RunFolder.create(out, 'x', { n })))
  const [lost, ...more] = both.filter((result) => result.status === 'rejected')
  expect(more).toEqual([])
  expect(lost?.reason).toMatchObject({ code: 'ERR_RUN_LOCKED', message: expect.stringContaining(`${process.pid}`) })
  const winner = both.findIndex(({ status }) => status === 'fulfilled') + 1
  expect(JSON.parse(await readFile(path.join(out, 'config.json'), 'utf8'))).toEqual({ n: winner })
  await expect(RunFolder.create(out, 'x', {})).rejects.toMatchObject({ code: 'ERR_RUN_LOCKED' })
  for (const result of both) if (result.status === 'fulfilled') result.value.release()
  await expect(RunFolder.create(out, 'x', {})).rejects.toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
    message: expect.stringMatching(/config\.json.*--resume/),
  })

  const before = process.cwd()
  process.chdir(parent)
  try {
    const folders = await Promise.all([1, 2, 3].map((n) => RunFolder.create(undefined, 'x', { n })))
    expect(folders.map((folder) => path.basename(folder.path)).sort()).toEqual(['x', 'x-2', 'x-3'])
    for (const folder of folders) folder.release()
  } finally {
    process.chdir(before)
  }
})

test('a folder with something in it is refused, and stays as it is', async () => {
  const out = await temporaryFolder()
  await writeFile(path.join(out, 'thesis.tex'), 'important')
  await expect(runExperiment({ ...tinyExperiment, out })).rejects.toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
    message: expect.stringMatching(/holds thesis\.tex/),
  })
  expect(await filesBelow(out)).toEqual(['thesis.tex'])
})

test('a metric with too few test images is null with a note where the experiment says so, in every table and on the page', async () => {
  const { results, page } = await runExperiment({
    ...tinyExperiment,
    stream: { tasks: 2 },
    seeds: [1, 2, 3],
    // There are 500 test images after the first task, and 1000 after the second.
    evaluation: { count: 700, metrics: ['classFrequencies', 'precision'], k: 600, tooFew: 'null' },
    out: path.join(await temporaryFolder(), 'run'),
  })
  for (const { tasks } of results.runs) {
    const [first, second] = tasks.map(({ metrics }) => metrics.precision)
    const note = 'too few test images: 500; expected at least 601'
    expect(first).toEqual({ real: 500, generated: 700, value: null, note })
    expect(second!.value).toEqual(expect.any(Number))
    expect(tasks[0]!.alone![0]!.values.precision!.value).toBeNull()
  }
  expect(tablesByTask(results)).toMatch(/Precision.*\n\nAfter task +2/)
  expect(
    pairedTable({ ...results, runs: results.runs.map((run) => ({ ...run, tasks: run.tasks.slice(0, 1) })) }),
  ).toMatch(/–/)
  expect(await readFile(page, 'utf8')).toContain('too few test images')
})
