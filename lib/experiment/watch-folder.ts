import { open, readdir, readFile, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { ContinualDiffusionError, messageOf } from '../errors.js'
import { parseJson } from '../files/read-json.js'
import { seriesOf } from '../report/colors.js'
import type { LiveLine, LivePoint, LiveProgress, LiveStatus } from '../report/live/entries.js'
import { LiveStore } from '../report/live/store.js'
import type { Results } from '../report/results.js'
import { parseOptions } from '../validation/options.js'
import type { RunEvent } from './events.js'
import { configFile, eventsFile, liveFolder, resultsFile, statusFile } from './folder.js'
import { checkResults, noRun, readPart } from './read-run.js'

/** Milliseconds without a sign of life, after which a run is held for killed; it gives one every five seconds. */
const silence = 30_000
/** Lines of the log that are kept, points of all curves together, and bytes that are read at once. */
const [mostLines, mostPoints, chunk] = [200, 40_000, 2 ** 20]

const configSchema = z.looseObject({
  title: z.string(),
  methods: z.array(z.looseObject({ label: z.string() })),
  seeds: z.array(z.int()),
})

/** A run folder that is watched: what is known of it, kept up by `poll`. */
export interface WatchedFolder {
  readonly store: LiveStore
  /** Looks what is new in the folder. It throws nothing: what can't be read is told as an error among the entries. */
  poll(): Promise<void>
  /** A picture that an entry names; undefined where none does, or where it isn't there. */
  image(file: string): Promise<Uint8Array | undefined>
}

/**
 * Reads the folder of a run, in whatever process and on whatever machine that is under way. It takes the same time and memory however long
 * the run is.
 *
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND` where the folder holds no run, `ERR_BAD_DATA` for a damaged `config.json`
 */
export async function watchFolder(at: string): Promise<WatchedFolder> {
  const folder = path.resolve(at)
  const file = path.join(folder, configFile)
  const text = await readPart(file, readFile(file, 'utf8')).catch((error: unknown) => noRun(folder, error))
  const config = parseOptions(configSchema, jsonOf(text, file), file, 'ERR_BAD_DATA')
  return new Watcher(folder, config)
}

function jsonOf(text: string, file: string): unknown {
  try {
    return parseJson(text)
  } catch (cause) {
    throw new ContinualDiffusionError('ERR_BAD_DATA', `${file} is not JSON: ${messageOf(cause)}`, { cause })
  }
}

class Watcher implements WatchedFolder {
  readonly store = new LiveStore()
  readonly #folder: string
  readonly #config: z.output<typeof configSchema>
  readonly #curves = new Map<string, LivePoint[]>()
  readonly #images = new Set<string>()
  #lines: LiveLine[] = []
  #about = ''
  #metrics: Readonly<Record<string, string>> = {}
  #read = 0
  #seenResults = ''
  #seenStatus = ''
  #status: LiveStatus = { state: 'waiting' }
  #lastSign: number | undefined
  #polling: Promise<void> = Promise.resolve()

  constructor(folder: string, config: z.output<typeof configSchema>) {
    this.#folder = folder
    this.#config = config
  }

  poll(): Promise<void> {
    this.#polling = this.#polling.then(() => this.#poll())
    return this.#polling
  }

  async #poll(): Promise<void> {
    for (const part of [
      () => this.#readEvents(),
      () => this.#readResults(),
      () => this.#readStatus(),
      () => this.#readSamples(),
    ]) {
      try {
        await part()
      } catch (error) {
        this.#note('error', messageOf(error))
      }
    }
    const { title, methods, seeds } = this.#config
    const series = seriesOf(methods.map(({ label }) => label))
    this.store.put({
      topic: 'run',
      title,
      folder: this.#folder,
      methods: methods.map(({ label }) => ({ label, series: series(label) })),
      seeds,
      metrics: this.#metrics,
      about: this.#about,
    })
    this.store.put({ topic: 'log', lines: this.#lines })
  }

  async image(file: string): Promise<Uint8Array | undefined> {
    if (!this.#images.has(file)) return undefined
    try {
      // A run may come from somebody else, and a link in its folder lead elsewhere.
      const [folder, real] = await Promise.all([realpath(this.#folder), realpath(path.join(this.#folder, file))])
      return real.startsWith(`${folder}${path.sep}`) ? await readFile(real) : undefined
    } catch {
      return undefined
    }
  }

  #note(kind: LiveLine['kind'], text: string, time = new Date().toISOString()): void {
    // What goes wrong at every look is told once.
    if (kind === 'error' && this.#lines.some((line) => line.kind === kind && line.text === text)) return
    this.#lines = [...this.#lines, { time, kind, text }].slice(-mostLines)
  }

  /** Reads what was added to `events.jsonl`. */
  async #readEvents(): Promise<void> {
    const handle = await open(path.join(this.#folder, eventsFile)).catch(absent)
    if (handle === undefined) return
    const changed = new Set<string>()
    try {
      const buffer = Buffer.allocUnsafe(chunk)
      if ((await handle.stat()).size < this.#read) this.#read = 0
      for (;;) {
        const { bytesRead } = await handle.read(buffer, 0, chunk, this.#read)
        if (bytesRead === 0) break
        // Only whole lines, and so only whole characters.
        const end = buffer.subarray(0, bytesRead).lastIndexOf('\n') + 1
        if (end === 0 && bytesRead === chunk) this.#read += bytesRead // no line of ours is as long
        if (end === 0) break
        this.#read += end
        for (const line of buffer.toString('utf8', 0, end).split('\n')) if (line !== '') this.#takeLine(line, changed)
      }
    } finally {
      await handle.close()
    }
    for (const key of changed) this.#putCurve(key)
  }

  #takeLine(line: string, changed: Set<string>): void {
    let event: RunEvent & { readonly time: string }
    try {
      event = JSON.parse(line)
      this.#take(event, changed)
    } catch {
      // A line that was cut off as its process was killed; the next one tells of that.
    }
  }

  #take(event: RunEvent & { readonly time: string }, changed: Set<string>): void {
    const { time } = event
    if (event.kind === 'folder') this.#note('note', 'The run begins, or goes on.', time)
    else if (event.kind === 'resume') {
      const from = event.number === undefined ? 'from its beginning' : `from checkpoint ${event.number}`
      this.#note('note', `The run is resumed ${from}.`, time)
    } else if (event.kind === 'warning') this.#note('warning', event.message, time)
    else if (event.kind === 'end') {
      if (event.state === 'failed') this.#note('error', String(event.message), time)
      else
        this.#note(
          'note',
          event.state === 'complete' ? 'The run is complete.' : `The run was stopped: ${event.message}`,
          time,
        )
    } else if (event.kind === 'ready') {
      this.#about = `U-Net of ${event.parameters.toLocaleString('en')} parameters on ${event.device} in ${event.precision}`
      this.#metrics = Object.fromEntries(Object.entries(event.metrics).map(([name, { title }]) => [name, title]))
    } else if (event.kind === 'losses') {
      const { method, seed, task } = event.part
      const { step, loss, gradNorm, lr } = event.losses
      const key = JSON.stringify([method, seed, task])
      const points = this.#curves.get(key) ?? []
      this.#curves.set(key, points)
      // A resumed run takes some steps again.
      while (points.length > 0 && points.at(-1)![0] >= step) points.pop()
      points.push([
        step,
        rounded(loss),
        rounded(gradNorm),
        rounded(lr),
        rounded(event.stepsPerSecond),
        event.memory.used,
      ])
      changed.add(key)
    }
  }

  /** Of many curves, each has fewer points: the first of each group, and the last. */
  #putCurve(key: string): void {
    const points = this.#curves.get(key)!
    const most = Math.max(10, Math.floor(mostPoints / this.#curves.size))
    const every = Math.ceil(points.length / most)
    const [method, seed, task] = JSON.parse(key) as [string, number, number]
    const thinned = points.filter((_, i) => i % every === 0 || i === points.length - 1)
    this.store.put({ topic: 'curve', method, seed, task, points: thinned })
  }

  async #readResults(): Promise<void> {
    const file = path.join(this.#folder, resultsFile)
    const found = await stat(file).catch(absent)
    const seen = found && `${found.mtimeMs} ${found.size} ${found.ino}`
    if (found === undefined || seen === this.#seenResults) return
    this.#seenResults = String(seen)
    const results: Results = checkResults(jsonOf(await readFile(file, 'utf8'), file), file)
    if (this.#about === '') {
      this.#about = `U-Net of ${results.parameters.toLocaleString('en')} parameters on ${results.device} in ${results.precision}`
    }
    this.#metrics = Object.fromEntries(Object.entries(results.metrics).map(([name, { title }]) => [name, title]))
    for (const { method, seed, tasks } of results.runs) {
      for (const { samples, realSamples } of tasks) this.#images.add(samples).add(realSamples)
      this.store.put({
        topic: 'found',
        method,
        seed,
        tasks: tasks.map(({ task, name, seconds, metrics, samples, realSamples, sharedFrom }) => ({
          task,
          name,
          seconds: seconds.learn + seconds.evaluate,
          metrics: Object.fromEntries(Object.entries(metrics).map(([name, { value }]) => [name, value])),
          samples,
          realSamples,
          sharedFrom,
        })),
      })
    }
    if (results.complete) this.#status = { state: 'complete' }
    else if (this.#status.state === 'complete') this.#status = { state: 'waiting' }
  }

  async #readStatus(): Promise<void> {
    const text = await readFile(path.join(this.#folder, statusFile), 'utf8').catch(absent)
    if (text !== undefined && text !== this.#seenStatus && this.#status.state !== 'complete') {
      // Of a clock on another machine only the first reading counts: after that, what counts is that there is another one.
      const { mtimeMs } = await stat(path.join(this.#folder, statusFile))
      this.#lastSign =
        this.#seenStatus === '' ? performance.now() - Math.max(0, Date.now() - mtimeMs) : performance.now()
      this.#seenStatus = text
      const { state, message, progress } = JSON.parse(text) as {
        state: LiveStatus['state']
        message?: string
        progress?: RunEvent
      }
      this.#status = { state, message, progress: progress && progressOf(progress) }
    }
    const isSilent = this.#lastSign !== undefined && performance.now() - this.#lastSign > silence
    const { state } = this.#status
    // A run that has found something and gives no sign at all is one from elsewhere, or from before.
    const isLost = (state === 'running' && isSilent) || (state === 'waiting' && this.#seenResults !== '')
    this.store.put({ topic: 'status', ...this.#status, state: isLost ? 'silent' : state })
  }

  async #readSamples(): Promise<void> {
    const part = this.#status.progress?.part
    const folder = `${liveFolder}/samples`
    const names = (await readdir(path.join(this.#folder, folder)).catch(absent)) ?? []
    if (part === undefined) return
    const grids = names
      .flatMap((name) => /^step-(\d+)\.png$/.exec(name)?.[1] ?? [])
      .map((step) => ({ step: Number(step), file: `${folder}/step-${step}.png` }))
      .sort((a, b) => a.step - b.step)
    for (const { file } of grids) this.#images.add(file)
    const { method, seed, task } = part
    this.store.put({ topic: 'samples', method, seed, task, grids })
  }
}

function progressOf(event: RunEvent): LiveProgress | undefined {
  if (event.kind === 'classifier') return { doing: event.kind, fraction: event.fraction }
  if (event.kind === 'pool') {
    const { images, total } = event.progress
    return { doing: event.kind, fraction: images / total, part: event.part }
  }
  if (event.kind === 'solver' || event.kind === 'evaluate') {
    return { doing: event.kind, fraction: event.done / event.total, ...(event.part && { part: event.part }) }
  }
  if (event.kind !== 'learn') return undefined
  const { step, steps, loss, gradNorm, lr, stepsPerSecond, secondsLeft } = event.progress
  return {
    ...{ doing: event.kind, fraction: step / steps, part: event.part },
    ...{ step, steps, loss, gradNorm, lr, stepsPerSecond, memory: event.memory },
    ...{ taskSecondsLeft: secondsLeft, runSecondsLeft: event.secondsLeft },
  }
}

/** Five digits, as many as a chart can show. */
function rounded(value: number): number {
  return Number(value.toPrecision(5))
}

/** For what isn't there, or not yet. */
function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT') return undefined
  throw error
}
