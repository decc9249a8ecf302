import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { readExperiment } from '../lib/cli/experiment.js'
import { starter } from '../lib/cli/init.js'
import { experimentSchema, resolveExperiment } from '../lib/experiment/config.js'
import { loadData } from '../lib/experiment/data.js'
import { dataNames } from '../lib/experiment/data-names.js'
import { experimentJsonSchema } from '../lib/experiment/json-schema.js'
import { presetNames } from '../lib/experiment/presets.js'
import { classIncremental, loadImageFolder, trainTestSplit } from '../lib/index.js'
import { startCommand } from './support/child.js'
import { temporaryFolder } from './support/folders.js'
import { compile } from './support/processes.js'
import { bands, tinyUNet } from './support/tiny.js'
import { tinyExperiment } from './support/tiny-experiment.js'

beforeAll(compile, 120_000)

/** A folder of grey PNG images for each of three classes, each of a brightness of its own. */
async function writeShapes(folder: string, perClass = 20): Promise<void> {
  for (const [c, name] of ['circle', 'line', 'square'].entries()) {
    await mkdir(path.join(folder, name), { recursive: true })
    for (let i = 0; i < perClass; i++) {
      const pixels = Buffer.alloc(64, 20 + 80 * c + i)
      const image = sharp(pixels, { raw: { width: 8, height: 8, channels: 1 } })
      await image.png().toFile(path.join(folder, name, `${i}.png`))
    }
  }
}

const imageFolder = (folder: string, more: object = {}) =>
  resolveExperiment({ ...tinyExperiment, data: { name: 'image-folder', folder, ...more } }).data[0]!

it('a split has every image once, as many of each class, and is a function of the seed', () => {
  const all = bands('bands', 10)
  const pixelsOf = ({ images }: typeof all) =>
    Array.from({ length: images.length / 64 }, (_, i) =>
      Buffer.from(images.subarray(i * 64, i * 64 + 64)).toString('hex'),
    )
  const { train, test } = trainTestSplit(all, { test: 0.3, seed: 1 })
  expect([...pixelsOf(train), ...pixelsOf(test)].sort()).toEqual(pixelsOf(all).sort())
  expect(all.classes.map((_, c) => test.labels.filter((label) => label === c).length)).toEqual([3, 3, 3, 3])
  expect(trainTestSplit(all, { test: 0.3, seed: 1 }).test.images).toEqual(test.images)
  expect(trainTestSplit(all, { test: 0.3, seed: 2 }).test.images).not.toEqual(test.images)
  expect(trainTestSplit(all, { test: 0.001, seed: 1 }).test.labels).toHaveLength(4)
  expect(trainTestSplit(all)).toEqual(trainTestSplit(all, { test: 0.2, seed: 0 }))
  expect(() => classIncremental(all as never, { tasks: 2 })).toThrow(
    /join two .* by trainTest.* split one by trainTestSplit/,
  )
  expect(() => trainTestSplit(bands('few', 1), { test: 0.5, seed: 1 })).toThrow(
    /first has 1 image; expected at least 2/,
  )
})

it('options that are left out are named', async () => {
  await expect(loadImageFolder('x', undefined as never)).rejects.toThrow(
    /loadImageFolder: the value is missing; expected an object with size/,
  )
})

