import type { Progress } from '../learner/options.js'
import type { MetricInfo, TaskResult } from '../report/results.js'

/**
 * Which part of a run an event is about.
 *
 * @category Runs
 */
export interface Part {
  readonly method: string
  readonly seed: number
  /** k, counted from 1. */
  readonly task: number
  /** Tasks in the stream. */
  readonly tasks: number
  /** This is the n-th task to be trained of `parts` in the whole run, shared first tasks counted once. */
  readonly part: number
  readonly parts: number
}

/**
 * What a run tells while it is under way.
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
  | { readonly kind: 'learn'; readonly part: Part; readonly progress: Progress }
  | { readonly kind: 'evaluate'; readonly part: Part; readonly done: number; readonly total: number }
  | { readonly kind: 'task'; readonly part: Part; readonly result: TaskResult }
  /** Checkpoint `number` was written. */
  | { readonly kind: 'checkpoint'; readonly number: number }
  /** A run goes on, from checkpoint `number`; from its beginning where it had written none yet. */
  | { readonly kind: 'resume'; readonly number: number | undefined }
  /** Something that a person should know, while the run goes on. */
  | { readonly kind: 'warning'; readonly message: string }
