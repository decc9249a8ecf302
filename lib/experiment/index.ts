/**
 * Whole experiments, as the command line runs them, and pictures of what learners draw: what needs more than training itself does, so
 * that it is imported by itself, from `continual-diffusion/experiment`.
 *
 * @module experiment
 */
export type { MetricValue } from '../evaluation/metric.js'
export { type GridOptions, imageGrid } from '../images/grid.js'
export type { LossCurve, MethodRun, MetricInfo, Results, TaskResult, Versions } from '../report/results.js'
export { finalTable, type Layout, tablesByTask } from '../report/table.js'
export {
  type ExperimentConfig,
  type ExperimentInput,
  experimentSchema,
  type Loose,
  resolveExperiment,
} from './config.js'
export { type EvaluateSavedOptions, evaluateSaved, type SavedEvaluation } from './evaluate-saved.js'
export type { Part, RunEvent } from './events.js'
export type { JoinedRuns } from './join.js'
export type { MethodEntry } from './methods.js'
export { type PresetName, presets as experimentPresets } from './presets.js'
export type { RunRecord } from './read-run.js'
export { compareRuns, writeReport } from './report.js'
export { type RunOptions, type RunOutcome, resumeExperiment, runExperiment } from './run.js'
