/**
 * Whole experiments, as the command line runs them, with their reports, and grids of images. Import it from
 * `continual-diffusion/experiment`. It is separate because it needs more packages than training does.
 *
 * @module experiment
 */
export type { MemoryUse } from '../engine/memory.js'
export type { MetricValue } from '../evaluation/metric.js'
export { type GridOptions, imageGrid } from '../images/grid.js'
export type { MethodOptions } from '../methods/by-name.js'
export type { Part } from '../report/live/entries.js'
export { type PairedDifference, pairedDifference } from '../report/paired.js'
export type { LossCurve, MethodRun, MetricInfo, Results, TaskResult, Versions } from '../report/results.js'
export {
  finalTable,
  forgettingTable,
  type Layout,
  pairedTable,
  tablesByClass,
  tablesByTask,
} from '../report/table.js'
export { type MethodTest, methodTests, testTable } from '../report/test-table.js'
export {
  type ExperimentConfig,
  type ExperimentInput,
  experimentSchema,
  type Loose,
  resolveExperiment,
} from './config.js'
export { type EvaluateSavedOptions, evaluateSaved, type SavedEvaluation } from './evaluate-saved.js'
export type { RunEvent } from './events.js'
export type { FromConfig } from './from.js'
export type { JoinedRuns } from './join.js'
export type { Logged, Logger } from './logger.js'
export type { ComposedName, MethodEntry, MethodInput, MethodPlace } from './methods.js'
export { type PresetName, presets as experimentPresets } from './presets.js'
export type { RunRecord } from './read-run.js'
export { compareRuns, writeReport } from './report.js'
export { type RunOptions, type RunOutcome, resumeExperiment, runExperiment } from './run.js'
export { tensorBoard } from './tensorboard.js'
export { type WatchedRun, type WatchOptions, watchRun } from './watch-run.js'
export { withModel } from './with-model.js'
