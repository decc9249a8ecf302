import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { toDiffusersConfig } from '../lib/config/unet.js'
import { fromIdx } from '../lib/data/load-idx.js'
import { loadAddon } from '../lib/engine/load.js'
import { type ExperimentInput, resolveExperiment } from '../lib/experiment/config.js'
import { compareRuns, writeReport } from '../lib/experiment/report.js'
import { resumeExperiment } from '../lib/experiment/run.js'
import { parseSafetensors, writeSafetensors } from '../lib/files/safetensors.js'
import { kernelDistance, Learner, TorchScriptFeatures } from '../lib/index.js'
import type { Results } from '../lib/report/results.js'
import { temporaryFolder } from './support/folders.js'
import { madeUpResults } from './support/results.js'
import { failure, tinyLearner, tinyUNet } from './support/tiny.js'

// What a file says of itself; test/fuzz.test.ts tries what nobody thought of.

/** Highest resident memory that this process has had, in bytes. */
const peak = () => process.resourceUsage().maxRSS * 1024

/** Lists in lists. */
const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)])

describe('sizes are checked before memory is taken', () => {
  const tensor = { dtype: 'U8', shape: [2 ** 30, 2 ** 30], data_offsets: [0, 2 ** 52] }
  it.each([
    ['header', 2n ** 60n, '{}', /a header of 11529215046068\d+/],
    [
      'tensor',
      100n,
      JSON.stringify({ x: tensor }).padEnd(100),
      /has 4503599627370496 bytes; expected 11529215046068\d+/,
    ],
  ])('a safetensors file with a %s of 2^60 bytes', async (_, length, header, message) => {
    const bytes = Buffer.concat([Buffer.alloc(8), Buffer.from(header), Buffer.alloc(92)])
    bytes.writeBigUInt64LE(length)
    const reads: number[] = []
    const error = await failure(
      parseSafetensors('file', bytes.length, async (position, size) => {
        reads.push(size)
        return new Uint8Array(bytes.subarray(position, position + size)).buffer
      }),
    )
    expect(error).toMatchObject({ code: 'ERR_BAD_CHECKPOINT', message: expect.stringMatching(message) })
    expect(Math.max(...reads)).toBeLessThanOrEqual(bytes.length)
  })

  it('a model folder whose config.json describes another network than its weights', async () => {
    const folder = await temporaryFolder()
    const huge = {
      ...tinyUNet,
      block_out_channels: [32768, 65536],
      down_block_types: ['AttnDownBlock2D', 'AttnDownBlock2D'],
      up_block_types: ['AttnUpBlock2D', 'AttnUpBlock2D'],
      layers_per_block: 64,
    } as const
    const numbers = loadAddon()
      .unetParameters(huge)
      .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0)
    expect(numbers).toBeGreaterThan(2 ** 40)
    await writeFile(path.join(folder, 'config.json'), JSON.stringify(toDiffusersConfig(huge)))
    const few = new Map([['conv_in.bias', { dtype: 'F32', shape: [32768], data: new Float32Array(32768) } as const]])
    await writeSafetensors(path.join(folder, 'diffusion_pytorch_model.safetensors'), few)
    const before = peak()
    const error = await failure(Learner.load(folder, { device: 'cpu' }))
    expect(error).toMatchObject({
      code: 'ERR_BAD_CHECKPOINT',
      message: expect.stringMatching(/missing tensors 'conv_in.weight', .* and \d+ more; expected exactly/),
    })
    expect(peak() - before).toBeLessThan(2 ** 26)
  })

  it('numbers in learner.json', async () => {
    const learner = await tinyLearner()
    for (const [change, message] of [
      [{ penalties: [{ name: 'ewc', shape: 'diagonal', parts: 2 ** 40 }] }, /penalties\[0\].parts is 1099511627776/],
      [{ memory: [{ name: 'x', classes: ['a'], size: 2 ** 40 }] }, /memory\[0\].size is 1099511627776/],
      [{ step: 2 ** 50 }, /step is 1125899906842624/],
      // Saving it again would fill the stack.
      [
        { taskInProgress: { task: 1, step: 1, steps: 2, settings: { x: nested(200) } } },
        /taskInProgress.settings is .*; expected at most 100 levels/,
      ],
      // Training goes on from these two; the order of the images would be looked up at a negative place.
      [{ step: 1, optimizerStep: 2 }, /optimizerStep is 2; expected at most step/],
    ] as const) {
      const folder = path.join(await temporaryFolder(), 'learner')
      await learner.save(folder)
      const file = path.join(folder, 'learner.json')
      await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), ...change }))
      const error = await failure(Learner.load(folder, { device: 'cpu' }))
      expect(error).toMatchObject({ code: 'ERR_BAD_CHECKPOINT', message: expect.stringMatching(message) })
    }
  })

  it.each([
    [[2, 0, 4], /images: the shape is 2 × 0 × 4/],
    [[2, 1, 1, 17], /images: the shape is 2 × 1 × 1 × 17/],
  ])('an IDX file of the shape %j', (shape, message) => {
    const images = { shape, data: new Uint8Array(shape.reduce((a, b) => a * b)) }
    const part = { images, labels: { shape: [2], data: Uint8Array.of(0, 0) }, file: 'images' }
    expect(() => fromIdx({ name: 'x', train: part, test: part })).toThrow(
      expect.objectContaining({ code: 'ERR_BAD_DATA', message: expect.stringMatching(message) }),
    )
  })
})

