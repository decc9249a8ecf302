import { appendFile, copyFile, mkdir, open, readdir, rm, truncate } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { learnerFile } from '../checkpoint/learner-folder.js'
import { type FileLock, lockFile } from '../engine/lock-file.js'
import { isWorkplace } from '../engine/whole-folder.js'
import { ContinualDiffusionError, messageOf } from '../errors.js'
import { replaceFile, writeError, writeJson } from '../files/atomic.js'
import { type Checksum, checksumOf } from '../files/checksum.js'
import { flush, writeFlushed } from '../files/flush.js'
import { makeFolder } from '../files/make-folder.js'
import { isPartFolder } from './part.js'

export const configFile = 'config.json'
export const resultsFile = 'results.json'
export const metricsFile = 'metrics.jsonl'
export const eventsFile = 'events.jsonl'
export const statusFile = 'live/status.json'
/** What is there only while a run is under way, and after it was stopped. */
export const liveFolder = 'live'
export const reportFile = 'report.html'
/** The classifier of the metrics: what is judged by it must be judged by the same one where the run goes on elsewhere. */
export const classifierFile = 'classifier.safetensors'
export const checkpointsFolder = 'checkpoints'
const lockName = 'run.lock'

/** What is left of a file of a run that was being written when the process was killed. */
const leftOver =
  /^(config\.json|results\.json|report\.html|classifier\.safetensors|status\.json|(task|step)-\d+\.png|events\.out\.tfevents\.[\w.-]+)\.([0-9a-f]{8}-\d+\.)?[0-9a-f]{8}\.tmp$/

/**
 * The files of one run. Every file is whole at every moment; `metrics.jsonl` grows by whole lines.
 *
 * - `config.json`: the configuration as resolved; it can be run again. It is written first, and makes the folder this run's
 * - `results.json`: the results, written again after each task
 * - `metrics.jsonl`: at most a hundred lines of mean losses per task, and one per task evaluated; nothing in it is a matter of speed
 * - `events.jsonl`: what happened when: beginnings, warnings, speed and memory beside each line of losses, how the run ended
 * - `live/`: the last sign of life, `status.json`, and samples of the task in progress; removed when the run is complete
 * - `samples/<method>/seed-<seed>/task-<k>.png`, and real images under `samples/real`
 * - `learners/<method>/seed-<seed>/task-<k>`: saved learners, which are diffusers model folders too
 * - `tensorboard/<method>/seed-<seed>`: event files, where the experiment logs them
 * - `classifier.safetensors`: the classifier of the metrics
 * - `report.html`: the page for people, written at the end, also where the run was stopped or failed
 * - `checkpoints/<n>`: from which a killed run is resumed; removed when the run is complete
 * - `run.lock`: there, and locked, while a process works in the folder
 */
export class RunFolder {
  readonly path: string
  readonly #lock: Extract<FileLock, { kind: 'taken' }> | undefined

  private constructor(folder: string, lock: Extract<FileLock, { kind: 'taken' }> | undefined) {
    this.path = folder
    this.#lock = lock
  }

  /**
   * Makes the folder with its `config.json` and locks it; of several runs that want the same one, one gets it.
   *
   * @param out a folder that is new or empty; undefined: the first of `runs/<name>`, `runs/<name>-2` … that is new
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when there is something in it, `ERR_RUN_LOCKED`, `ERR_WRITE_FAILED`
   */
  static async create(out: string | undefined, name: string, config: unknown): Promise<RunFolder> {
    try {
      if (out !== undefined) {
        const folder = path.resolve(out)
        // Of a run under way nobody should be told to resume or remove it.
        if ((await entries(folder)).includes(lockName)) RunFolder.#locked(folder).release()
        await checkEmpty(folder)
        await makeFolder(folder)
        return await RunFolder.#claim(folder, config)
      }
      await makeFolder('runs')
      for (let n = 1; ; n++) {
        const folder = path.resolve('runs', n === 1 ? name : `${name}-${n}`)
        if (await isNew(folder)) return await RunFolder.#claim(folder, config)
      }
    } catch (cause) {
      if (cause instanceof ContinualDiffusionError) throw cause
      const why = messageOf(cause)
      throw new ContinualDiffusionError(
        'ERR_WRITE_FAILED',
        `out: the run folder ${out ?? `runs/${name}`} can't be made: ${why}; name a folder that can be written to`,
        { cause },
      )
    }
  }

