import type { WriteStream } from 'node:tty'
import { SingleBar } from 'cli-progress'
import type { RunEvent } from '../experiment/events.js'
import type { Part } from '../report/live/entries.js'
import type { MetricInfo } from '../report/results.js'
import { formatNumber } from '../report/summary.js'
import { oneLine, printable } from '../validation/printable.js'

/** Shows a run while it is under way. */
export interface RunDisplay {
  show(event: RunEvent): void
  /** Makes room for a line of something else. */
  pause(): void
  /** Leaves the terminal as it was; may be called twice. */
  end(): void
}

/** Least milliseconds between two lines of progress: of a log, which somebody reads later, and of JSON, which a program reads now. */
const pauses = { log: 10_000, json: 1000 }

/** The kinds of events that say how far something is. */
type ProgressEvent = Extract<RunEvent, { kind: 'download' | 'classifier' | 'pool' | 'learn' | 'evaluate' }>
type FinalEvent = Exclude<RunEvent, ProgressEvent | { kind: 'checkpoint' | 'losses' | 'samples' | 'end' }>

/**
 * A line for each task, and below them one line that lives; in a pipe or under CI (the environment variable `CI`), a line of progress every
 * ten seconds at most.
 *
 * @param env `NO_COLOR` and `FORCE_COLOR` count, see https://no-color.org
 */
export function runDisplay(
  stream: WriteStream,
  env: NodeJS.ProcessEnv = process.env,
  now: () => number = Date.now,
): RunDisplay {
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
export function jsonDisplay(stream: Pick<WriteStream, 'write'>, now: () => number = Date.now): RunDisplay {
  const isDue = paced(pauses.json, now)
  return {
    show(event) {
      if (isProgress(event) && !isDue(event)) return
      stream.write(`${printable(JSON.stringify({ time: new Date(now()).toISOString(), ...event }))}\n`)
    },
    pause() {},
    end() {},
  }
}

function barDisplay(stream: WriteStream, env: NodeJS.ProcessEnv): RunDisplay {
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
  const finalLine = finalLines(isColored(stream, env))
  return {
    show(event) {
      if (isProgress(event)) {
        const { total, done, ...state } = stateOf(event, timeLeft)
        if (state.what === current) return bar.update(done, state)
        bar.stop()
        bar.start(total, done, state)
        current = state.what
      } else if (isFinal(event)) {
        end()
        stream.write(`${finalLine(event)}\n`)
      }
    },
    pause: end,
    end,
  }
}

function lineDisplay(stream: WriteStream, env: NodeJS.ProcessEnv, now: () => number): RunDisplay {
  const isDue = paced(pauses.log, now)
  const finalLine = finalLines(isColored(stream, env))
  return {
    show(event) {
      if (isProgress(event)) {
        if (!isDue(event)) return
        const { what, done, total, detail, left } = stateOf(event, () => '')
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

function isProgress(event: RunEvent): event is ProgressEvent {
  return 'fraction' in event || 'progress' in event || event.kind === 'evaluate' || event.kind === 'download'
}

function isFinal(event: RunEvent): event is FinalEvent {
  return !isProgress(event) && !['checkpoint', 'losses', 'samples', 'end'].includes(event.kind)
}

function partName({ method, seed, task, tasks, part, parts }: Part): string {
  return `[${part}/${parts}] task ${task}/${tasks}, seed ${seed}, ${method}`
}

/** What a progress line says besides the fraction done. */
interface LineState {
  readonly what: string
  /** The times left; empty where they are not known. */
  readonly left: string
  /** What is shown where there is room. */
  readonly detail: string
}

/** Says of what tells only how far it is the time left, as if the rest went as fast. */
function timer(): (what: string, done: number, total: number) => string {
  let begun = { what: '', time: 0, done: 0 }
  return (what, done, total) => {
    const time = performance.now()
    if (what !== begun.what || done < begun.done) begun = { what, time, done }
    const fresh = done - begun.done
    if (!(fresh > 0 && total < Number.POSITIVE_INFINITY)) return ''
    return `${clock(((time - begun.time) / 1000) * ((total - done) / fresh))} left`
  }
}

function stateOf(
  event: ProgressEvent,
  timeLeft: ReturnType<typeof timer>,
): LineState & { readonly done: number; readonly total: number } {
  if (event.kind === 'download') {
    const { file, done, total } = event
    const what = `downloading ${file}`
    const all = total || Number.POSITIVE_INFINITY
    return { what, done, total: all, left: timeLeft(what, done, all), detail: '' }
  }
  if (event.kind === 'classifier') {
    const [what, done] = ['classifier for the metrics', event.fraction]
    return { what, done, total: 1, left: timeLeft(what, done, 1), detail: '' }
  }
  const name = oneLine(partName(event.part))
  if (event.kind === 'evaluate') {
    const [what, { done, total }] = [`${name}: evaluating`, event]
    return { what, done, total, left: timeLeft(what, done, total), detail: '' }
  }
  if (event.kind === 'pool') {
    const { images, total } = event.progress
    return { what: `${name}: replay pool`, done: images, total, left: '', detail: `${images} of ${total} images` }
  }
  const { step, steps, loss, stepsPerSecond, secondsLeft } = event.progress
  const run = event.secondsLeft === undefined ? '' : `, run: ${clock(event.secondsLeft)} left`
  return {
    what: name,
    done: step,
    total: steps,
    detail: `${formatNumber(stepsPerSecond)} steps/s, loss ${formatNumber(loss)}`,
    left: `task: ${clock(secondsLeft)} left${run}`,
  }
}

/** The line of a bar in so many characters: the details and the bar where there is room, and the end of a long name left out. */
export function progressLine(columns: number, fraction: number, { what, left, detail }: LineState): string {
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

function clock(seconds: number): string {
  const whole = Math.ceil(seconds)
  const minutes = Math.floor(whole / 60)
  const rest = String(whole % 60).padStart(2, '0')
  if (minutes < 60) return `${minutes}:${rest}`
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${rest}`
}
