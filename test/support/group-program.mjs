// @ts-nocheck: plain JavaScript, as users write it
// What test/group.test.ts runs with several numbers of processes: prints as JSON the losses of each method's second task, what was
// sampled, and how it was evaluated.
import { createHash } from 'node:crypto'
import {
  Classifier,
  classIncremental,
  evaluate,
  ewc,
  experienceReplay,
  finetune,
  frechetDistance,
  fromArrays,
  Group,
  generativeDistillation,
  generativeReplay,
  Learner,
  lwfDistillation,
  partialGenerationDistillation,
  rankOneEwc,
  symmetricGaussianDistillation,
  synapticIntelligence,
} from '../../dist/index.js'

const size = 8
const bands = (name, count) =>
  fromArrays({
    name,
    labels: Array.from({ length: count }, (_, i) => i % 4),
    classes: ['first', 'second', 'third', 'fourth'],
    images: Uint8Array.from({ length: count * size * size }, (_, at) => {
      const [i, y] = [Math.floor(at / size / size), Math.floor(at / size) % size]
      return (Math.floor((y * 4) / size) === i % 4 ? 180 : 20) + ((at * 31) % 50)
    }),
    ...{ height: size, width: size, channels: 1 },
  })
const data = { train: bands('bands/train', 96), test: bands('bands/test', 32) }
const stream = classIncremental(data, { tasks: 2 })
const unet = {
  ...{ sample_size: size, in_channels: 1, out_channels: 1, block_out_channels: [8, 16], layers_per_block: 1 },
  ...{ down_block_types: ['DownBlock2D', 'AttnDownBlock2D'], up_block_types: ['AttnUpBlock2D', 'UpBlock2D'] },
  ...{ norm_num_groups: 4, attention_head_dim: 8 },
}
const conditional = { ...unet, class_embed_type: null, num_class_embeds: 5 }

const batchSize = 8
const stepsOf = ({ number }) => (number === 1 ? 4 : 20)
const teacher = { steps: 2 }
/** The method, and what the learner and its training have besides. */
const cases = {
  finetune: [finetune(), {}, { lrSchedule: 'cosine', clipGradNorm: 0.5 }],
  // Three processes have three, three and two images, and with these batches of two one has none.
  'small batch': [generativeReplay({ teacher }), {}, { batchSize: 2 }],
  accumulate: [generativeReplay({ teacher }), {}, { batchSize: 3, accumulate: 3 }],
  'experience replay': [experienceReplay({ size: 20 }), {}, {}],
  'generative distillation': [generativeDistillation({ teacher }), { ema: 0.9 }, { horizontalFlip: true }],
  'replay pool': [generativeDistillation({ teacher, pool: { images: 150, classes: 'as-generated' } }), {}, {}],
  'even pool': [generativeDistillation({ teacher, pool: { images: 150, classes: 'even' } }), {}, { even: true }],
  'partial generation': [partialGenerationDistillation({ teacher }), {}, {}],
  'pool of stopped images': [partialGenerationDistillation({ teacher, pool: { images: 150 } }), {}, {}],
  'gaussian distillation': [symmetricGaussianDistillation(), {}, {}],
  'lwf distillation': [lwfDistillation(), {}, {}],
  ewc: [ewc({ samples: 7 }), {}, {}],
  'rank-1 ewc': [rankOneEwc({ samples: 7, factor: 'optimal' }), {}, {}],
  'synaptic intelligence': [synapticIntelligence(), {}, {}],
  labels: [
    generativeDistillation({ teacher }),
    { unet: conditional, sampler: { guidance: { scale: 2 } } },
    { labelDropout: 0.2 },
  ],
}

const group = await Group.fromEnvironment({ gradients: process.argv[2] ?? 'fp32' })
const common = { device: 'cpu', precision: 'fp32', seed: 1, group }

const losses = {}
for (const [name, [method, learning, training]] of Object.entries(cases)) {
  const learner = await Learner.create({ unet, ...common, ...learning })
  const { even, ...others } = training
  const classify = async ({ count }) => ({ logits: Float32Array.from({ length: count * 4 }, (_, i) => (i * 7) % 5) })
  const classifier = even ? { classes: data.train.classes, classify } : undefined
  losses[name] = []
  const onStep = ({ loss, terms }) => losses[name].push([loss, ...terms])
  for (const task of stream)
    await learner.train(task, method, {
      steps: stepsOf(task),
      batchSize,
      ...others,
      onStep,
      ...(classifier && { classifier }),
    })
  await learner.dispose()
}

const fresh = await Learner.create({ unet, ...common })
const hash = ({ data }) => createHash('sha256').update(data).digest('hex')
const images = [
  hash(await fresh.sample({ count: 70, batchSize: 16 })),
  hash(await fresh.sample({ count: 20, batchSize: 7, format: 'float32', sampler: { kind: 'ddpm', steps: 5 } })),
]
const classifier = await Classifier.train(data, { epochs: 0.1, device: 'cpu', threads: 1 })
const { values } = await evaluate(fresh, stream.seen(stream.tasks[1]), [frechetDistance(classifier)], {
  count: 100,
  batchSize: 16,
})
if (group.rank === 0) console.log(JSON.stringify({ size: group.size, losses, images, values }))
