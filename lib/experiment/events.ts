import type { PoolProgress, Progress } from '../learner/options.js'
import type { MetricInfo, TaskResult } from '../report/results.js'

/**
 * The part of a run that an event is about: one task of one method with one seed.
 *
 * @category Runs
 */
export interface Part {
  readonly method: string
  readonly seed: number
  /** The task's number, from 1. */
  readonly task: number
  /** Number of tasks in the stream. */
  readonly tasks: number
  /** Number of this part within the run, from 1, in the order of training. A shared first task counts once. */
  readonly part: number
  /** Number of parts in the run. */
  readonly parts: number
}

/**
 * An event of a run in progress.
 *
 * @category Runs
 */
export type RunEvent =
  | { readonly kind: 'folder'; readonly folder: string }
  | { readonly kind: 'classifier'; readonly fraction: number }
  | {
      readonly kind: 'ready'
      readonly device: string
      readonly precision: string
      readonly parameters: number
      readonly metrics: Readonly<Record<string, MetricInfo>>
    }
  | { readonly kind: 'pool'; readonly part: Part; readonly progress: PoolProgress }
  | { readonly kind: 'learn'; readonly part: Part; readonly progress: Progress }
  | { readonly kind: 'evaluate'; readonly part: Part; readonly done: number; readonly total: number }
  | { readonly kind: 'task'; readonly part: Part; readonly result: TaskResult }
  /** Checkpoint `number` was written. */
  | { readonly kind: 'checkpoint'; readonly number: number }
  /** A run is resumed from checkpoint `number`; undefined: from its beginning, as it has no checkpoint yet. */
  | { readonly kind: 'resume'; readonly number: number | undefined }
  /** A problem that a person should know of. The run continues. */
  | { readonly kind: 'warning'; readonly message: string }
