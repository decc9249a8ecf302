import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from './support/folders.js'

const root = fileURLToPath(new URL('..', import.meta.url))

interface Ended {
  code: number | null
  signal: string | null
  stdout: string
  stderr: string
}

function run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, ...env } })
    const ended: Ended = { code: null, signal: null, stdout: '', stderr: '' }
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      ended.stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      ended.stderr += text
    })
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ ...ended, code, signal }))
  })
}

// The children run the package as it is published, so it must be that of these sources.
beforeAll(async () => {
  const { code, stderr } = await run([path.join(root, 'scripts', 'compile.mjs'), '--if-stale'])
  expect(stderr).not.toContain('error')
  expect(code).toBe(0)
}, 120_000)

/** What every script begins with: a learner whose steps take long enough to be interrupted, and its endless training. */
const prelude = `
import { Worker, isMainThread, parentPort } from 'node:worker_threads'
import { setTimeout as wait } from 'node:timers/promises'
import { classIncremental, finetune, fromArrays, Learner, presets, samplerStep } from ${JSON.stringify(pathToFileURL(path.join(root, 'dist', 'index.js')).href)}

const count = 256
const set = (name) => fromArrays({
  name,
  images: Uint8Array.from({ length: count * 256 }, (_, i) => (i * 7919) % 251),
  labels: Array.from({ length: count }, (_, i) => i % 2),
  classes: ['even', 'odd'],
  height: 16, width: 16, channels: 1,
})
const [task] = classIncremental({ train: set('x/train'), test: set('x/test') }, { tasks: 1 })
const create = (seed = 1) => Learner.create({ unet: presets.demo, device: 'cpu', precision: 'fp32', seed })
const learn = (learner, options) => learner.learn(task, finetune(), { steps: 1e6, batchSize: 64, ...options })
/** Resolves when training is under way, in the middle of a native call, whose promise it hands on. */
const start = async (learner, options) => {
  const training = learn(learner, options)
  await training.next()
  const pending = training.next()
  pending.catch(() => undefined)
  await wait(50)
  return { pending }
}
`

async function script(body: string, env?: NodeJS.ProcessEnv): Promise<Ended> {
  const file = path.join(await temporaryFolder(), 'script.mjs')
  await writeFile(file, prelude + body)
  return run([file], env)
}

describe('in the middle of a step', () => {
  it('process.exit() ends the process with its code', async () => {
    const ended = await script(`
      await start(await create())
      console.log('training')
      process.exit(7)`)
    expect(ended).toMatchObject({ code: 7, signal: null, stdout: 'training\n', stderr: '' })
  })

  it('an error that nobody catches ends the process with code 1 and its message', async () => {
    const ended = await script(`
      await start(await create())
      throw new Error('out of luck')`)
    expect(ended).toMatchObject({ code: 1, signal: null })
    expect(ended.stderr).toContain('Error: out of luck')
  })

  it('an abort rejects with its reason, and the learner goes on', async () => {
    const ended = await script(`
      const learner = await create()
      const controller = new AbortController()
      const { pending } = await start(learner, { signal: controller.signal })
      controller.abort('enough')
      console.log(await pending.catch(String))
      const before = learner.stepsDone
      for await (const _ of learn(learner, { steps: 2 }));
      console.log(learner.stepsDone - before, learner.tasksLearned)`)
    expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'enough\n2 1\n', stderr: '' })
  })

  it('worker.terminate() ends the worker, and the process goes on', async () => {
    const ended = await script(`
      if (isMainThread) {
        const worker = new Worker(new URL(import.meta.url))
        await new Promise((resolve) => worker.once('message', resolve))
        console.log('code', await worker.terminate())
        const learner = await create()
        const { value } = await learn(learner).next()
        console.log('step', value.step)
        await learner.dispose()
      } else {
        await start(await create())
        parentPort.postMessage('training')
        await wait(1e6)
      }`)
    expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'code 1\nstep 1\n', stderr: '' })
  })

  it('worker.terminate() at any moment between short calls leaves the process alive', async () => {
    const ended = await script(`
      if (isMainThread) {
        for (let i = 0; i < 25; i++) {
          const worker = new Worker(new URL(import.meta.url))
          await new Promise((resolve) => worker.once('message', resolve))
          await wait(Math.random() * 8)
          await worker.terminate()
        }
        console.log('alive')
      } else {
        const x = { data: new Float32Array(4), shape: [1, 1, 2, 2] }
        const step = () => samplerStep({ sample: x, prediction: x, timestep: 999, previous: 499 }).then(step)
        for (let i = 0; i < 32; i++) step()
        parentPort.postMessage('busy')
      }`)
    expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'alive\n', stderr: '' })
  })

  it('training is the same up to rounding on one thread and on three', async () => {
    const weights = `
      const learner = await create(3)
      for await (const _ of learn(learner, { steps: 3 }));
      const t = new Int32Array(4).fill(500)
      console.log(JSON.stringify([...(await learner.predict(new Float32Array(4 * 256).fill(0.5), t))]))
      await learner.dispose()`
    const [one, three] = await Promise.all([1, 3].map((n) => script(weights, { OMP_NUM_THREADS: String(n) })))
    const [a, b] = [JSON.parse(one?.stdout ?? ''), JSON.parse(three?.stdout ?? '')] as [number[], number[]]
    const largest = Math.max(...a.map(Math.abs))
    expect(largest).toBeGreaterThan(0)
    expect(a).not.toEqual(b) // sums are added in another order: three threads really split the batch
    expect(Math.max(...a.map((value, i) => Math.abs(value - (b[i] as number))))).toBeLessThan(1e-3 * largest)
  })

  it('an error in a worker ends that worker alone', async () => {
    const ended = await script(`
      if (isMainThread) {
        const learner = await create()
        const worker = new Worker(new URL(import.meta.url))
        const failed = new Promise((resolve) => worker.once('error', resolve))
        const { value } = await learn(learner).next()
        console.log((await failed).message, value.step)
      } else {
        await start(await create())
        throw new Error('out of luck')
      }`)
    expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'out of luck 1\n', stderr: '' })
  })

  it('dispose() lets the step end, and nothing crashes', async () => {
    const ended = await script(`
      const learner = await create()
      await start(learner)
      await learner.dispose()
      console.log(await learner.sample({ count: 1 }).catch((error) => error.code))`)
    expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'ERR_DISPOSED\n', stderr: '' })
  })
})

