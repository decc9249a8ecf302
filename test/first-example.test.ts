import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeAll, expect, test } from 'vitest'
import { filesBelow, temporaryFolder } from './support/folders.js'
import { tinyUNet } from './support/tiny.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const execute = promisify(execFile)

// The example runs as a program, with the package as it is published, so it must be that of these sources.
beforeAll(async () => {
  await execute(process.execPath, [path.join(root, 'scripts', 'compile.mjs'), '--if-stale'])
}, 120_000)

/** What the example imports: this package with fewer images and a smaller network. What it logs is JSON. */
const standIn = `
import * as real from ${JSON.stringify(path.join(root, 'dist/index.js'))}
export * from ${JSON.stringify(path.join(root, 'dist/index.js'))}

console.log = (...values) => void process.stdout.write(JSON.stringify(values) + '\\n')
const unet = ${JSON.stringify(tinyUNet)}
export const presets = { fashionMnist: unet }
export const fashionMnist = async () => {
  const { train, test } = await real.fashionMnist({ subset: true, size: unet.sample_size })
  return { train: firstOfEachClass(train, 4), test: firstOfEachClass(test, 4) }
}
export const evaluate = (learner, seen, metrics) => real.evaluate(learner, seen, metrics, { count: 20 })

function firstOfEachClass(dataset, count) {
  const size = dataset.height * dataset.width * dataset.channels
  const indices = [...dataset.labels.keys()]
  const taken = dataset.classes.flatMap((_, c) => indices.filter((i) => dataset.labels[i] === c).slice(0, count))
  const images = new Uint8Array(taken.length * size)
  taken.forEach((from, to) => images.set(dataset.images.subarray(from * size, (from + 1) * size), to * size))
  return real.fromArrays({ ...dataset, images, labels: taken.map((i) => dataset.labels[i]) })
}
`

async function firstExample(): Promise<string> {
  const readme = await readFile(path.join(root, 'README.md'), 'utf8')
  return /^## First example\n+```ts\n([\s\S]*?)^```/m.exec(readme)?.[1] ?? ''
}

test('the README shows the example as it is', async () => {
  const text = await readFile(path.join(root, 'examples/first.ts'), 'utf8')
  expect(await firstExample()).toBe(text.replaceAll(/^\/\/.*\n/gm, ''))
})

test('the first example runs as it stands, as plain JavaScript', async () => {
  const folder = await temporaryFolder()
  const installed = path.join(folder, 'node_modules', 'continual-diffusion')
  await mkdir(installed, { recursive: true })
  await writeFile(path.join(installed, 'package.json'), '{"type":"module","exports":"./index.js"}')
  await writeFile(path.join(installed, 'index.js'), standIn)
  await writeFile(path.join(folder, 'first.mjs'), await firstExample())
  const env = { ...process.env, XDG_CACHE_HOME: path.join(folder, 'cache') }
  const { stdout } = await execute(process.execPath, ['first.mjs'], { cwd: folder, env, maxBuffer: 2 ** 26 })

  const files = await filesBelow(path.join(folder, 'runs', 'first'))
  for (let k = 1; k <= 5; k++) expect(files).toContain(`task-${k}/diffusion_pytorch_model.safetensors`)
  const said = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown[])
  const reports = said.filter(([name]) => typeof name === 'string')
  expect(reports.map(([name]) => name)).toEqual([
    'Pullover, Shirt',
    'Trouser, Bag',
    'Coat, Sandal',
    'T-shirt/top, Ankle boot',
    'Dress, Sneaker',
  ])
  for (const [, values] of reports) {
    expect(values).toMatchObject({
      frechetDistance: { generated: 20, value: expect.any(Number) },
      classFrequencies: { generated: 20, value: expect.any(Number) },
    })
  }
}, 120_000)
