import { beforeAll, expect, it } from 'vitest'
import { compile, script } from './support/processes.js'
import { tinyUNet } from './support/tiny.js'

beforeAll(compile, 120_000)

/** `npm run leaks` does twenty times as much as every run of the tests. */
const full = process.env.LEAKS === 'full'

/** What resident memory may grow by, in MiB: allocators keep some of what they are given back. */
const bound = 24

const torchScript = new URL('./fixtures/torchscript/channels.pt', import.meta.url).pathname

const xt = 'new Float32Array(2 * 64)'

type Row = [what: string, times: number, prepare: string, body: string, limit?: number]

const rows: readonly Row[] = [
  [
    'training steps',
    20_000,
    'const learner = await tiny()',
    `await learner.step({ xt: ${xt}, timesteps, target: ${xt} })`,
  ],
  ['learners made, trained for a step and disposed', 2000, '', 'await oneStep(await tiny(i))'],
  [
    'TorchScript networks opened, asked and disposed',
    500,
    'const image = { data: new Uint8Array(48), count: 1, height: 4, width: 4, channels: 3 }',
    `const network = await TorchScriptFeatures.load(${JSON.stringify(torchScript)}, { size: 4, device: 'cpu' })
     await network.features({ ...image })
     await network.dispose()`,
  ],
  [
    'batches of samples',
    500,
    'const learner = await tiny()',
    'await learner.sample({ count: 16, sampler: { steps: 4 } })',
  ],
  ['aborted samples', 500, 'const learner = await tiny()', 'await abortedSample(learner)'],
]

/** How many of them wait for the garbage collector varies; test/processes.test.ts has this for large learners. */
const forgotten: Row = [
  'learners made, trained for a step and forgotten',
  2000,
  '',
  'await oneStep(await tiny(i), false)',
  64,
]

it.each<Row>(full ? [...rows, forgotten] : rows)(
  '%s leave no memory behind',
  async (what, times, prepare, body, limit = bound) => {
    const count = full ? times : times / 20
    const ended = await script(
      `
    const timesteps = Int32Array.of(5, 500)
    const tiny = (seed = 1) => Learner.create({ unet: ${JSON.stringify(tinyUNet)}, device: 'cpu', precision: 'fp32', seed })
    const oneStep = async (learner, dispose = true) => {
      await learner.step({ xt: ${xt}, timesteps, target: ${xt} })
      if (dispose) await learner.dispose()
    }
    const abortedSample = async (learner) => {
      const controller = new AbortController()
      const sampling = learner.sample({ count: 1e6, signal: controller.signal })
      setImmediate(() => controller.abort('enough'))
      await sampling.catch((reason) => { if (reason !== 'enough') throw reason })
    }
    const settled = async () => {
      for (let i = 0; i < 3; i++) {
        gc()
        await wait(20)
      }
      return process.memoryUsage().rss / 2 ** 20
    }
    ${prepare}
    const some = async (from, to) => {
      for (let i = from; i < to; i++) {
        ${body}
        if (i % 64 === 0) await wait(0) // lets V8 run finalizers
      }
    }
    // Caches, pools and heaps take their final size first.
    await some(0, ${Math.max(50, Math.round(count / 4))})
    const before = await settled()
    await some(0, ${count})
    console.log(JSON.stringify({ before, after: await settled() }))`,
      {},
      ['--expose-gc'],
    )
    expect(ended).toMatchObject({ code: 0, signal: null, stderr: '' })
    const { before, after } = JSON.parse(ended.stdout) as { before: number; after: number }
    if (full) console.log(`${count} ${what}: ${before.toFixed(1)} → ${after.toFixed(1)} MiB`)
    expect(after - before).toBeLessThan(limit)
  },
  full ? 3_600_000 : 120_000,
)
