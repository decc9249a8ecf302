import type { WriteStream } from 'node:tty'
import { SingleBar } from 'cli-progress'
import type { Part, RunEvent } from '../experiment/events.js'
import { oneLine } from '../report/escape.js'
import type { MetricInfo } from '../report/results.js'
import { formatNumber } from '../report/summary.js'

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
    format: '{what} {bar} {percentage} % {state}',
    barsize: 24,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    hideCursor: true,
    clearOnComplete: true,
    linewrap: false,
    stream,
  })
  let current = ''
  const at = (what: string, total: number, value: number, state: string) => {
    if (what !== current) {
      bar.stop()
      bar.start(total, value, { what, state })
      current = what
    } else bar.update(value, { what, state })
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
      if (event.kind === 'classifier') at('classifier for the metrics', 1, event.fraction, '')
      else if (event.kind === 'pool') {
        const { images, total } = event.progress
        at(`${partName(event.part)}: replay pool`, total, images, `${images} of ${total} images`)
      } else if (event.kind === 'learn') {
        const { step, steps } = event.progress
        at(partName(event.part), steps, step, learnState(event, runLeft(event)))
      } else if (event.kind === 'evaluate') at(`${partName(event.part)}: evaluating`, event.total, event.done, '')
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
        line = `${partName(event.part)}  ${step}/${steps}  ${learnState(event, runLeft(event))}`
      } else line = finalLine(event)
      if (line === shown) return
      if (event.kind !== 'learn') shown = line
      stream.write(`${oneLine(line)}\n`)
    },
    end() {},
  }
}

function partName({ method, seed, task, tasks, part, parts }: Part): string {
  return `[${part}/${parts}] seed ${seed}, ${method}, task ${task}/${tasks}`
}

function learnState({ progress }: Extract<RunEvent, { kind: 'learn' }>, runLeft: number | undefined): string {
  const { loss, stepsPerSecond, secondsLeft } = progress
  return `${formatNumber(stepsPerSecond)} steps/s, loss ${formatNumber(loss)}, ${clock(secondsLeft)} left${runLeft === undefined ? '' : `, ${clock(runLeft)} of the run`}`
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
      return `${title} ${formatNumber(value)}`
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
