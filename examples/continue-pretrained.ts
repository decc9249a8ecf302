// A pretrained diffusers model goes on to a second domain, once by generative distillation from itself and once by finetuning. Its denoising
// loss on held-out images of both domains, before and after, tells what each method learned and forgot. Each folder of images holds
// train/<class>/<image> and test/<class>/<image>. The numbers at the end are training steps and a seed.
// `npx tsx examples/continue-pretrained.ts path/to/model path/to/old-images path/to/new-images 1000 42`
import { finetune, generativeDistillation, Learner, loadImageFolder, single, trainTest } from 'continual-diffusion'

const [model, oldFolder, newFolder, steps = '1000', seed = '0'] = process.argv.slice(2)
if (model === undefined || oldFolder === undefined || newFolder === undefined)
  throw new Error('name a model folder and two folders of images')

for (const method of [generativeDistillation(), finetune()]) {
  // The model counts as having learned one task, so that it is the teacher of the next.
  await using learner = await Learner.load(model, { learnedBefore: 1, seed: Number(seed) })
  const { sample_size: size, in_channels: channels } = learner.unet
  if (size === null) throw new Error(`${model} doesn't say how large its images are`)
  if (channels !== 1 && channels !== 3)
    throw new Error(`image files have 1 or 3 channels, the model's images ${channels}`)
  const load = (folder: string) => loadImageFolder(folder, { size, channels })
  const old = await load(`${oldFolder}/test`)
  const [task] = single(trainTest(await load(`${newFolder}/train`), await load(`${newFolder}/test`))).tasks
  if (task === undefined) throw new Error(`${newFolder} has no images`)

  const everyOld = { dataset: old, indices: Int32Array.from(old.labels.keys()) }
  const report = async (when: string) => {
    const options = { bands: 1, samples: 4, seed: 1 }
    const losses = [await learner.denoisingLoss(everyOld, options), await learner.denoisingLoss(task.test, options)]
    console.log(method.name, when, ...losses.map(([band]) => band?.loss.toFixed(4)))
  }
  await report('before')
  await learner.train(task, method, { steps: Number(steps), batchSize: 64 })
  await report('after')
  await learner.save(`continued/${method.name}`)
}
