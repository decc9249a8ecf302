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
  if (process.stderr.isTTY) {
    const { liveLine } = await import('./live-line.js')
    const { show, end } = liveLine(process.stderr)
    return { update: (what, { done, total }) => show({ what: oneLine(what), done, total }), end }
  }
  let current = ''
  return {
    update(what, _, line) {
      if (line !== undefined && what !== current) say(line)
      current = what
    },
    end() {},
  }
}