describe('a run folder of somebody else', () => {
  async function runFolder(change: (results: Results) => unknown = (results) => results): Promise<string> {
    const folder = path.join(await temporaryFolder(), 'run')
    await mkdir(folder)
    const results = madeUpResults()
    await writeFile(path.join(folder, 'config.json'), JSON.stringify({ methods: [], seeds: [] }))
    await writeFile(path.join(folder, 'results.json'), JSON.stringify(change(results)))
    return folder
  }

  /** The results with other things said of the first run's first task. */
  const withTask =
    (fields: object) =>
    (results: Results): unknown => {
      const [run, ...runs] = results.runs
      const [task, ...tasks] = run!.tasks
      return { ...results, runs: [{ ...run, tasks: [{ ...task, ...fields }, ...tasks] }, ...runs] }
    }

  it.each(['../secret', 'samples/../../secret', '/etc/passwd', '..'])('can not name %s as a picture', async (file) => {
    const folder = await runFolder(withTask({ samples: file }))
    await writeFile(path.join(folder, '..', 'secret'), 'a secret')
    expect(await failure(writeReport(folder))).toMatchObject({
      code: 'ERR_BAD_DATA',
      message: expect.stringMatching(
        /runs\[0\].tasks\[0\].samples is .*; expected a path that stays in the run folder/,
      ),
    })
  })

  const picture = 'samples/finetune/seed-42/task-1.png'
  it.each([picture, 'samples/finetune', 'samples'])('can not show a secret that %s links to', async (link) => {
    const folder = await runFolder()
    const outside = path.join(folder, '..', 'outside')
    await mkdir(path.join(outside, path.dirname(picture)), { recursive: true })
    await writeFile(path.join(outside, picture), 'a secret')
    await mkdir(path.join(folder, path.dirname(link)), { recursive: true })
    await symlink(path.join(outside, link), path.join(folder, link))
    expect(await failure(writeReport(folder))).toMatchObject({
      code: 'ERR_BAD_DATA',
      message: expect.stringContaining(`${path.join(folder, picture)} is a symbolic link, or is reached through one`),
    })
  })

  it.each(['report.html', 'run.lock', 'metrics.jsonl'])(
    'can not have a file overwritten that its %s links to',
    async (link) => {
      const folder = await runFolder((results) => ({ ...results, runs: [] }))
      const outside = path.join(folder, '..', 'outside')
      await writeFile(outside, 'mine')
      await symlink(outside, path.join(folder, link))
      const error = await failure(link === 'report.html' ? writeReport(folder) : resumeExperiment(folder))
      expect(error.message).toContain(path.join(folder, link))
      expect(error.code).toBe(link === 'run.lock' ? 'ERR_WRITE_FAILED' : 'ERR_BAD_DATA')
      expect(await readFile(outside, 'utf8')).toBe('mine')
    },
  )

  it('gets its page where pictures are gone, and none where one is something else', async () => {
    const folder = await runFolder()
    expect(await readFile(await writeReport(folder), 'utf8')).toContain('Samples of seed 42')
    await mkdir(path.join(folder, 'samples/finetune/seed-42/task-1.png'), { recursive: true })
    expect(await failure(writeReport(folder))).toMatchObject({
      code: 'ERR_DATA_NOT_FOUND',
      message: expect.stringMatching(/run\/samples\/finetune\/seed-42\/task-1.png can't be read: EISDIR/),
    })
  })

  it.each<[string, (results: Results) => unknown, RegExp]>([
    ['no number of parameters', ({ parameters: _, ...rest }) => rest, /parameters is missing; expected a number/],
    [
      'a method that is null',
      (results) => ({ ...results, methods: [null] }),
      /methods\[0\] is null; expected an object/,
    ],
    ['a task without times', withTask({ seconds: undefined }), /tasks\[0\].seconds is missing; expected an object/],
    ['a metric that is text', withTask({ metrics: { x: 'y' } }), /tasks\[0\].metrics.x is 'y'; expected an object/],
    ['a task out of its place', withTask({ task: 2 ** 31 }), /tasks\[0\].task is 2147483648; expected 1/],
    ['too few single tasks', withTask({ alone: [] }), /tasks\[0\].alone is \[\]; expected 1 elements/],
  ])('with %s in its results.json is refused by the field', async (_, change, message) => {
    const folder = await runFolder(change)
    for (const read of [() => writeReport(folder), () => compareRuns([folder])]) {
      const error = await failure(read())
      expect(error.code).toBe('ERR_BAD_DATA')
      expect(error.message).toMatch(message)
      expect(error.message).toContain(path.join(folder, 'results.json'))
    }
  })

  it('whose first task is not evaluated yet is told from no run', async () => {
    const folder = await runFolder()
    await rm(path.join(folder, 'results.json'))
    const error = await failure(compareRuns([folder]))
    expect(error.code).toBe('ERR_DATA_NOT_FOUND')
    expect(error.message).toMatch(/results.json is not there: no task of the run is evaluated yet/)
  })

  it('takes a number that is not finite, which JSON has no word for, as one that could not be measured', async () => {
    const metrics = { frechetDistance: { value: Number.NaN, real: 1, generated: 1 } }
    const { results } = await compareRuns([await runFolder(withTask({ metrics }))])
    expect(results.runs[0]!.tasks[0]!.metrics).toEqual({ frechetDistance: { ...metrics.frechetDistance, value: null } })
  })

  const deep = `{"methods": [], "seeds": [], "data": ${'['.repeat(20_000)}${']'.repeat(20_000)}}`
  it.each<[string, string | undefined, RegExp]>([
    ['config.json', 'null', /the value is null; expected an object/],
    ['config.json', '{"seeds": []}', /methods is missing; expected a list/],
    ['config.json', '{"methods": [{}], "seeds": []}', /methods\[0\].label is missing; expected a string/],
    ['config.json', deep, /expected at most 100 levels of nesting/],
    ['metrics.jsonl', '{}\n', /line 1: kind is missing; expected a string/],
    ['metrics.jsonl', undefined, /can't be read: EISDIR/],
  ])('with a damaged %s is refused (%#)', async (name, text, message) => {
    const folder = await runFolder()
    const file = path.join(folder, name)
    await (text === undefined ? mkdir(file) : writeFile(file, text))
    const error = await failure(compareRuns([folder, await runFolder()]))
    expect(error.code).toBe(text === undefined ? 'ERR_DATA_NOT_FOUND' : 'ERR_BAD_DATA')
    expect(error.message).toMatch(message)
    expect(error.message).toContain(file)
  })
})

it('a configuration that is nested too deeply to be written out is refused, and not by a full stack', () => {
  const deep: unknown = JSON.parse(`${'['.repeat(20_000)}${']'.repeat(20_000)}`)
  for (const input of [deep, { preset: 'demo', methods: deep }, { preset: 'demo', evaluation: { metrics: [deep] } }]) {
    expect(() => resolveExperiment(input as ExperimentInput)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }),
    )
  }
})

