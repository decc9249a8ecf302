import type { WriteStream } from 'node:tty'
import { isProgress, type ProgressEvent, type RunEvent } from '../experiment/events.js'
import type { Part } from '../report/live/entries.js'
import type { MetricInfo } from '../report/results.js'
import { formatNumber } from '../report/summary.js'
import { oneLine, printable } from '../validation/printable.js'
import { clock, type LineState, liveLine } from './live-line.js'

/** Shows a run while it is under way. */
export interface RunDisplay {
  show(event: RunEvent): void
  /** Makes room for a line of something else. */
  pause(): void
  /** Leaves the terminal as it was; may be called twice. */
  end(): void
}

/** Milliseconds by a clock that nobody sets. */
const steady = () => performance.now()

/** Least milliseconds between two lines of progress: of a log, which somebody reads later, and of JSON, which a program reads now. */
const pauses = { log: 10_000, json: 1000 }

type FinalEvent = Exclude<RunEvent, ProgressEvent | { kind: 'checkpoint' | 'losses' | 'samples' | 'end' }>

/**
 * A line for each task, and below them one line that lives; in a pipe or under CI (the environment variable `CI`), a line of progress every
 * ten seconds at most.
 *
 * @param env `NO_COLOR` and `FORCE_COLOR` count, see https://no-color.org
 */
export function runDisplay(stream: WriteStream, env: NodeJS.ProcessEnv = process.env, now = steady): RunDisplay {
  return stream.isTTY && !isSet(env.CI) ? barDisplay(stream, env) : lineDisplay(stream, env, now)
}

/** Nothing but warnings. */
export function quietDisplay(stream: WriteStream, env: NodeJS.ProcessEnv = process.env): RunDisplay {
  const finalLine = finalLines(isColored(stream, env))
  return {
    show(event) {
      if (event.kind === 'warning') stream.write(`${finalLine(event)}\n`)
    },
    pause() {},
    end() {},
  }
}

/** Each event as a line of JSON with its time; of progress one a second at most. */
export function jsonDisplay(stream: Pick<WriteStream, 'write'>, now = steady): RunDisplay {
  const isDue = paced(pauses.json, now)
  return {
    show(event) {
      if (isProgress(event) && !isDue(event)) return
      stream.write(`${printable(JSON.stringify({ time: new Date().toISOString(), ...event }))}\n`)
    },
    pause() {},
    end() {},
  }
}

function barDisplay(stream: WriteStream, env: NodeJS.ProcessEnv): RunDisplay {
  const bar = liveLine(stream)
  const finalLine = finalLines(isColored(stream, env))
  return {
    show(event) {
      if (isProgress(event)) bar.show(stateOf(event))
      else if (isFinal(event)) {
        bar.end()
        stream.write(`${finalLine(event)}\n`)
      }
    },
    pause: bar.end,
    end: bar.end,
  }
}

function lineDisplay(stream: WriteStream, env: NodeJS.ProcessEnv, now: () => number): RunDisplay {
  const isDue = paced(pauses.log, now)
  const finalLine = finalLines(isColored(stream, env))
  return {
    show(event) {
      if (isProgress(event)) {
        if (!isDue(event)) return
        const { what, done, total, detail, left } = stateOf(event)
        const far = event.kind === 'learn' ? `${done}/${total}` : `${Math.floor((100 * done) / total)} %`
        stream.write(`${[what, far, [detail, left].filter(Boolean).join(', ')].filter(Boolean).join('  ')}\n`)
      } else if (isFinal(event)) stream.write(`${finalLine(event)}\n`)
    },
    pause() {},
    end() {},
  }
}

/** Whether an event of progress is to be shown: the first of a download, of the classifier and of the learners, and others after a pause. */
function paced(pause: number, now: () => number): (event: ProgressEvent) => boolean {
  let last: { readonly time: number; readonly stage: string } | undefined
  return ({ kind }) => {
    const time = now()
    const stage = kind === 'download' || kind === 'classifier' ? kind : 'learners'
    if (last?.stage === stage && time - last.time < pause) return false
    last = { time, stage }
    return true
  }
}

function isFinal(event: RunEvent): event is FinalEvent {
  return !isProgress(event) && !['checkpoint', 'losses', 'samples', 'end'].includes(event.kind)
}

function partName({ method, seed, task, tasks, part, parts }: Part): string {
  return `[${part}/${parts}] task ${task}/${tasks}, seed ${seed}, ${method}`
}

function stateOf(event: ProgressEvent): LineState {
  if (event.kind === 'download') {
    const { file, done, total } = event
    return { what: `downloading ${file}`, done, total: total || Number.POSITIVE_INFINITY }
  }
  if (event.kind === 'classifier') return { what: 'classifier for the metrics', done: event.fraction, total: 1 }
  const { part } = event
  const name = part ? `${oneLine(partName(part))}: ` : ''
  if (event.kind === 'solver') return { what: `${name}solver`, done: event.done, total: event.total }
  if (event.kind === 'evaluate') return { what: `${name}evaluating`, done: event.done, total: event.total }
  if (event.kind === 'pool') {
    const { images, total } = event.progress
    return { what: `${name}replay pool`, done: images, total, detail: `${images} of ${total} images` }
  }
  const { step, steps, loss, stepsPerSecond, secondsLeft } = event.progress
  const run = event.secondsLeft === undefined ? '' : `, run: ${clock(event.secondsLeft)} left`
  return {
    what: oneLine(partName(event.part)),
    done: step,
    total: steps,
    detail: `${formatNumber(stepsPerSecond)} steps/s, loss ${formatNumber(loss)}`,
    left: `task: ${clock(secondsLeft)} left${run}`,
  }
}

/** Lines of what stays on the screen. */
function finalLines(colored: boolean): (event: FinalEvent) => string {
  let metrics: Readonly<Record<string, MetricInfo>> = {}
  const lineOf = (event: FinalEvent) => {
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
  return (event) => {
    const line = oneLine(lineOf(event))
    return colored && event.kind === 'warning' ? `\u001b[33m${line}\u001b[39m` : line
  }
}

/** Whether lines may have colours: as https://no-color.org and https://force-color.org say, else on a terminal. */
function isColored(stream: WriteStream, env: NodeJS.ProcessEnv): boolean {
  if (isSet(env.NO_COLOR)) return false
  if (isSet(env.FORCE_COLOR)) return env.FORCE_COLOR !== '0'
  return stream.isTTY === true && env.TERM !== 'dumb'
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== ''
}
