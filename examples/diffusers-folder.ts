// A diffusers model goes in, learns Fashion-MNIST, and comes out as one: Python opens the new folder with
// `UNet2DModel.from_pretrained('trained')`. `npx tsx examples/diffusers-folder.ts path/to/unet trained 1000`
import { fashionMnist, finetune, Learner, single } from 'continual-diffusion'

const [from, to = 'trained', steps = '1000'] = process.argv.slice(2)
if (from === undefined) throw new Error('name a folder with config.json and diffusion_pytorch_model.safetensors')

await using learner = await Learner.load(from)
const data = await fashionMnist({ subset: true, size: learner.unet.sample_size as number })
for (const task of single(data)) {
  const learning = learner.learn(task, finetune(), { steps: Number(steps), batchSize: 64 })
  for await (const { step, loss } of learning) console.log(step, loss)
}
await learner.save(to)
