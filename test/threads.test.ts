import { execFile } from 'node:child_process'
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
    for (let i = 0; i < 40; i++) await predict()
    console.log(JSON.stringify([...before].map(([id, then]) => ticks(id) - then)))
    await learner.dispose()`
  const env = { ...process.env, OMP_NUM_THREADS: '4' }
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], { env })
  const used = JSON.parse(stdout) as number[]
  expect(Math.max(...used), stdout).toBeGreaterThan(used.reduce((a, b) => a + b, 0) / 2)
})
