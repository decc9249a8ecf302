import { countImages, type Dataset, type Subset, type TrainTest } from '../data/dataset.js'
import { resolveDevice } from '../engine/device.js'
import { ImageStore } from '../engine/image-store.js'
import { ResidentImages } from '../engine/resident-images.js'
import { ContinualDiffusionError } from '../errors.js'
import { InceptionV3 } from '../evaluation/inception.js'
import { TorchScriptFeatures } from '../evaluation/torch-script-features.js'
import type { Stream } from '../streams/stream.js'
import { counted } from '../validation/names.js'
import { type ImageSize, sidesOf } from '../validation/size.js'
import { checkMethodOn } from './check-method.js'
import type { ExperimentConfig, ResolvedExperiment } from './config.js'
import { loadData } from './data.js'
import type { RunEvent } from './events.js'
import type { ResolvedMethod } from './methods.js'
import { type EvaluationConfig, needsInception } from './metrics.js'
import { ofPart } from './part.js'
import { isSeeded, makeStream } from './stream.js'

/** What an experiment learns from: everything that could be wrong with it was checked. */
export interface Plan extends AsyncDisposable {
  /** All that are run. */
  readonly methods: readonly ResolvedMethod[]
  /** One per seed, in the order of the seeds, with the methods that are run with the seed. */
  readonly streams: readonly {
    readonly seed: number
    readonly stream: Stream
    readonly methods: readonly ResolvedMethod[]
  }[]
  /** All images of the stream, for the classifier of the metrics. */
  readonly data: TrainTest
  /** Gives the features of the metrics, where it isn't the classifier that does. */
  readonly extractor: TorchScriptFeatures | undefined
  /** Where a metric needs it. */
  readonly inception: InceptionV3 | undefined
  /** All images of the run on its devices; disposed of with the plan. */
  readonly images: ImageStore
}

/** How a plan is made. */
interface PlanOptions {
  readonly signal?: AbortSignal | undefined
  readonly onEvent?: ((event: Extract<RunEvent, { kind: 'download' }>) => void) | undefined
}

/**
 * Loads the data and makes every seed's stream, so that whatever doesn't fit shows before any training.
 *
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT`, `ERR_BAD_DATA` and what loading throws
 */
export async function planExperiment(
  { config, methods }: ResolvedExperiment,
  { signal, onEvent }: PlanOptions = {},
): Promise<Plan> {
  const seeds =
    methods.length === 0 ? config.seeds.map((seed) => ({ seed, methods })) : ofPart(methods, config.seeds, config.part)
  await resolveDevice(config.device, config.precision)
  const data: TrainTest[] = []
  for (const one of config.data) data.push(await loadData(one, config.unet, signal))
  for (const { train } of data) {
    if (train.channels !== config.unet.in_channels) {
      throw new ContinualDiffusionError(
        'ERR_INVALID_ARGUMENT',
        `data: the images of ${train.name} have ${counted(train.channels, 'channel')}; expected unet.in_channels, which is ` +
          `${config.unet.in_channels}: change unet.in_channels and unet.out_channels`,
      )
    }
  }
  // A domain holds a changed copy of all images: streams that are the same for every seed are made once.
  const common = isSeeded(config.stream) ? undefined : makeStream(config.stream, data, 0)
  const streams = seeds.map((own) => ({ ...own, stream: common ?? makeStream(config.stream, data, own.seed) }))
  for (const { stream, methods } of streams) for (const method of methods) checkMethodOn(method, stream, config)
  const isRun = (method: ResolvedMethod) => streams.some(({ methods }) => methods.includes(method))
  signal?.throwIfAborted()
  const images = new ImageStore()
  try {
    const whole = await wholeOf(data, streams[0]!.stream, config.unet.sample_size)
    const { device, threads } = config
    const { features } = config.evaluation
    const extractor = features && (await openFeatures(features, { device, threads }))
    const inception = needsInception(config.evaluation)
      ? await InceptionV3.load({
          ...config.evaluation.inception,
          device: config.device,
          threads: config.threads,
          signal,
          onProgress: (file, done, total) => onEvent?.({ kind: 'download', file, done, total }),
        })
      : undefined
    const dispose = async () => {
      await extractor?.dispose()
      await inception?.dispose()
      await images.dispose()
    }
    const made = { methods: methods.filter(isRun), streams, data: whole, extractor, inception, images }
    return { ...made, [Symbol.asyncDispose]: dispose }
  } catch (error) {
    await images.dispose()
    throw error
  }
}

/**
 * All images that a stream brings: its data set itself where all tasks share one, else the tasks' images in a new one. Which
 * images these are doesn't depend on the seed.
 */
async function wholeOf(data: readonly TrainTest[], { name, tasks }: Stream, size: ImageSize): Promise<TrainTest> {
  const sets = new Set(tasks.map(({ train }) => train.dataset))
  if (sets.size === 1) return data[0] as TrainTest
  const images = new ResidentImages('cpu', size)
  try {
    const part = async (which: 'train' | 'test') =>
      merge(
        `${name}/${which}`,
        tasks.map((task) => task[which]),
        images,
        size,
      )
    return { train: await part('train'), test: await part('test') }
  } finally {
    await images.dispose()
  }
}

async function merge(
  name: string,
  subsets: readonly Subset[],
  resident: ResidentImages,
  size: ImageSize,
): Promise<Dataset> {
  const { channels, classes } = subsets[0]!.dataset
  const count = countImages(subsets)
  const [height, width] = sidesOf(size)
  const each = height * width * channels
  const images = new Uint8Array(count * each)
  const labels = new Int32Array(count)
  let at = 0
  for (const subset of subsets) {
    images.set((await resident.read(subset)).data, at * each)
    labels.set(
      subset.indices.map((index) => subset.dataset.labels[index]!),
      at,
    )
    at += subset.indices.length
  }
  return { name, images, labels, classes, height, width, channels, size }
}

function openFeatures(
  { file, ...options }: NonNullable<EvaluationConfig['features']>,
  on: Pick<ExperimentConfig, 'device' | 'threads'>,
): Promise<TorchScriptFeatures> {
  return TorchScriptFeatures.load(file, { ...options, ...on })
}
