import { oneLine } from '../validation/printable.js'
import { say } from './output.js'

/** Shows on a terminal how far a command has come. */
export interface ProgressBar {
  /**
   * @param what is being done; another one begins a new bar
   * @param line is said once, where there is no terminal
   */
  update(what: string, progress: { readonly done: number; readonly total: number }, line?: string): void
  /** Leaves the terminal as it was; may be called twice. */
  end(): void
}

/** A bar on standard error; where that is no terminal, only the lines. */
export async function progressBar(): Promise<ProgressBar> {
  let current = ''
  if (!process.stderr.isTTY) {
    return {
      update(what, _, line) {
        if (line !== undefined && what !== current) say(line)
        current = what
      },
      end() {},
    }
  }
  const { default: progress } = await import('cli-progress')
  const bar = new progress.SingleBar({
    format: '{what}  {bar} {percentage} %',
    hideCursor: true,
    clearOnComplete: true,
    barsize: 24,
  })
  return {
    update(what, { done, total }) {
      if (what !== current) {
        bar.stop()
        bar.start(total, done, { what: oneLine(what) })
        current = what
      } else bar.update(done)
    },
    end() {
      bar.stop()
      current = ''
    },
  }
}
