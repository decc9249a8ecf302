import type { MemoryUse } from '../engine/memory.js'
import type { PoolProgress, Progress, StepLosses } from '../learner/learn-options.js'
import type { Part } from '../report/live/entries.js'
import type { MetricInfo, TaskResult } from '../report/results.js'

/**
 * An event of a run in progress. It is plain data, so that `JSON.stringify` keeps all of it.
 *
 * @category Runs
 */
export type RunEvent =
  /** The run's folder, absolute: the run begins, or goes on. */
  | { readonly kind: 'folder'; readonly folder: string }
  /** A file that the evaluation needs is downloaded: bytes so far, and in all (0: unknown). Comes before the folder. */
  | { readonly kind: 'download'; readonly file: string; readonly done: number; readonly total: number }
  | { readonly kind: 'classifier'; readonly fraction: number }
  | {
      readonly kind: 'ready'
      readonly device: string
      readonly precision: string
      readonly parameters: number
      readonly metrics: Readonly<Record<string, MetricInfo>>
    }
  | { readonly kind: 'pool'; readonly part: Part; readonly progress: PoolProgress }
  /** The solver learns a task, so many steps of it. `part` is undefined for a first task that the learner takes over from another method. */
  | { readonly kind: 'solver'; readonly part: Part | undefined; readonly done: number; readonly total: number }
  /** About five times a second. `secondsLeft` of the whole run are estimated by the parts done, and so unknown in the first part. */
  | {
      readonly kind: 'learn'
      readonly part: Part
      readonly progress: Progress
      readonly memory: MemoryUse
      readonly secondsLeft: number | undefined
    }
  /** A line of `metrics.jsonl`, at most a hundred in a task: mean losses, and the speed, of the steps since the line before. */
  | {
      readonly kind: 'losses'
      readonly part: Part
      readonly losses: StepLosses
      readonly stepsPerSecond: number
      readonly memory: MemoryUse
    }
  /** A grid of samples of the weights after this step of the task, a PNG `file` relative to the run folder. */
  | { readonly kind: 'samples'; readonly part: Part; readonly step: number; readonly file: string }
  | { readonly kind: 'evaluate'; readonly part: Part; readonly done: number; readonly total: number }
  | { readonly kind: 'task'; readonly part: Part; readonly result: TaskResult }
  /** Checkpoint `number` was written. */
  | { readonly kind: 'checkpoint'; readonly number: number }
  /** A run is resumed from checkpoint `number`; undefined: from its beginning, as it has no checkpoint yet. */
  | { readonly kind: 'resume'; readonly number: number | undefined }
  /** A problem that a person should know of. The run continues. */
  | { readonly kind: 'warning'; readonly message: string }
  /** The last event: the run is complete, was stopped by its signal, or failed. `message` says why it isn't complete. */
  | { readonly kind: 'end'; readonly state: 'complete' | 'stopped' | 'failed'; readonly message: string | undefined }

/** The events that say how far something is. */
export type ProgressEvent = Extract<
  RunEvent,
  { kind: 'download' | 'classifier' | 'pool' | 'solver' | 'learn' | 'evaluate' }
>

export function isProgress(event: RunEvent): event is ProgressEvent {
  return 'fraction' in event || 'progress' in event || 'done' in event
}
