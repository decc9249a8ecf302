// One model learns five tasks in turn. After each task its images are compared with the real images of all tasks so far.
// `npx tsx examples/first.ts` in a project that has continual-diffusion installed; as first.mjs, Node runs it too.
import {
  Classifier,
  classFrequencies,
  classIncremental,
  evaluate,
  fashionMnist,
  frechetDistance,
  generativeDistillation,
  Learner,
  presets,
} from 'continual-diffusion'

const data = await fashionMnist({ size: 32 })
const classifier = await Classifier.cached(data, { onProgress: console.log })
const stream = classIncremental(data, { tasks: 5, seed: 42 })
const method = generativeDistillation({ lambda: 0.75, teacher: { steps: 2 } })
const learner = await Learner.create({ unet: presets.fashionMnist, device: 'auto', seed: 42 })

try {
  for (const task of stream) {
    for await (const progress of learner.learn(task, method, { epochs: 100 })) console.log(progress)
    const metrics = [frechetDistance(classifier), classFrequencies(classifier)]
    const report = await evaluate(learner, stream.seen(task), metrics)
    console.log(task.name, report.values)
    await learner.save(`runs/first/task-${task.number}`)
  }
} finally {
  await learner.dispose()
}
