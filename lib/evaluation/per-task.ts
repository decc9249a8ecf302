import type { Classifier } from '../classifiers/classifier.js'
import type { ImageBatch } from '../data/dataset.js'
import { ContinualDiffusionError } from '../errors.js'
import type { Task } from '../streams/stream.js'
import { addToEach, type Counts, type Metric, type MetricRun, type MetricValue } from './metric.js'

/**
 * Options of the evaluation of each task alone.
 *
 * @category Evaluation
 */
export interface PerTaskOptions {
  /**
   * Classifier that decides which task an image belongs to that was not asked for as a class. Its classes must be those of the data set.
   */
  classifier: Classifier
  /**
   * Smallest number of real and of generated images of a task for which metrics are computed; a larger `minimum` of a metric also applies.
   * Default 50, a convention: distances between fewer images mean nothing.
   */
  minimum?: number
}

/**
 * A metric's value on one task alone.
 *
 * @category Evaluation
 */
export interface TaskValue extends Omit<MetricValue, 'value'> {
  /** Null if the value can't be measured; `note` then says why. */
  readonly value: number | null
}

/**
 * The evaluation of one task alone.
 *
 * @category Evaluation
 */
export interface TaskEvaluation<Name extends string = string> extends Counts {
  /** The task's number, from 1. */
  readonly task: number
  /** The values of the metrics, by the metrics' names. */
  readonly values: Readonly<Record<Name, TaskValue>>
}

/** Comparisons of one task's test images with the generated images that are assigned to it. */
export class PerTask<Name extends string> {
  readonly #tasks: readonly Task[]
  readonly #metrics: readonly Metric<Name>[]
  readonly #classifier: Classifier
  readonly #minimum: number
  readonly #runs
  readonly #counts
  /** For each class the position of the one task that brought it. */
  readonly #taskOf = new Map<number, number>()
  /** Positions of tasks that share a class with another one: images can't be told apart by class. */
  readonly #shared = new Map<number, number>()
  /** Whether images were asked for by class. */
  #isAsked = false

  constructor(
    tasks: readonly Task[],
    metrics: readonly Metric<Name>[],
    { classifier, minimum }: Required<PerTaskOptions>,
  ) {
    this.#tasks = tasks
    this.#metrics = metrics
    this.#classifier = classifier
    this.#minimum = minimum
    this.#runs = tasks.map(() => metrics.map((metric) => metric.start()))
    this.#counts = tasks.map(({ test }) => ({ real: test.indices.length, generated: 0 }))
    for (const [i, { classes, test }] of tasks.entries()) {
      if (test.dataset.classes.length !== classifier.classes.length) {
        throw new ContinualDiffusionError(
          'ERR_INVALID_ARGUMENT',
          `evaluate: perTask: the ${classifier.name} has ${classifier.classes.length} classes; expected the ` +
            `${test.dataset.classes.length} of ${test.dataset.name}`,
        )
      }
      for (const label of classes) {
        const other = this.#taskOf.get(label)
        if (other === undefined) this.#taskOf.set(label, i)
        else {
          this.#shared.set(i, other)
          this.#shared.set(other, i)
        }
      }
    }
  }

  /** What compares the real images of a task, by its position; nothing where generated images can't be assigned to the task. */
  runsOf(task: number): readonly MetricRun[] {
    return this.#shared.has(task) ? [] : (this.#runs[task] ?? [])
  }

  /** @param asked the classes that the images were asked for as, of a class-conditional learner */
  async addGenerated(images: ImageBatch, asked?: Int32Array): Promise<void> {
    this.#isAsked = asked !== undefined
    const { labels } = asked ? { labels: asked } : await this.#classifier.classifyOnce(images)
    const rows = this.#tasks.map((): number[] => [])
    for (const [row, label] of labels.entries()) {
      const task = this.#taskOf.get(label)
      if (task !== undefined && !this.#shared.has(task)) rows[task]?.push(row)
    }
    await Promise.all(
      rows.map(async (of, task) => {
        if (of.length === 0) return
        const part = partOf(images, of)
        const counts = this.#counts[task]
        if (counts) counts.generated += of.length
        const own = asked && Int32Array.from(of, (row) => asked[row]!)
        await addToEach(this.runsOf(task), part, 'generated', own)
      }),
    )
  }

  async finish(signal: AbortSignal | undefined): Promise<TaskEvaluation<Name>[]> {
    const evaluations: TaskEvaluation<Name>[] = []
    for (const [i, { number }] of this.#tasks.entries()) {
      const counts = this.#counts[i] as Counts
      const values = {} as Record<Name, TaskValue>
      for (const [m, { name, minimum = 1 }] of this.#metrics.entries()) {
        const note = this.#nothing(i, Math.max(minimum, this.#minimum))
        const run = this.#runs[i]?.[m]
        if (run !== undefined) {
          values[name] = note === undefined ? await run.finish(signal) : { ...counts, value: null, note }
          signal?.throwIfAborted()
        }
      }
      evaluations.push({ task: number, ...counts, values })
    }
    return evaluations
  }

  /** Why a task has no value, where it has none. */
  #nothing(task: number, minimum: number): string | undefined {
    const other = this.#shared.get(task)
    if (other !== undefined) {
      return `its classes are also in task ${this.#tasks[other]?.number}: generated images can't be assigned to a task by class`
    }
    const { real, generated } = this.#counts[task] as Counts
    if (real >= minimum && generated >= minimum) return undefined
    const by = this.#isAsked ? 'as asked for' : `by the ${this.#classifier.name}`
    return `too few images of this task: ${real} real and ${generated} generated, ${by}; expected at least ${minimum} of each`
  }
}

/** Some images of a batch. */
function partOf({ data, height, width, channels }: ImageBatch, rows: readonly number[]): ImageBatch {
  const size = height * width * channels
  const part = new Uint8Array(rows.length * size)
  for (const [i, row] of rows.entries()) part.set(data.subarray(row * size, (row + 1) * size), i * size)
  return { data: part, count: rows.length, height, width, channels }
}