it('an unknown key is named, however long, in a short message', () => {
  const keys = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`${i}${'x'.repeat(100_000)}`, 1]))
  expect(() => resolveExperiment({ preset: 'demo', ...keys } as ExperimentInput)).toThrow(
    expect.objectContaining({
      message: expect.stringMatching(/^experiment: unknown option '0xxx.{0,8000}and 980 more$/),
    }),
  )
})

describe('arrays that are changed or given away while the engine reads them', () => {
  /** Hands the array's memory on and overwrites it there, as a worker that gets it by postMessage may. */
  function giveAway(array: Float32Array | Uint8Array): void {
    const there = structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] })
    new Uint8Array(there).fill(255)
  }

  it('the features that an extractor gave', async () => {
    const images = () => ({ data: new Uint8Array(200), count: 200, height: 1, width: 1, channels: 1 })
    const distance = async (then: (rows: Float32Array) => void) => {
      const given: Float32Array[] = []
      const extractor = {
        name: 'given away',
        dimension: 64,
        features: async () => {
          const rows = Float32Array.from({ length: 200 * 64 }, (_, i) => Math.sin(i) / (given.length + 1))
          given.push(rows)
          return rows
        },
      }
      const run = kernelDistance(extractor).start()
      await run.add(images(), 'real')
      await run.add(images(), 'generated')
      const pending = run.finish()
      for (const rows of given) then(rows)
      return { ...(await pending), lengths: given.map(({ length }) => length) }
    }
    const { value } = await distance(() => {})
    expect(value).toBeGreaterThan(0)
    expect(await distance(giveAway)).toMatchObject({ value, lengths: [0, 0] })
  })

  it('the images for a network of the user’s', async () => {
    const file = fileURLToPath(new URL('./fixtures/torchscript/channels.pt', import.meta.url))
    const network = await TorchScriptFeatures.load(file, { size: 4, device: 'cpu' })
    onTestFinished(() => network.dispose())
    const images = () => ({
      data: Uint8Array.from({ length: 64 * 48 }, (_, i) => i % 256),
      count: 64,
      height: 4,
      width: 4,
      channels: 3,
    })
    const expected = await network.features(images())
    const given = images()
    const pending = network.features(given)
    giveAway(given.data)
    expect(await pending).toEqual(expected)
  })
})
