import { z } from 'zod'
import type { StepLosses } from '../learner/learn-options.js'

/** How many lines a task gets at most: as many points as a chart can show. */
const resolution = 100

/** Schema of what a recorder knows between two steps: sums over the steps since the last line, and `total` over all. */
export const recorderSchema = z.strictObject({
  step: z.int().min(0),
  // Those of the task as it was planned; it may end earlier.
  planned: z.int().min(1).optional(),
  total: z.number(),
  counted: z.int().min(0),
  loss: z.number(),
  terms: z.array(z.number()),
  penalties: z.record(z.string(), z.number()),
  gradNorm: z.number(),
})

export type RecorderState = z.output<typeof recorderSchema>

const nothing = { counted: 0, loss: 0, terms: [], penalties: {}, gradNorm: 0 }

/**
 * Gathers the losses of one task into few lines, each the mean over the steps since the line before,
 * with the learning rate of its step. They depend on the steps alone,
 * and not on how fast these were or whether the training was interrupted.
 */
export class LossRecorder {
  #state: RecorderState

  constructor(state: RecorderState = { step: 0, total: 0, ...nothing }) {
    this.#state = state
  }

  /** @returns a line where one is full: the mean losses up to this step */
  add(losses: StepLosses): StepLosses | undefined {
    const before = this.#state
    const counted = before.counted + 1
    const sums = {
      loss: before.loss + losses.loss,
      terms: losses.terms.map((value, i) => (before.terms[i] ?? 0) + value),
      penalties: mapValues(losses.penalties, (value, name) => (before.penalties[name] ?? 0) + value),
      gradNorm: before.gradNorm + losses.gradNorm,
    }
    const { step, steps, lr } = losses
    const total = before.total + losses.loss
    const full = counted >= steps / resolution || step === steps
    this.#state = { step, planned: steps, total, ...(full ? nothing : { counted, ...sums }) }
    if (!full) return undefined
    return {
      step,
      steps,
      loss: sums.loss / counted,
      terms: sums.terms.map((sum) => sum / counted),
      penalties: mapValues(sums.penalties, (sum) => sum / counted),
      gradNorm: sums.gradNorm / counted,
      lr,
    }
  }

  get state(): RecorderState {
    return this.#state
  }

  get steps(): number {
    return this.#state.step
  }

  /** Number of steps that the task was to have: at least `steps`. */
  get planned(): number {
    return this.#state.planned ?? this.#state.step
  }

  /** Mean over all steps. */
  get mean(): number {
    return this.#state.total / this.#state.step
  }
}

function mapValues(of: Readonly<Record<string, number>>, value: (value: number, name: string) => number) {
  return Object.fromEntries(Object.entries(of).map(([name, one]) => [name, value(one, name)]))
}
