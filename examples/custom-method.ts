// A method of your own, in ten lines: it maps a task number to a loss, a weighted sum of terms. Here the teacher's term weighs more at
// high noise levels, where images take shape, than at low ones. `npx tsx examples/custom-method.ts 1000`
import { classIncremental, fashionMnist, Learner, type Method, presets, type Term } from 'continual-diffusion'

const coarseToFine: Method = {
  name: 'coarse-to-fine',
  objective(k) {
    const source = { kind: 'teacher' } as const
    const task: Term = { source: { kind: 'task' }, target: 'data', weight: 1 / k }
    const high: Term = { source, target: 'teacher', timesteps: [500, 1000], weight: 1 - 1 / k }
    const low: Term = { source, target: 'teacher', timesteps: [0, 500], weight: 0.5 - 0.5 / k, loss: 'smooth-l1' }
    return { terms: k === 1 ? [task] : [task, high, low] }
  },
}

const [steps = '1000'] = process.argv.slice(2)
const stream = classIncremental(await fashionMnist({ subset: true, size: 16 }), { tasks: 5, seed: 42 })
await using learner = await Learner.create({ unet: presets.demo, seed: 42 })
for (const task of stream) {
  const learning = learner.learn(task, coarseToFine, { steps: Number(steps), batchSize: 64, lr: 1e-3 })
  for await (const { step, loss, terms } of learning) console.log(task.number, step, loss, terms)
}
