import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, onTestFinished, test, vi } from 'vitest'
import type { ExperimentInput } from '../lib/experiment/config.js'
import type { RunEvent } from '../lib/experiment/events.js'
import { resumeExperiment, runExperiment } from '../lib/experiment/run.js'
import { sealed } from './support/checkpoints.js'
import { ownCache, temporaryFolder, writeIdxFolder } from './support/folders.js'
import { brokenExperiment, expectSameRuns } from './support/runs.js'

ownCache()

/** Runs an experiment that is broken off at each event that `stop` says, and resumed each time. */
async function runBroken(experiment: ExperimentInput, out: string, stop: (event: RunEvent) => boolean) {
  let breaks = 0
  const options = () => {
    const controller = new AbortController()
    const onEvent = (event: RunEvent) => {
      if (stop(event)) controller.abort('broken off')
    }
    return { signal: controller.signal, onEvent }
  }
  let running = runExperiment({ ...experiment, out }, options())
  for (;;) {
    try {
      await running
      return { breaks }
    } catch (error) {
      if (error !== 'broken off') throw error
      breaks++
      running = resumeExperiment(out, options())
    }
  }
}

test('broken off everywhere and resumed, a run is to the bit the one that was not', async () => {
  const parent = await temporaryFolder()
  const experiment: ExperimentInput = {
    ...brokenExperiment,
    train: { steps: 6, batchSize: 4 },
    solver: { epochs: 0.02 },
    methods: [
      'finetune',
      'generative-replay',
      'synaptic-intelligence',
      { name: 'recommended', teacher: { steps: 2 }, pool: { images: 8, refresh: 4, classes: 'even' } },
    ],
    seeds: [1, 2],
  }
  await runExperiment({ ...experiment, out: path.join(parent, 'whole') })
  // In each part of the run once, by turns in the middle of a task, of its evaluation, and between two tasks; and in each replay pool.
  const stopped = new Set<number>()
  const pools = new Set<number>()
  const stop = (event: RunEvent) => {
    if (event.kind === 'pool') {
      const isNew = !pools.has(event.part.part)
      pools.add(event.part.part)
      return isNew
    }
    if (event.kind !== 'learn' && event.kind !== 'evaluate' && event.kind !== 'task') return false
    const { part } = event.part
    const isLastStep = event.kind === 'learn' && event.progress.step === event.progress.steps
    if (stopped.has(part) || event.kind !== ['learn', 'evaluate', 'task'][part % 3] || isLastStep) return false
    stopped.add(part)
    return true
  }
  const { breaks } = await runBroken(experiment, path.join(parent, 'broken'), stop)
  // Six parts for each seed, as three methods share finetuning's first task; one of them has a pool.
  expect(pools.size).toBe(2)
  expect(breaks).toBe(12 + 2)
  await expectSameRuns(path.join(parent, 'broken'), path.join(parent, 'whole'))
}, 180_000)

