import type { WriteStream } from 'node:tty'
import { SingleBar } from 'cli-progress'
import type { Part, RunEvent } from '../experiment/events.js'
import type { MetricInfo } from '../report/results.js'
import { formatNumber } from '../report/summary.js'
import { oneLine } from '../validation/printable.js'

/** Shows a run while it is under way: a bar on a terminal, else a line now and then. */
export interface RunDisplay {
  show(event: RunEvent): void
  /** Leaves the terminal as it was; may be called twice. */
  end(): void
}

export function runDisplay(stream: WriteStream): RunDisplay {
  return stream.isTTY ? barDisplay(stream) : lineDisplay(stream)
}

function barDisplay(stream: WriteStream): RunDisplay {
  const bar = new SingleBar({
    format: (_, { progress }, payload) => progressLine(stream.columns || 80, progress, payload),
    hideCursor: true,
    clearOnComplete: true,
    linewrap: false,
    stream,
  })
  let current = ''
  const at = (what: string, total: number, value: number, state: Partial<LineState> = {}) => {
    const payload = { what: oneLine(what), left: '', detail: '', ...state } satisfies LineState
    if (what !== current) {
      bar.stop()
      bar.start(total, value, payload)
      current = what
    } else bar.update(value, payload)
  }
  const end = () => {
    bar.stop()
    current = ''
  }
  const finalLine = finalLines()
  const runLeft = runClock()
  return {
    show(event) {
      if (event.kind === 'checkpoint') return
      if (event.kind === 'classifier') at('classifier for the metrics', 1, event.fraction)
      else if (event.kind === 'pool') {
        const { images, total } = event.progress
        at(`${partName(event.part)}: replay pool`, total, images, { detail: `${images} of ${total} images` })
      } else if (event.kind === 'learn') {
        const { step, steps } = event.progress
        at(partName(event.part), steps, step, learnState(event, runLeft(event)))
      } else if (event.kind === 'evaluate') at(`${partName(event.part)}: evaluating`, event.total, event.done)
      else {
        end()
        if (event.kind === 'task') runLeft(event)
        stream.write(`${oneLine(finalLine(event))}\n`)
      }
    },
    end,
  }
}

function lineDisplay(stream: WriteStream): RunDisplay {
  let shown = ''
  const finalLine = finalLines()
  const runLeft = runClock()
  return {
    show(event) {
      if (event.kind === 'evaluate' || event.kind === 'checkpoint' || event.kind === 'pool') return
      if (event.kind === 'task') runLeft(event)
      let line: string
      if (event.kind === 'classifier') line = 'training the classifier for the metrics'
      else if (event.kind === 'learn') {
        const { step, steps } = event.progress
        // Five lines a task: enough to see that it lives, few enough for a log.
        const fifth = Math.floor((5 * step) / steps)
        const key = `${partName(event.part)} ${fifth}`
        if (key === shown) return
        shown = key
        const { detail, left } = learnState(event, runLeft(event))
        line = `${partName(event.part)}  ${step}/${steps}  ${detail}, ${left}`
      } else line = finalLine(event)
      if (line === shown) return
      if (event.kind !== 'learn') shown = line
      stream.write(`${oneLine(line)}\n`)
    },
    end() {},
  }
}

function partName({ method, seed, task, tasks, part, parts }: Part): string {
  return `[${part}/${parts}] task ${task}/${tasks}, seed ${seed}, ${method}`
}

function learnState({ progress }: Extract<RunEvent, { kind: 'learn' }>, runLeft: number | undefined) {
  const { loss, stepsPerSecond, secondsLeft } = progress
  const run = runLeft === undefined ? '' : `, run: ${clock(runLeft)} left`
  return {
    detail: `${formatNumber(stepsPerSecond)} steps/s, loss ${formatNumber(loss)}`,
    left: `task: ${clock(secondsLeft)} left${run}`,
  }
}

/** What a progress line says besides the fraction done. */
interface LineState {
  readonly what: string
  /** The times left; empty where they are not known. */
  readonly left: string
  /** What is shown where there is room. */
  readonly detail: string
}

/** The line of a bar in so many characters: the details and the bar where there is room, and the end of a long name left out. */
export function progressLine(columns: number, fraction: number, { what, left, detail }: LineState): string {
  const most = columns - 1 // in the last column, some terminals begin a new line
  const end = [`${Math.floor(100 * fraction)} %`.padStart(5), left]
  const withDetail = [what, ...end, detail].filter((part) => part !== '').join('  ')
  const line = withDetail.length <= most ? withDetail : [shortened(what, most, end), ...end].join('  ').trimEnd()
  const bar = Math.min(24, most - line.length - 2)
  if (bar < 8) return line
  const done = Math.round(fraction * bar)
  return line.replace(what, `${what}  ${'█'.repeat(done)}${'░'.repeat(bar - done)}`)
}

function shortened(what: string, most: number, end: readonly string[]): string {
  const room = Math.max(1, most - end.join('  ').length - 2)
  return what.length <= room ? what : `${what.slice(0, room - 1)}…`
}

/**
 * Estimates the seconds left of a whole run: those of the current part, and for each later part the mean of the parts done; undefined
 * while none is.
 */
export function runClock(): (event: Extract<RunEvent, { kind: 'learn' | 'task' }>) => number | undefined {
  let parts = 0
  let learn = 0
  let evaluate = 0
  return (event) => {
    if (event.kind === 'task') {
      parts++
      learn += event.result.seconds.learn
      evaluate += event.result.seconds.evaluate
    }
    if (parts === 0) return undefined
    const toCome = ((learn + evaluate) / parts) * (event.part.parts - event.part.part)
    return event.kind === 'task' ? toCome : event.progress.secondsLeft + evaluate / parts + toCome
  }
}

/** Lines of what stays on the screen. */
function finalLines(): (
  event: Extract<RunEvent, { kind: 'folder' | 'ready' | 'task' | 'resume' | 'warning' }>,
) => string {
  let metrics: Readonly<Record<string, MetricInfo>> = {}
  return (event) => {
    if (event.kind === 'folder') return `writing into ${event.folder}`
    if (event.kind === 'ready') {
      metrics = event.metrics
      return `U-Net of ${event.parameters.toLocaleString('en')} parameters on ${event.device} in ${event.precision}`
    }
    if (event.kind === 'warning') return `warning: ${event.message}`
    if (event.kind === 'resume') {
      const { number } = event
      return number === undefined ? 'beginning again: there is no checkpoint yet' : `resuming from checkpoint ${number}`
    }
    const { part, result } = event
    const values = Object.entries(result.metrics).map(([name, { value }]) => {
      // The features stand in brackets; the table at the end has them.
      const title = metrics[name]?.title.replace(/ \(.*$/, '') ?? name
      return `${title} ${value === null ? '–' : formatNumber(value)}`
    })
    return `${partName(part)}: ${values.length === 0 ? 'learned' : values.join(', ')} (${Math.round(result.seconds.learn + result.seconds.evaluate)} s)`
  }
}

function clock(seconds: number): string {
  const whole = Math.ceil(seconds)
  const minutes = Math.floor(whole / 60)
  const rest = String(whole % 60).padStart(2, '0')
  if (minutes < 60) return `${minutes}:${rest}`
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${rest}`
}
