import { onTestFinished } from 'vitest'
import type { UNetConfig } from '../../lib/config/unet.js'
import { type Dataset, fromArrays, type ImageBatch, type TrainTest } from '../../lib/data/index.js'
import { ContinualDiffusionError } from '../../lib/errors.js'
import { readSafetensors } from '../../lib/files/safetensors.js'
import { Learner } from '../../lib/learner/learner.js'
import type { LearnerOptions } from '../../lib/learner/options.js'
import { classIncremental } from '../../lib/streams/index.js'
import type { Stream } from '../../lib/streams/stream.js'
import { temporaryFolder } from './folders.js'

/** A U-Net that takes milliseconds a step. */
export const tinyUNet = {
  sample_size: 8,
  in_channels: 1,
  out_channels: 1,
  block_out_channels: [8, 16],
  down_block_types: ['DownBlock2D', 'AttnDownBlock2D'],
  up_block_types: ['AttnUpBlock2D', 'UpBlock2D'],
  layers_per_block: 1,
  norm_num_groups: 4,
  norm_eps: 1e-5,
  attention_head_dim: 8,
  add_attention: true,
  flip_sin_to_cos: true,
  freq_shift: 0,
} satisfies UNetConfig

/** A learner of a tiny U-Net on the CPU in fp32, disposed with the test. */
export async function tinyLearner(options: Partial<LearnerOptions> = {}): Promise<Learner> {
  const learner = await Learner.create({ unet: tinyUNet, device: 'cpu', precision: 'fp32', seed: 1, ...options })
  onTestFinished(() => learner.dispose())
  return learner
}

/** Grey images in four classes that a small network can tell apart: a bright band at a height of the class's own. */
export function bands(name: string, perClass: number, size = 8): Dataset {
  const classes = ['first', 'second', 'third', 'fourth']
  const count = perClass * classes.length
  const labels = Int32Array.from({ length: count }, (_, i) => i % classes.length)
  const images = new Uint8Array(count * size * size)
  for (let i = 0; i < count; i++) {
    const top = Math.floor(((i % classes.length) * size) / classes.length)
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const inside = y >= top && y < top + size / classes.length
        // Some texture, so that no two images are alike.
        images[(i * size + y) * size + x] = (inside ? 180 : 20) + ((i * 31 + y * 17 + x * 7) % 50)
      }
    }
  }
  return fromArrays({ name, images, labels, classes, height: size, width: size, channels: 1 })
}

export function bandsData(size = 8): TrainTest {
  return { train: bands('bands/train', 24, size), test: bands('bands/test', 8, size) }
}

/** Two tasks of two classes. */
export function bandsStream(): Stream {
  return classIncremental(bandsData(), { tasks: 2 })
}

/** The ContinualDiffusionError that a promise rejects with. */
export async function failure(promise: Promise<unknown>): Promise<ContinualDiffusionError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof ContinualDiffusionError) return error
    throw error
  }
  throw new Error('expected a failure, and there was none')
}

/** Runs a generator to its end. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

/** Test images `from` … `to` − 1 of bands as a batch, with their labels. */
export function bandsBatch(from: number, to: number): { images: ImageBatch; labels: Int32Array } {
  const { images, labels } = bandsData().test
  const batch = { data: images.slice(from * 64, to * 64), count: to - from, height: 8, width: 8, channels: 1 }
  return { images: batch, labels: labels.slice(from, to) }
}

/** All of a learner's tensors, by file and name. */
export async function tensorsOf(learner: Learner): Promise<Map<string, unknown>> {
  const folder = await temporaryFolder()
  await learner.save(folder)
  const all = new Map<string, unknown>()
  for (const file of ['diffusion_pytorch_model.safetensors', 'training.safetensors']) {
    for (const [name, { data }] of (await readSafetensors(`${folder}/${file}`)).tensors)
      all.set(`${file}/${name}`, data)
  }
  return all
}
