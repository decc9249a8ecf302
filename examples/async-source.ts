// Data from an async iterable: whatever gives labelled images one after another becomes a data set. Here a generator draws them; it could
// also read a database, a queue, or an archive. `npx tsx examples/async-source.ts 1000`
import {
  classIncremental,
  finetune,
  fromAsyncIterable,
  type LabelledImage,
  Learner,
  presets,
  trainTest,
} from 'continual-diffusion'
import sharp from 'sharp'

/** White circles and squares of many sizes and places on black. */
async function* shapes(count: number, first: number): AsyncGenerator<LabelledImage> {
  for (let i = first; i < first + count; i++) {
    const [r, x, y] = [2 + (i % 3), 5 + ((i * 7) % 6), 5 + ((i * 5) % 6)]
    const [label, shape] =
      i % 2 === 0
        ? ['circle', `<circle cx="${x}" cy="${y}" r="${r}" fill="white"/>`]
        : ['square', `<rect x="${x - r}" y="${y - r}" width="${2 * r}" height="${2 * r}" fill="white"/>`]
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16">${shape}</svg>`
    const drawn = sharp(Buffer.from(svg)).flatten({ background: 'black' }).toColourspace('b-w')
    yield { image: await drawn.raw().toBuffer(), label }
  }
}

const [steps = '1000'] = process.argv.slice(2)
const shape = { classes: ['circle', 'square'], height: 16, width: 16, channels: 1 }
const train = await fromAsyncIterable(shapes(400, 0), { name: 'shapes/train', ...shape })
const test = await fromAsyncIterable(shapes(100, 400), { name: 'shapes/test', ...shape })
await using learner = await Learner.create({ unet: presets.demo, seed: 42 })
for (const task of classIncremental(trainTest(train, test), { tasks: 2 })) {
  const learning = learner.learn(task, finetune(), { steps: Number(steps), batchSize: 64, lr: 1e-3 })
  for await (const { step, loss } of learning) console.log(task.name, step, loss)
}
