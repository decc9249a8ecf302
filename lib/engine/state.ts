import { type Ema, emaDecay } from '../config/ema.js'

/** What leaves the engine as plain data that is kept: the state of networks, and moments. */

/** A parameter of a network. */
export interface ParameterInfo {
  readonly name: string
  readonly shape: readonly number[]
}

/** The flat tensors of a learner, all laid out like its weights. */
export const stateTensors = [
  'student',
  'ema',
  'teacher',
  'exp_avg',
  'exp_avg_sq',
  'path_start',
  'path_integral',
] as const
export type StateTensor = (typeof stateTensors)[number]

/** The weights that sampling uses: the moving average where there is one. */
export function sampledWeights(ema: Ema): 'student' | 'ema' {
  return emaDecay(ema) > 0 ? 'ema' : 'student'
}

/** What is consolidated under a name: the sum of `parts` quadratics of one shape. */
export interface NativePenalty {
  readonly name: string
  readonly shape: 'diagonal' | 'rank-1'
  readonly parts: number
}

/** One quadratic, ½·Σ importance·δ² or ½·(importance·δ)² with δ = θ − anchor; tensors in `parameters` order. */
export interface NativeQuadratic {
  readonly anchor: Float32Array[]
  readonly importance: Float32Array[]
}

/** Of `count` rows: their mean (D), and the centred sum of their outer products (D × D). */
export interface NativeMoments {
  readonly mean: Float64Array
  readonly m2: Float64Array
  readonly count: number
}

/** Resamples of a bootstrap, and what they are a function of. */
export interface Bootstrap {
  /** Number of resamples. */
  readonly replicates: number
  readonly seed: number
}
