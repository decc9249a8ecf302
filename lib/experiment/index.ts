export { type ExperimentConfig, type ExperimentInput, experimentSchema, resolveExperiment } from './config.js'
export type { Part, RunEvent } from './events.js'
export { type PresetName, presets as experimentPresets } from './presets.js'
export { type RunOptions, type RunOutcome, runExperiment } from './run.js'
