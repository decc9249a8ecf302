import { mkdir, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { watchFolder } from '../lib/experiment/watch-folder.js'
import { watchRun } from '../lib/experiment/watch-run.js'
import type { LiveEntry } from '../lib/report/live/entries.js'
import { LiveStore } from '../lib/report/live/store.js'
import { temporaryFolder } from './support/folders.js'
import {
  appendEvents,
  learning,
  lossesEvent,
  part,
  picture,
  writeRunFolder,
  writeStatus,
} from './support/run-folder.js'

type Entry<T extends LiveEntry['topic']> = Extract<LiveEntry, { topic: T }>

function entries<T extends LiveEntry['topic']>(store: LiveStore, topic: T): Entry<T>[] {
  const all = store.since(0).map(({ json }) => JSON.parse(json) as LiveEntry)
  return all.filter((entry): entry is Entry<T> => entry.topic === topic)
}

test('whoever knows the changes up to some number is told those after it, each entry once, in order', async () => {
  const store = new LiveStore()
  const status = (state: 'running' | 'complete') => store.put({ topic: 'status', state })
  const curve = (task: number, points: []) => store.put({ topic: 'curve', method: 'a', seed: 1, task, points })
  status('running')
  curve(1, [])
  curve(2, [])
  const { version } = store
  curve(1, [])
  expect(store.version).toBe(version)
  status('complete')
  expect(store.since(0).map(({ version }) => version)).toEqual([2, 3, 4])
  expect(store.since(version)).toEqual([{ version: 4, json: '{"topic":"status","state":"complete"}' }])
  const waits = store.changed(60_000)
  status('running')
  await waits
  await store.changed(1)
})

test('what a run folder holds is told, and then what is new in it', async () => {
  const folder = await temporaryFolder()
  await writeRunFolder(folder)
  const { store, poll, image } = bound(await watchFolder(folder))
  await poll()
  expect(entries(store, 'run')).toMatchObject([
    { title: 'Fashion & <friends> in two tasks', seeds: [1, 2], about: 'U-Net of 1,234,567 parameters on cpu in fp32' },
  ])
  expect(entries(store, 'found')).toMatchObject([
    { method: 'finetune', seed: 1, tasks: [{ task: 1 }, { task: 2, metrics: { frechetDistance: 146.4 } }] },
    { method: 'generative-distillation', seed: 1, tasks: [{ sharedFrom: 'finetune' }, {}] },
  ])
  expect(entries(store, 'status')).toMatchObject([
    {
      state: 'running',
      progress: { doing: 'learn', fraction: 0.25, step: 25, taskSecondsLeft: 65, runSecondsLeft: 3700 },
    },
  ])
  expect(entries(store, 'curve').map(({ seed, task, points }) => [seed, task, points.map(([step]) => step)])).toEqual([
    [1, 1, [50, 100]],
    [1, 2, [50, 100]],
    [2, 1, [10, 20]],
  ])
  expect(entries(store, 'samples')).toMatchObject([{ task: 1, grids: [{ step: 10 }, { step: 20 }] }])
  expect(entries(store, 'log')[0]?.lines.map(({ kind, text }) => [kind, text])).toEqual([
    ['note', 'The run begins, or goes on.'],
    ['warning', 'the disk is <b>slow</b>'],
  ])
  const { version } = store
  await poll()
  expect(store.version).toBe(version)

  // Killed at step 20 and resumed from step 10, with a line that was cut off between them; the next one is half written.
  await writeFile(path.join(folder, 'events.jsonl'), '{"time":"2026-01-02T', { flag: 'a' })
  await appendEvents(folder, { kind: 'folder', folder }, { kind: 'resume', number: 4 })
  await appendEvents(folder, lossesEvent(part('finetune', 2, 1), 15, 0.7))
  await writeFile(path.join(folder, 'events.jsonl'), '{"half":', { flag: 'a' })
  await poll()
  expect(
    entries(store, 'curve')
      .find(({ seed }) => seed === 2)
      ?.points.map(([step, loss]) => [step, loss]),
  ).toEqual([
    [10, 0.1],
    [15, 0.7],
  ])
  expect(entries(store, 'log')[0]?.lines.at(-1)?.text).toBe('The run is resumed from checkpoint 4.')
  expect(await image('samples/finetune/seed-1/task-2.png')).toEqual(Buffer.from(await picture(120)))
})

test('pictures are only those that entries name, and no link leads out of the folder', async () => {
  const folder = await temporaryFolder()
  const run = path.join(folder, 'run')
  await writeRunFolder(run)
  const { poll, image } = bound(await watchFolder(run))
  await poll()
  await writeFile(path.join(folder, 'secret.png'), 'secret')
  for (const file of ['../secret.png', 'config.json', '/etc/passwd', '', 'samples/../../secret.png']) {
    expect(await image(file), file).toBeUndefined()
  }
  await rm(path.join(run, 'samples/finetune/seed-1/task-1.png'))
  await symlink('../../../../secret.png', path.join(run, 'samples/finetune/seed-1/task-1.png'))
  expect(await image('samples/finetune/seed-1/task-1.png')).toBeUndefined()
  await rm(path.join(run, 'samples/finetune/seed-1/task-2.png'))
  expect(await image('samples/finetune/seed-1/task-2.png')).toBeUndefined()
})

test('a run that gave no sign for half a minute is told as silent, and a stopped or complete one as what it is', async () => {
  const folder = await temporaryFolder()
  const results = await writeRunFolder(folder)
  const long = new Date(Date.now() - 60_000)
  await utimes(path.join(folder, 'live/status.json'), long, long)
  const { store, poll } = bound(await watchFolder(folder))
  const state = async () => {
    await poll()
    return entries(store, 'status')[0]?.state
  }
  expect(await state()).toBe('silent')
  // Whatever the clock of the machine says that the run is on.
  await writeStatus(folder, learning(part('finetune', 2, 1), 26))
  await utimes(path.join(folder, 'live/status.json'), long, long)
  expect(await state()).toBe('running')
  await writeStatus(folder, { state: 'failed', message: 'the loss is not finite' })
  expect(await state()).toBe('failed')
  await writeFile(path.join(folder, 'results.json'), JSON.stringify({ ...results, complete: true }))
  await rm(path.join(folder, 'live'), { recursive: true })
  expect(await state()).toBe('complete')
  await writeFile(path.join(folder, 'results.json'), JSON.stringify(results))
  expect(await state()).toBe('silent')
})

test('a program serves the page of a run until it closes it, or an abort does', async () => {
  const folder = await temporaryFolder()
  await writeRunFolder(folder)
  const stop = new AbortController()
  for (const end of ['close', 'abort']) {
    const watching = await watchRun(folder, { signal: stop.signal })
    const events = await fetch(`${watching.address}events`)
    if (end === 'abort') stop.abort(new Error('enough'))
    else await watching.close()
    await watching.close()
    // Who watches is told the end.
    expect(await events.text()).toMatch(/"Fashion & <friends> in two tasks"[\s\S]*event: end/)
    await expect(fetch(watching.address)).rejects.toThrow()
  }
  await expect(watchRun(folder, { signal: stop.signal })).rejects.toThrow('enough')
})

test('curves of twenty methods by ten seeds, or of a million steps, stay small', async () => {
  const folder = await temporaryFolder()
  const methods = Array.from({ length: 20 }, (_, i) => ({ label: `method-${i}` }))
  const seeds = Array.from({ length: 10 }, (_, i) => i)
  await writeFile(path.join(folder, 'config.json'), JSON.stringify({ title: 'Many', methods, seeds }))
  // A run writes a hundred lines for each task at most.
  for (const { label } of methods) {
    const of = seeds.flatMap((seed) => [1, 2, 3, 4, 5].map((task) => part(label, seed, task)))
    const steps = Array.from({ length: 60 }, (_, i) => 10_000 * (i + 1))
    await appendEvents(folder, ...of.flatMap((one) => steps.map((step) => lossesEvent(one, step, 1 / step))))
  }
  const { store, poll } = bound(await watchFolder(folder))
  await poll()
  const curves = entries(store, 'curve')
  expect(curves).toHaveLength(1000)
  for (const { points } of curves) {
    expect(points.length).toBeLessThanOrEqual(41)
    expect(points.at(-1)?.[0]).toBe(600_000)
  }
  expect(store.since(0).reduce((sum, { json }) => sum + json.length, 0)).toBeLessThan(4e6)
})

test('a folder that is no run is refused, and damage in a run is told once', async () => {
  const folder = await temporaryFolder()
  await expect(watchFolder(folder)).rejects.toThrow(/is not a run folder/)
  await expect(watchFolder(path.join(folder, 'nope'))).rejects.toMatchObject({ code: 'ERR_DATA_NOT_FOUND' })
  const file = path.join(folder, 'config.json')
  await writeFile(file, '{')
  await expect(watchFolder(folder)).rejects.toMatchObject({ code: 'ERR_BAD_DATA' })
  await writeFile(file, '{"title": 1}')
  await expect(watchFolder(folder)).rejects.toThrow(/config\.json: .*title/)

  await writeRunFolder(folder)
  await writeFile(path.join(folder, 'results.json'), '{"complete": 1}')
  await rm(path.join(folder, 'live/status.json'))
  await mkdir(path.join(folder, 'live/status.json'))
  const { store, poll } = bound(await watchFolder(folder))
  for (let look = 0; look < 3; look++) await poll()
  const errors = entries(store, 'log')[0]?.lines.filter(({ kind }) => kind === 'error') ?? []
  expect(errors.map(({ text }) => text)).toEqual([
    expect.stringContaining('results.json'),
    expect.stringContaining('EISDIR'),
  ])
})

/** Its methods as functions. */
function bound(watched: Awaited<ReturnType<typeof watchFolder>>) {
  const { store } = watched
  return { store, poll: () => watched.poll(), image: (file: string) => watched.image(file) }
}
