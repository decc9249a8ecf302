import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { filesBelow, temporaryFolder } from './support/folders.js'
import { tinyUNet } from './support/tiny.js'

// The example's own text runs; what it imports is this package with fewer images and a smaller network.
vi.mock('continual-diffusion', async () => {
  const real = await import('../lib/index.js')
  return {
    ...real,
    presets: { fashionMnist: tinyUNet },
    fashionMnist: async () => {
      const { train, test } = await real.fashionMnist({ subset: true, size: tinyUNet.sample_size })
      return { train: firstOfEachClass(train, 4), test: firstOfEachClass(test, 4) }
    },
    evaluate: (...[learner, seen, metrics]: Parameters<typeof real.evaluate>) =>
      real.evaluate(learner, seen, metrics, { count: 20 }),
  }

  function firstOfEachClass(dataset: Awaited<ReturnType<typeof real.fashionMnist>>['train'], count: number) {
    const size = dataset.height * dataset.width * dataset.channels
    const taken = dataset.classes.flatMap((_, c) =>
      [...dataset.labels.keys()].filter((i) => dataset.labels[i] === c).slice(0, count),
    )
    const images = new Uint8Array(taken.length * size)
    taken.forEach((from, to) => {
      images.set(dataset.images.subarray(from * size, (from + 1) * size), to * size)
    })
    return real.fromArrays({ ...dataset, images, labels: taken.map((i) => dataset.labels[i]!) })
  }
})

test('the README shows the example as it is', async () => {
  const text = await readFile(new URL('../examples/first.ts', import.meta.url), 'utf8')
  const code = text.split('\n').filter((line) => !line.startsWith('//'))
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')
  expect(readme).toContain(code.join('\n'))
})

test('the first example runs as it stands', async () => {
  const folder = await temporaryFolder()
  const before = process.cwd()
  vi.stubEnv('XDG_CACHE_HOME', path.join(folder, 'cache'))
  const said: unknown[][] = []
  const log = vi.spyOn(console, 'log').mockImplementation((...values) => void said.push(values))
  process.chdir(folder)
  try {
    await import('../examples/first.js')
  } finally {
    process.chdir(before)
    log.mockRestore()
    vi.unstubAllEnvs()
  }
  const files = await filesBelow(path.join(folder, 'runs', 'first'))
  for (let k = 1; k <= 5; k++) expect(files).toContain(`task-${k}/diffusion_pytorch_model.safetensors`)
  const reports = said.filter(([name]) => typeof name === 'string' && name.includes(', '))
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
})