describe('the package', () => {
  it('has its experiments and pictures in a part of their own', async () => {
    const code = `
      const whole = await import('continual-diffusion')
      const { imageGrid, runExperiment } = await import('continual-diffusion/experiment')
      console.log(typeof imageGrid, typeof runExperiment, 'runExperiment' in whole)`
    const ended = await run(['--input-type=module', '-e', code])
    expect(ended).toMatchObject({ code: 0, stdout: 'function function false\n' })
  })
})

describe('a process', () => {
  it('ends by itself when nothing is under way, also with a learner that was not disposed', async () => {
    const ended = await script(`
      const learner = await create()
      await learn(learner).next()
      console.log('done')`)
    expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'done\n', stderr: '' })
  })

  it('lives until what is under way has come back', async () => {
    const ended = await script(`
      const learner = await create()
      learner.sample({ count: 32 }).then(({ count }) => console.log(count))`)
    expect(ended).toMatchObject({ code: 0, signal: null, stdout: '32\n', stderr: '' })
  })

  it('has a free event loop while it trains', async () => {
    const ended = await script(`
      const learner = await create()
      let ticks = 0
      let over = false
      const tick = () => {
        ticks++
        if (!over) setImmediate(tick)
      }
      setImmediate(tick)
      await learn(learner, { steps: 1, batchSize: 256 }).next()
      over = true
      console.log(ticks > 100)`)
    expect(ended).toMatchObject({ code: 0, stdout: 'true\n', stderr: '' })
  })

  it('may train two learners at once, here and in a worker, each as if it were alone', async () => {
    const ended = await script(`
      const trained = async (seed) => {
        const learner = await create(seed)
        for await (const _ of learn(learner, { steps: 4 }));
        const { data } = await learner.sample({ count: 2 })
        await learner.dispose()
        return Buffer.from(data).toString('hex')
      }
      if (isMainThread) {
        const alone = [await trained(1), await trained(2)]
        const worker = new Worker(new URL(import.meta.url))
        const elsewhere = new Promise((resolve) => worker.once('message', resolve))
        const together = await Promise.all([trained(1), trained(2)])
        console.log(alone[0] !== alone[1], together.join() === alone.join(), (await elsewhere) === alone[0])
      } else {
        parentPort.postMessage(await trained(1))
      }`)
    expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'true true true\n', stderr: '' })
  })

  it.each([
    ['at dispose()', 'await learner.dispose()', 5],
    // V8 is told how large a learner is, so that it collects forgotten ones before they fill the memory.
    ['of learners that were forgotten', '', 2],
  ])('gives memory back %s', async (_, end, fraction) => {
    const ended = await script(`
      const resident = () => process.memoryUsage().rss
      await (await create()).dispose()
      const before = resident()
      let all = 0
      let most = 0
      for (let i = 0; i < 30; i++) {
        const learner = await create(i)
        // Weights, gradient and Adam's two averages, in float32.
        all += 4 * 4 * learner.parameterCount
        ${end}
        await wait(1)
        most = Math.max(most, resident() - before)
      }
      console.log(most < all / ${fraction})`)
    expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'true\n', stderr: '' })
  })
})
