export { classFrequencies } from './class-frequencies.js'
export { type EvaluateOptions, type Evaluation, evaluate } from './evaluate.js'
export { frechetDistance } from './frechet-distance.js'
export type { Counts, Metric, MetricRun, MetricValue } from './metric.js'