describe('a run that was broken off', () => {
  /** A run that stopped in its second task. */
  async function brokenOff(changes: Partial<ExperimentInput> = {}): Promise<string> {
    const out = path.join(await temporaryFolder(), 'run')
    const controller = new AbortController()
    const onEvent = (event: RunEvent) => {
      if (event.kind === 'learn' && event.part.task === 2 && event.progress.step > 2) controller.abort('enough')
    }
    const experiment = {
      ...brokenExperiment,
      methods: ['finetune' as const],
      train: { steps: 12, batchSize: 4 },
      ...changes,
    }
    const running = runExperiment({ ...experiment, out } as ExperimentInput, { signal: controller.signal, onEvent })
    await expect(running).rejects.toBe('enough')
    return out
  }
  const newest = async (out: string) => Math.max(...(await readdir(path.join(out, 'checkpoints'))).map(Number))

  it('keeps the newest checkpoints, as many as it is told', async () => {
    const out = await brokenOff({ checkpoints: { everySteps: 1, keep: 2 } })
    const kept = (await readdir(path.join(out, 'checkpoints'))).map(Number).sort((a, b) => a - b)
    expect(kept).toEqual([kept[1]! - 1, kept[1]])
    expect(kept[1]).toBeGreaterThan(4)
  })

  it('goes on from the one before where the newest is damaged, and says so', async () => {
    const out = await brokenOff()
    const whole = path.join(await temporaryFolder(), 'whole')
    await cp(out, whole, { recursive: true })
    await resumeExperiment(whole)
    const number = await newest(out)
    const file = path.join(out, `checkpoints/${number}/learner/training.safetensors`)
    const bytes = await readFile(file)
    bytes[bytes.length - 1]! ^= 1
    await writeFile(file, bytes)
    const events: RunEvent[] = []
    await resumeExperiment(out, { onEvent: (event) => events.push(event) })
    const message = expect.stringMatching(
      new RegExp(
        `checkpoint ${number} can't be used: .*training.safetensors: damaged.*from checkpoint ${number - 1} instead`,
      ),
    )
    expect(events).toContainEqual({ kind: 'warning', message })
    expect(events).toContainEqual({ kind: 'resume', number: number - 1 })
    await expectSameRuns(out, whole)
  })

  it('is refused where no checkpoint is whole, each with what is wrong with it', async () => {
    const out = await brokenOff()
    for (const number of await readdir(path.join(out, 'checkpoints'))) {
      await writeFile(path.join(out, 'checkpoints', number, 'checkpoint.json'), '{}')
    }
    await expect(resumeExperiment(out)).rejects.toMatchObject({
      code: 'ERR_BAD_CHECKPOINT',
      message: expect.stringMatching(
        /checkpoint \d+ can't be used: .*checkpoint \d+ can't be used: .*remove this folder/,
      ),
    })
  })

  it('begins anew where it had no checkpoint yet', async () => {
    const out = await brokenOff()
    const whole = path.join(await temporaryFolder(), 'whole')
    await cp(out, whole, { recursive: true })
    await resumeExperiment(whole)
    await rm(path.join(out, 'checkpoints'), { recursive: true })
    // Its results are not replaced.
    await expect(resumeExperiment(out)).rejects.toMatchObject({
      code: 'ERR_BAD_CHECKPOINT',
      message: expect.stringMatching(/there is no checkpoint, but results.json has tasks/),
    })
    await rm(path.join(out, 'results.json'))
    const events: RunEvent[] = []
    await resumeExperiment(out, { onEvent: (event) => events.push(event) })
    expect(events).toContainEqual({ kind: 'resume', number: undefined })
    await expectSameRuns(out, whole)
  })

  it('is refused where its configuration was changed since', async () => {
    const out = await brokenOff()
    const file = path.join(out, 'config.json')
    const config = JSON.parse(await readFile(file, 'utf8'))
    const write = (changed: object) => writeFile(file, JSON.stringify({ ...config, ...changed }))
    await write({ train: { ...config.train, lr: 1 } })
    await expect(resumeExperiment(out)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringMatching(/config.json: train changed since the run began; expected .*"lr":0.004/),
    })
    // How often it writes checkpoints may change.
    await write({ checkpoints: { everyMinutes: 0, keep: 1 } })
    expect((await resumeExperiment(out)).results.complete).toBe(true)
  })

  describe('whose data lies outside', () => {
    /** A run by a relative path, that began where `data` is. */
    async function withData(changes: Partial<ExperimentInput> = {}) {
      const parent = await temporaryFolder()
      const data = path.join(parent, 'data')
      await mkdir(data)
      await writeIdxFolder(data, 16)
      const before = process.cwd()
      process.chdir(parent)
      try {
        return { data, parent, out: await brokenOff({ data: { name: 'idx', folder: 'data' }, ...changes }) }
      } finally {
        process.chdir(before)
      }
    }
    const refused = (what: string) => ({
      code: 'ERR_BAD_DATA',
      message: expect.stringMatching(new RegExp(`${what} has the SHA-256 [0-9a-f]{64}; expected [0-9a-f]{64}`)),
    })

    it('goes on from anywhere, by the paths from where it began', async () => {
      const { out } = await withData()
      expect((await resumeExperiment(out)).results.complete).toBe(true)
    })

    it.each<[string, number, number]>([
      ['pixels', 16, 1],
      ['images', 20, 0],
    ])('is refused with other %s', async (_, perClass, value) => {
      const { data, out } = await withData()
      await writeIdxFolder(data, perClass, 2, value)
      await expect(resumeExperiment(out)).rejects.toMatchObject(refused('data'))
      await writeIdxFolder(data, 16)
      expect((await resumeExperiment(out)).results.complete).toBe(true)
    })

    it('is refused with another file of features, or another classifier in the cache', async () => {
      const features = path.join(await temporaryFolder(), 'features.pt')
      const fixture = (name: string) => new URL(`fixtures/torchscript/${name}.pt`, import.meta.url)
      await cp(fixture('channels'), features)
      const evaluation = { count: 10, features: { file: features, size: 8, range: [0, 1] } }
      const { out } = await withData({ evaluation } as object)
      await cp(fixture('wide'), features)
      await expect(resumeExperiment(out)).rejects.toMatchObject(refused('features\\.pt\\)'))
      await cp(fixture('channels'), features)
      const file = path.join(out, `checkpoints/${await newest(out)}/checkpoint.json`)
      const whole = await readFile(file, 'utf8')
      const contents = JSON.parse(whole)
      contents.inputs.classifier = '0'.repeat(64)
      await writeFile(file, JSON.stringify(sealed(contents)))
      await expect(resumeExperiment(out)).rejects.toMatchObject(refused('classifier'))
      await writeFile(file, whole)
      expect((await resumeExperiment(out)).results.complete).toBe(true)
    })
  })

  it('is judged by the classifier that it began with where the cache has none, and other software goes on', async () => {
    const out = await brokenOff()
    const file = path.join(out, `checkpoints/${await newest(out)}/checkpoint.json`)
    const contents = JSON.parse(await readFile(file, 'utf8'))
    contents.versions.libtorch = '1.0.0'
    await writeFile(file, JSON.stringify(sealed(contents)))
    const kept = await readFile(path.join(out, 'classifier.safetensors'))
    vi.stubEnv('XDG_CACHE_HOME', await temporaryFolder())
    onTestFinished(() => void vi.unstubAllEnvs())
    const kinds: string[] = []
    const { results } = await resumeExperiment(out, { onEvent: ({ kind }) => kinds.push(kind) })
    expect(kinds).not.toContain('classifier')
    expect(results.inputs!.classifier).toBe(contents.inputs.classifier)
    expect(await readFile(path.join(out, 'classifier.safetensors'))).toEqual(kept)
  })

  it('says so where other software goes on with it', async () => {
    const out = await brokenOff()
    const number = await newest(out)
    const file = path.join(out, `checkpoints/${number}/checkpoint.json`)
    const contents = JSON.parse(await readFile(file, 'utf8'))
    contents.versions.libtorch = '1.0.0'
    await writeFile(file, JSON.stringify(sealed(contents)))
    const events: RunEvent[] = []
    await resumeExperiment(out, { onEvent: (event) => events.push(event) })
    const message = expect.stringMatching(/the run began with libtorch 1.0.0, now \d.*may differ by rounding/)
    expect(events).toContainEqual({ kind: 'warning', message })
  })

  it('that is complete gives its results again, and has no checkpoints', async () => {
    const out = await brokenOff()
    const { results } = await resumeExperiment(out)
    expect(await readdir(out)).not.toContain('checkpoints')
    expect(await readdir(out)).not.toContain('run.lock')
    const events: RunEvent[] = []
    const again = await resumeExperiment(out, { onEvent: (event) => events.push(event) })
    expect(again.results).toEqual(JSON.parse(JSON.stringify(results)))
    expect(events).toEqual([])

    // What says that all is done is not taken at its word where the rest of it is damaged.
    const file = path.join(out, 'results.json')
    await writeFile(file, JSON.stringify({ ...results, runs: [{ method: 7 }] }))
    await expect(resumeExperiment(out)).rejects.toMatchObject({
      code: 'ERR_BAD_DATA',
      message: expect.stringMatching(/results\.json: runs\[0\]\.method is 7/),
    })
  })

  it('whose folder holds no run is refused', async () => {
    const learner = path.join(await brokenOff(), 'learners/finetune/seed-42/task-1')
    await expect(resumeExperiment(learner)).rejects.toThrow(/has learner.json: it is a saved learner's/)
    await expect(resumeExperiment(path.join(learner, 'nowhere'))).rejects.toThrow(/nowhere is not there; name/)
    await expect(resumeExperiment(await temporaryFolder())).rejects.toMatchObject({
      code: 'ERR_DATA_NOT_FOUND',
      message: expect.stringMatching(/has no config.json, so it is not a run folder/),
    })
  })
})

test('a clock that jumps by years at every moment changes nothing', async () => {
  const parent = await temporaryFolder()
  const experiment = {
    ...brokenExperiment,
    methods: ['finetune' as const],
    checkpoints: { everySteps: 7, everyMinutes: 1 },
  }
  const checkpoints = async (name: string, jump: boolean) => {
    let written = 0
    let year = 2000
    await runExperiment(
      { ...experiment, out: path.join(parent, name) },
      {
        onEvent: ({ kind }) => {
          if (kind === 'checkpoint') written++
          year = 2000 + ((year + 37) % 80)
          if (jump) vi.setSystemTime(Date.UTC(year))
        },
      },
    )
    return written
  }
  const still = await checkpoints('still', false)
  vi.useFakeTimers({ toFake: ['Date'] })
  try {
    const jumping = await checkpoints('jumping', true)
    // Two tasks, each kept before and after its evaluation, and in the middle by steps; none by a minute that was none.
    for (const written of [still, jumping]) expect(written).toBeLessThanOrEqual(2 * (2 + Math.floor(30 / 7)))
  } finally {
    vi.useRealTimers()
  }
  await expectSameRuns(path.join(parent, 'jumping'), path.join(parent, 'still'))
})
