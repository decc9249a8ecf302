import type { ImageBatch, Subset } from '../data/dataset.js'
import { imageBatchSchema } from '../data/schemas.js'
import { ContinualDiffusionError, invalid } from '../errors.js'
import { held } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { type ImageSize, isSameSize, shownSize, sidesOf } from '../validation/size.js'
import type { NativeClassifier, NativeClassifierOptions } from './addon.js'
import { call, trainingMilliseconds, withCancel } from './call.js'
import { checkFits } from './memory.js'
import type { ResidentImages } from './resident-images.js'

/**
 * A classifier's output for N images.
 *
 * @category Classifiers
 */
export interface Classified {
  /** N × `features`: activations of the layer before the last. */
  readonly features: Float32Array
  /** N × classes. */
  readonly logits: Float32Array
  /** The class with the largest logit, one per image. */
  readonly labels: Int32Array
}

/** A classifier's input and classes. */
export interface ClassifierShape {
  /** For messages. */
  readonly name: string
  readonly classes: readonly string[]
  /** Of its images. */
  readonly size: ImageSize
  readonly channels: number
}

/** Fewest pixels of a side of a classifier's images. */
export const leastSide = 8

/**
 * Checks that images are large enough for a classifier.
 *
 * @param what they are, for messages
 * @param other what helps besides other images
 */
export function checkClassifierSize(size: ImageSize, what: string, other = ''): void {
  if (Math.min(...sidesOf(size)) >= leastSide) return
  throw invalid(`${what} are ${shownSize(size)} pixels; expected at least ${leastSide} a side${other}`)
}

/** What a classifier's network is, and by what it is computed. */
export interface ClassifierNetwork extends Pick<ClassifierShape, 'classes' | 'channels'> {
  readonly device: string
  readonly threads: number | undefined
  /** Of the first weights, and of all random draws. */
  readonly seed: number
}

/** A network with fresh weights. */
export function createClassifier({ classes, ...network }: ClassifierNetwork): Promise<NativeClassifier> {
  return call((addon) => addon.createClassifier({ ...network, classes: classes.length }))
}

/** A copy of a network. Where it has further classes, their outputs have fresh weights. */
export async function copyClassifier(before: NativeClassifier, network: ClassifierNetwork): Promise<NativeClassifier> {
  const native = await createClassifier(network)
  try {
    const [step, weights] = await Promise.all([call(() => before.step()), call(() => before.read())])
    const copied = await call(() => native.read())
    // The last layer's rows are one for each class, in order.
    for (const [i, tensor] of copied.entries()) tensor.set(weights[i]!)
    await call(() => native.write(copied))
    await call(() => native.setStep(step))
    return native
  } catch (error) {
    call(() => native.dispose())
    throw error
  }
}

/**
 * Checks that a batch can fit in memory, by what the backward pass needs at once of the first two layers, whose 32 channels are as large as
 * the images.
 *
 * @throws ContinualDiffusionError `ERR_OUT_OF_MEMORY`
 */
export function checkClassifierBatch(size: ImageSize, batchSize: number, device: string, where: string): void {
  const [height, width] = sidesOf(size)
  checkFits(
    batchSize * 2 * 32 * height * width * 4,
    device,
    `${where}: batchSize is ${batchSize}; expected a smaller batch`,
  )
}

/**
 * Trains for `steps` steps, in calls of about a fifth of a second; with soft labels for images of
 * each step every step is a call of its own, so that which images are generated doesn't depend on how fast the steps are.
 *
 * @param options.batches what the next call is to do
 * @param options.what is trained, for messages
 * @throws ContinualDiffusionError `ERR_DIVERGED`
 */
export async function trainClassifier(
  native: NativeClassifier,
  options: {
    steps: number
    batches: () => Promise<Omit<NativeClassifierOptions, 'steps' | 'milliseconds'>>
    what: string
    signal: AbortSignal | undefined
    onProgress: ((progress: { step: number; steps: number; loss: number }) => void) | undefined
  },
): Promise<void> {
  const { steps, batches, what, signal, onProgress } = options
  for (let step = 0; step < steps; ) {
    const next = await batches()
    const most = next.softLabelled && 'images' in next.softLabelled ? 1 : steps - step
    const timed = { ...next, steps: most, milliseconds: trainingMilliseconds }
    const report = await withCancel(signal, (flag) => call(() => native.train(timed, flag)))
    step += report.steps
    if (!Number.isFinite(report.loss)) {
      throw new ContinualDiffusionError(
        'ERR_DIVERGED',
        `training of ${what} diverged by step ${step}: loss ${report.loss}; try a smaller lr than ${next.lr}`,
      )
    }
    onProgress?.({ step, steps, loss: report.loss })
  }
}

/** @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` for images of another shape */
export async function classifyImages(
  native: NativeClassifier,
  shape: ClassifierShape,
  images: ImageBatch,
): Promise<Classified> {
  const { data, count, height, width, channels } = parseOptions(imageBatchSchema, images, 'classify: images')
  if (!isSameSize([height, width], shape.size) || channels !== shape.channels) {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      `classify: the images are ${height} × ${width} × ${channels}; expected ${shownSize(shape.size)} × ${shape.channels}, ` +
        `for which the ${shape.name} was trained`,
    )
  }
  if (data.length !== count * height * width * channels) {
    throw new ContinualDiffusionError(
      'ERR_INVALID_ARGUMENT',
      `classify: the images hold ${held(data, 'bytes')}; expected ${count * height * width * channels}`,
    )
  }
  const { features, logits } = await call(() => native.classify(images))
  const classes = shape.classes.length
  const labels = Int32Array.from({ length: count }, (_, i) => largest(logits.subarray(i * classes, (i + 1) * classes)))
  return { features, logits, labels }
}

/**
 * Fraction of a subset's images that a classifier gives their label, with `batchSize` of them in memory at once.
 *
 * @throws ContinualDiffusionError `ERR_DIVERGED` when a logit isn't finite. After training this finds weights that the last update made
 *   infinite or NaN, which no later step's loss would show: such a weight makes every logit so
 */
export async function accuracyOn(
  native: NativeClassifier,
  shape: ClassifierShape,
  resident: ResidentImages,
  { dataset, indices }: Subset,
  batchSize: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  let right = 0
  for (let at = 0; at < indices.length; at += batchSize) {
    signal?.throwIfAborted()
    const part = indices.subarray(at, at + batchSize)
    const { labels, logits } = await classifyImages(native, shape, await resident.read({ dataset, indices: part }))
    if (!logits.every(Number.isFinite)) {
      throw new ContinualDiffusionError(
        'ERR_DIVERGED',
        `the ${shape.name} has logits that are not finite for images of ${dataset.name}: training diverged; begin again with a smaller lr`,
      )
    }
    right += labels.filter((label, i) => label === dataset.labels[part[i] as number]).length
  }
  return right / indices.length
}

function largest(values: Float32Array): number {
  return values.reduce((best, value, i) => (value > (values[best] as number) ? i : best), 0)
}
