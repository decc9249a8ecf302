import { isConditional } from '../config/unet.js'
import { ContinualDiffusionError } from '../errors.js'
import { imageGrid } from '../images/grid.js'
import type { Progress } from '../learner/learn-options.js'
import type { Learner } from '../learner/learner.js'
import type { Part } from '../report/live/entries.js'
import type { Stream } from '../streams/stream.js'
import type { ExperimentConfig } from './config.js'
import type { RunEvent } from './events.js'
import { liveFolder, type RunFolder } from './folder.js'

/** At most this part of the time of training goes into samples that nobody asked for. */
const share = 0.01
/** Images of a grid at most, and grids of a task at most, where the experiment doesn't say how often. */
const [most, grids] = [16, 100]

const samplesFolder = `${liveFolder}/samples`

/** Draws grids of samples while a task is learned. */
export interface LiveSamples {
  /** A task begins, or goes on: the samples of the task before are removed. */
  begin(): Promise<void>
  /** How often `after` is to be called at least: every so many steps exactly, or wherever it may be (undefined). */
  readonly everySteps: number | undefined
  /** After some steps: draws where it is time, and returns the grid's PNG file. */
  after(
    work: { readonly learner: Learner; readonly stream: Stream },
    part: Part,
    progress: Progress,
  ): Promise<Uint8Array | undefined>
}

interface Run {
  readonly config: Pick<ExperimentConfig, 'samples' | 'sampler' | 'train' | 'unet'>
  readonly folder: RunFolder
  readonly signal: AbortSignal | undefined
  readonly onEvent: (event: RunEvent) => void
}

/**
 * The samples are of the noise that the grid after the task is of, so that one sees its pictures come. They change nothing that is computed.
 * They are drawn every `samples.everySteps` steps; where that isn't given, as often as the time allows.
 */
export function liveSamples({ config, folder, signal, onEvent }: Run): LiveSamples {
  const { everySteps, count: wanted, columns } = config.samples
  const count = Math.min(wanted, most)
  let [trained, drawn, lastStep] = [0, 0, 0]
  let lastTime = 0
  let cost: number | undefined
  let isOff = false

  const isDue = ({ step, steps, stepsPerSecond }: Progress) => {
    if (everySteps !== undefined) return everySteps > 0 && step % everySteps === 0
    // A forward pass is about a third of a training step; some samplers take two a step.
    const guess = (2000 * config.sampler.steps * count) / (3 * config.train.batchSize * stepsPerSecond)
    return step - lastStep >= steps / grids && drawn + (cost ?? guess) <= share * trained
  }
  return {
    everySteps: everySteps || undefined,
    async begin() {
      await folder.remove(samplesFolder)
      lastTime = performance.now()
      lastStep = 0
    },
    async after({ learner, stream }, part, progress) {
      const { step, steps } = progress
      const now = performance.now()
      trained += now - lastTime
      lastTime = now
      if (!folder.isWriter || isOff || step === steps || !isDue(progress)) return undefined
      lastStep = step
      try {
        const labels = isConditional(config.unet) ? labelsOf(stream, part.task, count) : undefined
        const use = { purpose: 'grid', part: part.task } as const
        const options = { count, seed: part.seed, signal, ...(labels && { labels }) }
        const images = await learner.sampleFor(use, options, null) // when it is time, only this process knows
        const file = `${samplesFolder}/step-${step}.png`
        const png = await imageGrid(images, { columns: Math.min(columns, 4) })
        await folder.write(file, png)
        onEvent({ kind: 'samples', part, step, file })
        return png
      } catch (error) {
        // What can't be drawn for want of memory, say, is no reason to end the training.
        if (!(error instanceof ContinualDiffusionError) || error.code === 'ERR_RUN_LOCKED') throw error
        isOff = true
        onEvent({ kind: 'warning', message: `no more samples are drawn during the training: ${error.message}` })
        return undefined
      } finally {
        cost = performance.now() - now
        drawn += cost
      }
    },
  }
}

/** Labels of all classes so far, the newest too, each about equally often, class by class. */
function labelsOf(stream: Stream, task: number, count: number): Int32Array {
  const classes = stream.tasks.slice(0, task).flatMap(({ classes }) => classes)
  const seen = [...new Set(classes)]
  return Int32Array.from({ length: count }, (_, i) => seen[Math.floor((i * seen.length) / count)]!)
}
