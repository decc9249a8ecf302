import { execFile } from 'node:child_process'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { tinyUNet } from './support/tiny.js'

const main = fileURLToPath(new URL('../dist/index.js', import.meta.url))

it('a prediction for one image is the work of one thread, beside which none of OpenMP spins', async () => {
  const code = `import { readdirSync, readFileSync } from 'node:fs'
    import { Learner } from ${JSON.stringify(main)}
    // Fields 14 and 15 of proc_pid_stat(5), counted behind the name, which ends at the bracket: ticks of the processor.
    const ticks = (id) => {
      const fields = readFileSync('/proc/self/task/' + id + '/stat', 'utf8').split(') ')[1].split(' ')
      return Number(fields[11]) + Number(fields[12])
    }
    const learner = await Learner.create({ unet: ${JSON.stringify(tinyUNet)}, device: 'cpu', precision: 'fp32' })
    const predict = () => learner.predict(new Float32Array(64), Int32Array.of(3))
    await predict()
    const before = new Map(readdirSync('/proc/self/task').map((id) => [id, ticks(id)]))
    for (let i = 0; i < 400; i++) await predict() // some tenths of a second: a tick is a hundredth
    console.log(JSON.stringify([...before].map(([id, then]) => ticks(id) - then)))
    await learner.dispose()`
  const env = { ...process.env, OMP_NUM_THREADS: '4' }
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], { env })
  const used = JSON.parse(stdout) as number[]
  expect(Math.max(...used), stdout).toBeGreaterThan(used.reduce((a, b) => a + b, 0) / 2)
})

it('as many threads as `threads` says compute, whatever OMP_NUM_THREADS says: in training, after loading and in a classifier', async () => {
  const code = (
    threads?: number,
  ) => `import { Classifier, finetune, fromArrays, Learner, single, trainTest } from ${JSON.stringify(main)}
    const images = Uint8Array.from({ length: 40 * 64 }, (_, i) => (i * 7919) % 251)
    const set = { images, labels: Array.from({ length: 40 }, (_, i) => i % 2), classes: ['a', 'b'], height: 8, width: 8, channels: 1 }
    const data = trainTest(fromArrays({ name: 'x/train', ...set }), fromArrays({ name: 'x/test', ...set }))
    const options = { device: 'cpu', precision: 'fp32', threads: ${threads} }
    const made = await Learner.create({ unet: ${JSON.stringify(tinyUNet)}, ...options })
    const folder = await mkdtemp(${JSON.stringify(`${tmpdir()}/threads-`)})
    await made.save(folder)
    const learner = await Learner.load(folder, options)
    await learner.train(single(data).tasks[0], finetune(), { steps: 3, batchSize: 8 })
    const classifier = await Classifier.train(data, { device: 'cpu', epochs: 2, threads: ${threads} })
    const { logits } = await classifier.classify({ data: images.slice(0, 64), count: 1, height: 8, width: 8, channels: 1 })
    console.log(JSON.stringify([...(await learner.predict(new Float32Array(64).fill(0.5), Int32Array.of(5))), ...logits]))
    await rm(folder, { recursive: true })`
  const numbers = async (environment: number, threads?: number) => {
    const env = { ...process.env, OMP_NUM_THREADS: String(environment) }
    const text = `import { mkdtemp, rm } from 'node:fs/promises'\n${code(threads)}`
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', text], { env })
    return JSON.parse(stdout) as number[]
  }
  const [one, two] = [await numbers(1), await numbers(1, 2)]
  expect(two.slice(0, 64)).not.toEqual(one.slice(0, 64)) // sums are added in another order
  expect(await numbers(2, 2)).toEqual(two)
  expect(await numbers(2, 1)).toEqual(one)
})
