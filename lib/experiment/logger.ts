import { messageOf } from '../errors.js'
import type { RunEvent } from './events.js'

/**
 * What a logged value belongs to: one method with one seed. Its steps are counted over all of its tasks.
 *
 * @category Runs
 */
export interface Logged {
  readonly method: string
  readonly seed: number
}

/**
 * Takes the numbers and pictures of a run as they come, to send them elsewhere. The run waits for every promise. What a logger throws is
 * told as a warning, and doesn't end the run.
 *
 * @category Runs
 */
export interface Logger {
  /**
   * Called once, before all else.
   *
   * @param folder the run folder, absolute
   * @param resumed where a resumed run goes on: what was logged of this method and seed after this step comes again. Empty for a new run
   */
  begin?(folder: string, resumed: readonly (Logged & { readonly step: number })[]): void | Promise<void>
  /**
   * Called for each line of `metrics.jsonl`: at most a hundred times in a task, and after each evaluation.
   *
   * @param step training steps of this method and seed so far, over all tasks
   * @param values `train/loss`, `train/gradNorm`, `train/lr`, `train/stepsPerSecond`, `train/memory` (bytes), `train/term-<n>`,
   *   `train/penalty-<name>`, `task`; after an evaluation `metrics/<name>`
   */
  scalars(step: number, values: Readonly<Record<string, number>>, of: Logged): void | Promise<void>
  /** Called for each grid of samples, with its name, `samples` or `samples/training`, and the bytes of its PNG file. */
  image?(step: number, name: string, png: Uint8Array, of: Logged): void | Promise<void>
  /** Called once, after all else, also where the run was stopped or failed. */
  close?(): void | Promise<void>
}

/** Several loggers as one, none of which ends the run: the first error of each is told, and it goes on being called. */
export function safeLoggers(loggers: readonly Logger[], onEvent: (event: RunEvent) => void): Required<Logger> {
  const failed = new Set<Logger>()
  const each = async (work: (logger: Logger) => void | Promise<void>) => {
    for (const logger of loggers) {
      try {
        await work(logger)
      } catch (error) {
        if (failed.has(logger)) continue
        failed.add(logger)
        onEvent({
          kind: 'warning',
          message: `a logger failed, and some of what it logs may be missing: ${messageOf(error)}`,
        })
      }
    }
  }
  return {
    begin: (folder, resumed) => each((logger) => logger.begin?.(folder, resumed)),
    scalars: (step, values, of) => each((logger) => logger.scalars(step, values, of)),
    image: (step, name, png, of) => each((logger) => logger.image?.(step, name, png, of)),
    close: () => each((logger) => logger.close?.()),
  }
}
