import type { Progress } from '../learner.js'
import type { LossCurve } from '../report/results.js'

/** How many points a curve has at most: as many as a chart can show. */
const resolution = 100

/** Gathers the losses of one task into a curve of few points, each the mean over the steps since the point before. */
export class LossRecorder {
  readonly #points: [step: number, loss: number][] = []
  #step = 0
  #sum = 0
  #counted = 0
  #total = 0

  add({ step, steps, loss }: Pick<Progress, 'step' | 'steps' | 'loss'>): void {
    const done = step - this.#step
    this.#total += loss * done
    this.#step = step
    this.#sum += loss * done
    this.#counted += done
    if (this.#counted >= steps / resolution || step === steps) {
      this.#points.push([step, this.#sum / this.#counted])
      this.#sum = 0
      this.#counted = 0
    }
  }

  get points(): LossCurve['points'] {
    return this.#points
  }

  get steps(): number {
    return this.#step
  }

  /** Mean over all steps. How the steps were cut into chunks, which is a matter of speed, makes no difference to it. */
  get mean(): number {
    return this.#total / this.#step
  }
}