  /** The folder of a run that another process of the group writes: here nothing is written, and nothing is checked. */
  static follow(at: string): RunFolder {
    return new RunFolder(path.resolve(at), undefined)
  }

  static async #claim(at: string, config: unknown): Promise<RunFolder> {
    const folder = RunFolder.#locked(at)
    try {
      await checkEmpty(at)
      await folder.writeJson(configFile, config)
      return folder
    } catch (error) {
      folder.release()
      throw error
    }
  }

  /**
   * Locks the folder of an earlier run, and removes what that run left half-written.
   *
   * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND` where there is no run, `ERR_BAD_DATA` for a symbolic link in it,
   *   `ERR_RUN_LOCKED`, `ERR_WRITE_FAILED`
   */
  static async open(at: string): Promise<RunFolder> {
    const folder = path.resolve(at)
    await checkRun(folder)
    const opened = RunFolder.#locked(folder)
    try {
      for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
        const file = path.join(entry.parentPath, entry.name)
        if (isPartFolder(path.relative(folder, file).split(path.sep)[0]!)) continue // a run of its own
        if (entry.isSymbolicLink()) throw linkError(file)
        const isLeft = entry.isDirectory() ? await isWorkplace(file) : leftOver.test(entry.name)
        if (isLeft) await rm(file, { recursive: true, force: true })
      }
      return opened
    } catch (error) {
      opened.release()
      throw writeError(folder, error)
    }
  }

  static #locked(folder: string): RunFolder {
    const file = path.join(folder, lockName)
    let lock: FileLock
    try {
      lock = lockFile(file, `process ${process.pid} on ${hostname()}`)
    } catch (error) {
      throw writeError(file, error)
    }
    if (lock.kind === 'taken') return new RunFolder(folder, lock)
    throw new ContinualDiffusionError(
      'ERR_RUN_LOCKED',
      `${folder}: another run uses this folder${lock.holder === '' ? '' : `, ${lock.holder}`}; wait for its end, or name ` +
        'another folder',
    )
  }

  /** Whether this process writes the run's files. */
  get isWriter(): boolean {
    return this.#lock !== undefined
  }

  /** Whether another process would be kept out; some network file systems know no locks. */
  get isLocked(): boolean {
    return this.#lock?.supported ?? true
  }

  /** Whether the folder's lock is still this run's; it isn't where the folder was moved or removed. */
  get isOurs(): boolean {
    return this.#lock?.isOurs() ?? false
  }

  /**
   * Checks that the folder is still this run's.
   *
   * @throws ContinualDiffusionError `ERR_RUN_LOCKED`
   */
  check(): void {
    if (this.isOurs || !this.isWriter) return
    throw new ContinualDiffusionError(
      'ERR_RUN_LOCKED',
      `${this.at(lockName)} was removed or replaced since this run began: the folder may be another run's by now, and nothing more ` +
        'is written to it; expected that nobody moves or removes the folder of a run: begin this run again in another folder',
    )
  }

  /** Unlocks the folder. */
  release(): void {
    this.#lock?.unlock()
  }

  /** Absolute path of a file named relative to the folder. */
  at(relative: string): string {
    return path.join(this.path, relative)
  }

  /**
   * Absolute path of a file or folder that is to be written.
   *
   * @throws ContinualDiffusionError `ERR_RUN_LOCKED`
   */
  toWrite(relative: string): string {
    this.check()
    return this.at(relative)
  }

  async writeJson(relative: string, value: unknown): Promise<void> {
    if (!this.isWriter) return
    await replaceFile(this.toWrite(relative), (temporary) => writeJson(temporary, value))
  }

  async write(relative: string, bytes: Uint8Array | string): Promise<void> {
    if (!this.isWriter) return
    await replaceFile(this.toWrite(relative), (temporary) => writeFlushed(temporary, bytes))
  }

  async copy(from: string, to: string): Promise<void> {
    if (!this.isWriter) return
    await replaceFile(this.toWrite(to), (temporary) => copyFile(this.at(from), temporary))
  }

  /** Removes a file or a folder, where it is there. */
  async remove(relative: string): Promise<void> {
    if (!this.isWriter) return
    const file = this.toWrite(relative)
    try {
      await rm(file, { recursive: true, force: true })
    } catch (error) {
      throw writeError(file, error)
    }
  }

  /** Adds one line to `metrics.jsonl`, or to another file of lines. */
  async log(line: Readonly<Record<string, unknown>>, name = metricsFile): Promise<void> {
    if (!this.isWriter) return
    const file = this.toWrite(name)
    try {
      await appendFile(file, `${JSON.stringify(line)}\n`)
    } catch (error) {
      throw writeError(file, error)
    }
  }

  /** Flushes `metrics.jsonl` to the disk, and says how far it has come. */
  async logged(): Promise<Checksum> {
    const file = this.toWrite(metricsFile)
    try {
      const handle = await open(file, 'a')
      try {
        await flush(handle)
      } finally {
        await handle.close()
      }
      return await checksumOf(file)
    } catch (error) {
      throw writeError(file, error)
    }
  }

  /** Takes back the lines of `metrics.jsonl` after its first `bytes`: they will come again. */
  async unlog(bytes: number): Promise<void> {
    if (!this.isWriter) return
    const file = this.toWrite(metricsFile)
    try {
      // A run that was stopped before its first step has none.
      if (bytes > 0 || (await entries(this.path)).includes(metricsFile)) await truncate(file, bytes)
    } catch (error) {
      throw writeError(file, error)
    }
  }
}

