import { closeSync } from 'node:fs'

/** Exit statuses of programs that were ended by a signal: 128 and the signal's number. */
const statuses = { SIGHUP: 129, SIGINT: 130, SIGUSR2: 140, SIGTERM: 143, SIGXCPU: 152 } as const

/** The signals of {@link interruptSignal}. */
export const interrupting = Object.keys(statuses) as (keyof typeof statuses)[]

/** Why a command was stopped, and with which status the process should exit. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
  readonly status: number

  constructor(signal: keyof typeof statuses) {
    super(`stopped by ${signal}`)
    this.status = statuses[signal]
  }
}

/** Why a process ends of which another one tells. */
export class Silent extends Error {
  override readonly name = 'Silent'
  readonly status: number

  constructor(cause: unknown) {
    super('', { cause })
    this.status = cause instanceof Interrupted ? cause.status : 1
  }
}

/** Work that knows no signal, until it ends or the signal comes. */
export async function untilInterrupted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  signal.throwIfAborted()
  return await new Promise<T>((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    work.then(resolve, reject)
  })
}

/** Node gives a terminal its modes back as it ends, and crashes where the terminal is gone; files that are closed it leaves alone. */
function closeTerminal(): void {
  for (const fd of [0, 1, 2]) {
    try {
      closeSync(fd)
    } catch {
      // closed already
    }
  }
}

/**
 * A signal that SIGINT (Ctrl-C), SIGTERM, SIGHUP (the terminal is gone), and SIGXCPU and SIGUSR2 (a batch system's, before a job's time is over) abort
 * with {@link Interrupted} as its reason, so that work ends with its files whole. A second one ends the process at once, but for SIGXCPU, which the system
 * sends every second.
 */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController()
  for (const name of interrupting) {
    process.on(name, () => {
      if (name === 'SIGHUP') process.once('exit', closeTerminal)
      if (controller.signal.aborted && name === 'SIGXCPU') return
      if (controller.signal.aborted) process.exit(statuses[name])
      controller.abort(new Interrupted(name))
    })
  }
  return controller.signal
}
