// Images of your own: a folder that has a folder of images for each class, `<folder>/<class>/<image>`, in any format that sharp reads. A fifth
// of each class become test images, each task brings one class more, and a grid of samples shows what is known after it.
// `npx tsx examples/own-images.ts shapes 1000 16 3`: the folder, steps a task, side in pixels, channels
import { writeFile } from 'node:fs/promises'
import {
  classIncremental,
  generativeDistillation,
  Learner,
  loadImageFolder,
  presets,
  trainTestSplit,
} from 'continual-diffusion'
import { imageGrid } from 'continual-diffusion/experiment'

const [folder = 'shapes', steps = '1000', side = '16', channels = '1'] = process.argv.slice(2)
const images = await loadImageFolder(folder, { size: Number(side), channels: channels === '3' ? 3 : 1 })
const unet = { ...presets.demo, sample_size: Number(side), in_channels: images.channels, out_channels: images.channels }
const data = trainTestSplit(images, { test: 0.2, seed: 0 })
console.log(images.classes.join(', '), data.train.labels.length, 'training and', data.test.labels.length, 'test images')

await using learner = await Learner.create({ unet, ema: 0.99, seed: 42 })
for (const task of classIncremental(data, { tasks: images.classes.length, seed: 42 })) {
  await learner.train(task, generativeDistillation({ lambda: 0.4 }), { steps: Number(steps), batchSize: 32, lr: 4e-3 })
  await writeFile(`task-${task.number}.png`, await imageGrid(await learner.sample({ count: 36 })))
  console.log(`task-${task.number}.png: ${task.name}`)
}
await learner.save('own-images')
