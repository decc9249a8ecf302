import type { WriteStream } from 'node:tty'
import { SingleBar } from 'cli-progress'

/** How far something is. */
export interface LineState {
  /** What is being done. */
  readonly what: string
  readonly done: number
  /** `Infinity` where it isn't known. */
  readonly total: number
  /** The times left, where they are known; else they are told as if the rest went as fast. */
  readonly left?: string
  /** What is shown where there is room. */
  readonly detail?: string
}

/** A line of a terminal that lives: what is being done, a bar, and the time left. */
export interface LiveLine {
  show(state: LineState): void
  /** Leaves the terminal as it was; may be called twice. */
  end(): void
}

export function liveLine(stream: WriteStream): LiveLine {
  const timeLeft = timer()
  const bar = new SingleBar({
    format: (_, { progress }, payload) => progressLine(stream.columns || 80, progress, payload),
    hideCursor: true,
    clearOnComplete: true,
    linewrap: false,
    stream,
  })
  let current = ''
  const end = () => {
    bar.stop()
    current = ''
  }
  process.once('exit', end) // it may come in the middle, and the terminal is to have its cursor back
  return {
    show(state) {
      const { what, done, total, left = timeLeft(state), detail } = state
      if (what === current) return bar.update(done, { what, left, detail })
      bar.stop()
      bar.start(total, done, { what, left, detail })
      current = what
    },
    end,
  }
}

/** Says of what tells only how far it is the time left, as if the rest went as fast. */
function timer(): (state: LineState) => string {
  let begun = { what: '', time: 0, done: 0 }
  return ({ what, done, total }) => {
    const time = performance.now()
    if (what !== begun.what || done < begun.done) begun = { what, time, done }
    const fresh = done - begun.done
    if (!(fresh > 0 && total < Number.POSITIVE_INFINITY)) return ''
    return `${clock(((time - begun.time) / 1000) * ((total - done) / fresh))} left`
  }
}

/** The line of a bar in so many characters: the details and the bar where there is room, and the end of a long name left out. */
export function progressLine(
  columns: number,
  fraction: number,
  { what, left = '', detail = '' }: Pick<LineState, 'what' | 'left' | 'detail'>,
): string {
  const most = columns - 1 // in the last column, some terminals begin a new line
  const end = [`${Math.floor(100 * fraction)} %`.padStart(5), left]
  const withDetail = [what, ...end, detail].filter((part) => part !== '').join('  ')
  const line = withDetail.length <= most ? withDetail : [shortened(what, most, end), ...end].join('  ').trimEnd()
  const bar = Math.min(24, most - line.length - 2)
  if (bar < 8) return line.slice(0, most)
  const done = Math.round(fraction * bar)
  return line.replace(what, `${what}  ${'█'.repeat(done)}${'░'.repeat(bar - done)}`)
}

function shortened(what: string, most: number, end: readonly string[]): string {
  const room = Math.max(1, most - end.join('  ').length - 2)
  return what.length <= room ? what : `${what.slice(0, room - 1)}…`
}

/** Seconds as minutes and seconds, or hours, minutes and seconds. */
export function clock(seconds: number): string {
  const whole = Math.ceil(seconds)
  const minutes = Math.floor(whole / 60)
  const rest = String(whole % 60).padStart(2, '0')
  if (minutes < 60) return `${minutes}:${rest}`
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${rest}`
}