/**
 * Checks that a folder is there, and is a run's.
 *
 * @throws ContinualDiffusionError `ERR_DATA_NOT_FOUND`
 */
export async function checkRun(folder: string): Promise<void> {
  const no = (what: string, cause?: unknown) =>
    new ContinualDiffusionError('ERR_DATA_NOT_FOUND', `${folder} ${what}; name the folder of a run`, { cause })
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    const found = { ENOENT: 'is not there', ENOTDIR: 'is not a folder' }[error.code ?? '']
    throw no(found ?? `can't be read: ${error.message}`, error)
  })
  if (!names.includes(configFile)) throw no(`has no ${configFile}, so it is not a run folder`)
  if (names.includes(learnerFile)) throw no(`has ${learnerFile}: it is a saved learner's, and not a run's`)
}

/** A run may come from somebody else, and a link in its folder would lead what is read or written there to elsewhere. */
export function linkError(file: string): ContinualDiffusionError {
  const message = `${file} is a symbolic link, or is reached through one; expected a run folder that holds its files itself: copy them there`
  return new ContinualDiffusionError('ERR_BAD_DATA', message)
}

/** Makes a folder; false when it is there already. */
async function isNew(folder: string): Promise<boolean> {
  try {
    await mkdir(folder)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function checkEmpty(folder: string): Promise<void> {
  const names = (await entries(folder)).filter((name) => name !== lockName)
  const [first] = names
  if (first === undefined) return
  const advice = names.includes(configFile) ? ', resume the run by --resume (resumeExperiment)' : ''
  throw new ContinualDiffusionError(
    'ERR_INVALID_ARGUMENT',
    `out: ${folder} holds ${names.includes(configFile) ? configFile : first}; expected a new or empty folder: name another one` +
      `${advice}, or remove this folder`,
  )
}

async function entries(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
