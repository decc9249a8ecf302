// A task that comes later: another process loads the learner that own-images.ts saved, and has the images of the new classes alone. It
// learns them, keeps the old ones by generative distillation, and saves the learner for the task after this one.
// `npx tsx examples/next-task.ts own-images stars 1000`
import { writeFile } from 'node:fs/promises'
import { generativeDistillation, Learner, loadImageFolder, nextTask, trainTestSplit } from 'continual-diffusion'
import { imageGrid } from 'continual-diffusion/experiment'

const [saved = 'own-images', folder = 'stars', steps = '1000'] = process.argv.slice(2)
await using learner = await Learner.load(saved)
const { sample_size: size, in_channels } = learner.unet
const images = await loadImageFolder(folder, { size: size ?? 16, channels: in_channels === 3 ? 3 : 1 })
const task = nextTask(trainTestSplit(images, { test: 0.2, seed: 0 }), learner)
console.log(`task ${task.number}: ${task.name}, after ${task.earlier.map(({ name }) => name).join('; ')}`)

await learner.train(task, generativeDistillation({ lambda: 0.4 }), { steps: Number(steps), batchSize: 32, lr: 4e-3 })
await writeFile(`task-${task.number}.png`, await imageGrid(await learner.sample({ count: 36 })))
await learner.save(saved)
