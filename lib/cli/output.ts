import { printable } from '../validation/printable.js'

/** Prints the result of a command. */
export function print(text: string): void {
  console.log(printable(text))
}

/** Characters of a line of the result; no limit where it doesn't go to a terminal. */
export function lineWidth(): number {
  const { isTTY, columns } = process.stdout
  return isTTY ? columns || 80 : Number.POSITIVE_INFINITY
}

/** What stands before all that this process says beside the result. */
let before = ''

/** From now on what this process says names it, as one of several. */
export function sayAs(name: string): void {
  before = `${name}: `
}

/** Says something beside the result. */
export function say(text: string): void {
  console.error(printable(before + text))
}

/** Warnings as a command's own: without the process's number, and advice for programmers. What Node was told of warnings stays so. */
export function sayWarnings(): void {
  const told = [
    ...process.execArgv,
    process.env.NODE_OPTIONS ?? '',
    process.env.NODE_NO_WARNINGS ? '--no-warnings' : '',
  ]
  if (told.some((option) => option.includes('warning'))) return
  process.removeAllListeners('warning')
  process.on('warning', ({ name, message }) => say(`${name === 'Warning' ? 'warning' : name}: ${message}`))
}

/** What became of the two streams that a command writes to. */
export interface Output {
  /** What couldn't be written, and why, once all that was written has gone out; undefined where nothing was lost. */
  lost(): Promise<string | undefined>
  /** Whether what was to be printed is lost, though somebody wants it: a reader that has gone (EPIPE) has read enough. */
  readonly isResultLost: boolean
}

/** From now on a full disk or a reader that has gone doesn't end the process: work goes on without its log. */
export function watchOutput(): Output {
  const errors = new Map<string, NodeJS.ErrnoException>()
  const streams = { stdout: process.stdout, stderr: process.stderr }
  for (const [name, stream] of Object.entries(streams)) {
    stream.on('error', (error) => {
      // Later ones only say that the stream has failed.
      if (!errors.has(name)) errors.set(name, error)
    })
  }
  return {
    async lost() {
      for (const stream of Object.values(streams)) {
        if (!stream.destroyed) await new Promise<void>((resolve) => stream.write('', () => resolve()))
      }
      const list = [...errors].map(([name, { message }]) => `${name}: ${message}`)
      return list.length === 0 ? undefined : list.join('; ')
    },
    get isResultLost() {
      return errors.has('stdout') && errors.get('stdout')?.code !== 'EPIPE'
    },
  }
}
