import { beforeAll, describe, expect, it } from 'vitest'
import { compile, run, script } from './support/processes.js'

beforeAll(compile, 120_000)

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
        const learner = await create()
        const x = new Float32Array(256)
        const step = () => learner.predict(x, Int32Array.of(999)).then(step)
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

/** Calls that keep the engine busy: for long, or until the process may end. */
const busy = {
  learn: {
    long: '(async () => { for await (const _ of learn(learner)); })()',
    short: 'learn(learner, { steps: 1 }).next()',
  },
  sample: { long: 'learner.sample({ count: 1e6 })', short: 'learner.sample({ count: 16 })' },
  denoisingLoss: {
    long: 'learner.denoisingLoss(task.test, { samples: 1e6 })',
    short: 'learner.denoisingLoss(task.test)',
  },
} as const

/** How a process ends, after `long` or `short` was begun, and how it looks from outside. */
const ends = [
  ['normally', 'short', '', { code: 0, stdout: 'came back\n', stderr: '' }],
  ['by process.exit()', 'long', 'process.exit(7)', { code: 7, stdout: '', stderr: '' }],
  ['by an error', 'long', "throw new Error('out of luck')", { code: 1, stdout: '' }],
  ['by a rejection that nobody handles', 'long', "Promise.reject(new Error('out of luck'))", { code: 1, stdout: '' }],
  ['by SIGTERM', 'long', "process.kill(process.pid, 'SIGTERM')", { code: null, signal: 'SIGTERM', stderr: '' }],
  [
    'by SIGTERM, handled',
    'long',
    "process.on('SIGTERM', () => process.exit(143)); process.kill(process.pid, 'SIGTERM')",
    { code: 143, stdout: '', stderr: '' },
  ],
] as const

describe.each(Object.keys(busy) as (keyof typeof busy)[])('while %s() is under way', (work) => {
  it.each(ends)('a process ends %s', async (_, length, end, expected) => {
    const ended = await script(`
      const learner = await create()
      ;${busy[work][length]}.then(() => console.log('came back'))
      await wait(${length === 'long' ? 100 : 0})
      ${end}`)
    expect(ended).toMatchObject({ signal: null, ...expected })
    if (end.includes('out of luck')) expect(ended.stderr).toContain('Error: out of luck')
  })

  it('a worker ends by terminate(), and the process goes on', async () => {
    const ended = await script(`
      if (isMainThread) {
        const worker = new Worker(new URL(import.meta.url))
        await new Promise((resolve) => worker.once('message', resolve))
        console.log('code', await worker.terminate())
        console.log(await (await create()).sample({ count: 1 }).then(({ count }) => count))
      } else {
        const learner = await create()
        ;${busy[work].long}
        await wait(100)
        parentPort.postMessage('busy')
        await wait(1e6)
      }`)
    expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'code 1\n1\n', stderr: '' })
  })
})

it('eight workers at once learn, each as if it were alone, and end by terminate() in the middle of a step', async () => {
  const ended = await script(`
    if (isMainThread) {
      const workers = Array.from({ length: 8 }, () => new Worker(new URL(import.meta.url)))
      const said = (worker) => new Promise((resolve) => worker.once('message', resolve))
      const samples = await Promise.all(workers.map(said))
      console.log(new Set(samples).size, samples[0].length)
      await wait(100)
      console.log(new Set(await Promise.all(workers.map((worker) => worker.terminate()))).size)
    } else {
      const learner = await create()
      for await (const _ of learn(learner, { steps: 2, batchSize: 8 }));
      const { data } = await learner.sample({ count: 1 })
      await start(learner)
      parentPort.postMessage(Buffer.from(data).toString('hex'))
      await wait(1e6)
    }`)
  expect(ended).toMatchObject({ code: 0, signal: null, stdout: '1 512\n1\n', stderr: '' })
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

it('a learn whose generator the program has dropped does not block the next one for good', async () => {
  const ended = await script(
    `
    const learner = await create()
    const drop = async () => void (await learn(learner).next())
    await drop()
    for (let i = 0; i < 100; i++) {
      gc()
      await wait(10)
      const said = await learn(learner, { steps: 1 }).next().then(() => 'learns again', ({ message }) => message)
      if (/already learning a task.*return\\(\\)/.test(said)) continue
      console.log(said)
      break
    }
    process.exit()`,
    {},
    ['--expose-gc'],
  )
  expect(ended).toMatchObject({ stdout: 'learns again\n', stderr: '' })
})