it('a folder of classes is split, and one with train/ and test/ is taken as it is', async () => {
  const folder = await temporaryFolder()
  await writeShapes(path.join(folder, 'whole'))
  await writeShapes(path.join(folder, 'parts', 'train'), 3)
  const load = (name: string, more: object = {}) => loadData(imageFolder(path.join(folder, name), more), tinyUNet)
  const { train, test } = await load('whole')
  expect([train.labels.length, test.labels.length, train.classes]).toEqual([48, 12, ['circle', 'line', 'square']])
  expect((await load('whole', { split: { test: 0.5 } })).test.labels).toHaveLength(30)
  await expect(load('parts')).rejects.toThrow(/parts\/test: can't be read/)
  await writeShapes(path.join(folder, 'parts', 'test'), 2)
  expect((await load('parts')).test.labels).toHaveLength(6)
})

it('colour that becomes grey is told of, where nobody asked for grey', async () => {
  const folder = await temporaryFolder()
  await writeShapes(folder, 2)
  const create = { width: 8, height: 8, channels: 3, background: '#f00' } as const
  await sharp({ create })
    .png()
    .toFile(path.join(folder, 'line', '-red.png'))
  const told: string[] = []
  const note = ({ message }: Error) => told.push(message)
  process.on('warning', note)
  onTestFinished(() => void process.off('warning', note))
  await loadData(imageFolder(folder), tinyUNet)
  await loadData(imageFolder(folder, { channels: 1 }), tinyUNet)
  await new Promise((resolve) => setImmediate(resolve))
  expect(told.filter((message) => /line.-red\.png is in colour: images become grey/.test(message))).toHaveLength(1)
})

describe('an experiment file', () => {
  it('has comments, and paths that are relative to it', async () => {
    const folder = await temporaryFolder()
    const file = path.join(folder, 'mine.jsonc')
    await writeFile(
      file,
      `{ // a comment, "quoted"
        "$schema": "https://example.org/x", /* two
        lines */ "preset": "demo", "title": "a // b /* c */ \\" // d", "out": "there",
        "evaluation": { "features": { "file": "features.pt" } },
        "data": [{ "name": "image-folder", "folder": "shapes" }, { "name": "idx", "folder": "/idx" }] }`,
    )
    expect(await readExperiment(file)).toMatchObject({
      title: 'a // b /* c */ " // d',
      out: path.join(folder, 'there'),
      evaluation: { features: { file: path.join(folder, 'features.pt') } },
      data: [{ folder: path.join(folder, 'shapes') }, { folder: '/idx' }],
    })
    await writeFile(file, '{ // a comment\n  "seeds": [1,, }')
    await expect(readExperiment(file)).rejects.toThrow(
      /mine\.jsonc is not JSON: line 2, column 17: found '}'; expected a value/,
    )
    await writeFile(file, '{ "seeds": [1, 2, /* two */ ], "title": "a,]", }')
    expect(await readExperiment(file)).toEqual({ seeds: [1, 2], title: 'a,]' })
    await writeFile(file, '{\r\n  "seeds": [1],\r\n  "seeds": [2]\r\n}')
    await expect(readExperiment(file)).rejects.toThrow(/line 3, column 3: the key "seeds" stands there a second time/)
  })

  it('that init writes is an experiment, with the schema that is shipped', async () => {
    const folder = await temporaryFolder()
    const written = await startCommand(folder, 'init').ended
    expect(written).toMatchObject({ status: 0, stdout: expect.stringMatching(/^experiment\.jsonc: /) })
    const input = (await readExperiment(path.join(folder, 'experiment.jsonc'))) as Record<string, unknown>
    expect(resolveExperiment(input as never)).toMatchObject({ seeds: [42], train: { steps: 400 } })
    const schema = JSON.parse(await readFile(path.resolve(folder, input.$schema as string), 'utf8'))
    expect(schema).toEqual(experimentJsonSchema())
    expect(Object.keys(schema.properties)).toEqual(expect.arrayContaining(Object.keys(input)))
    const again = await startCommand(folder, 'init').ended
    expect(again).toMatchObject({ status: 1, stderr: expect.stringMatching(/is there already/) })
  })

  it('may have what the JSON Schema has', () => {
    const { properties } = experimentJsonSchema() as { properties: Record<string, { enum?: string[] }> }
    const keys = Object.keys(experimentSchema.def.in.shape)
    expect(Object.keys(properties).sort()).toEqual(['$schema', 'preset', ...keys].sort())
    expect(properties.preset?.enum).toEqual(presetNames)
    expect(starter('x.json')).toContain('"$schema": "x.json"')
  })
})

describe('the command line', () => {
  it('runs on a folder of images', async () => {
    const folder = await temporaryFolder()
    await writeShapes(path.join(folder, 'shapes'))
    await writeFile(path.join(folder, 'tiny.json'), JSON.stringify(tinyExperiment))
    const words = ['tiny.json', '--data', 'image-folder', '--data-folder', 'shapes', '--tasks', '3', '-m', 'finetune']
    const ended = await startCommand(folder, 'run', ...words, '--channels', '3', '--size', '16', '--out', 'out').ended
    expect(ended).toMatchObject({ status: 0, stderr: expect.stringMatching(/48 training and 12 test images/) })
    const config = JSON.parse(await readFile(path.join(folder, 'out', 'config.json'), 'utf8'))
    expect(config.unet).toMatchObject({ in_channels: 3, out_channels: 3, sample_size: 16 })
    const results = JSON.parse(await readFile(path.join(folder, 'out', 'results.json'), 'utf8'))
    expect(results).toMatchObject({ title: 'Split shapes in three tasks', complete: true })
    expect(results.runs[0].tasks).toHaveLength(3)
    expect(results.runs[0].tasks[2].metrics.frechetDistance.reference).toBeGreaterThan(0)
  }, 120_000)

  it('lists the names of --data, and names options as they were typed', async () => {
    const folder = await temporaryFolder()
    const help = (await startCommand(folder, 'run', '--help').ended).stdout.replaceAll(/\s+/g, ' ')
    for (const name of dataNames) expect(help).toContain(`"${name}"`)
    const missing = await startCommand(folder, 'run', 'demo', '--data', 'image-folder').ended
    expect(missing.stderr).toMatch(/demo: --data-folder is missing/)
    const tasks = await startCommand(folder, 'run', 'demo', '--tasks', '3').ended
    expect(tasks.stderr).toMatch(/demo: --tasks is 3; expected/)
  })
})
