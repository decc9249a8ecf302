import { oneLine } from '../validation/printable.js'

/** Shows on a terminal how far a command has come. */
export interface ProgressBar {
  /** @param what is being done; another one begins a new bar */
  update(what: string, progress: { readonly done: number; readonly total: number }): void
  /** Leaves the terminal as it was; may be called twice. */
  end(): void
}

/** A bar on standard error; nothing where that is no terminal. */
export async function progressBar(): Promise<ProgressBar> {
  if (!process.stderr.isTTY) return { update() {}, end() {} }
  const { default: progress } = await import('cli-progress')
  const bar = new progress.SingleBar({
    format: '{what}  {bar} {percentage} %',
    hideCursor: true,
    clearOnComplete: true,
    barsize: 24,
  })
  let current = ''
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
