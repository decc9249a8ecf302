import { appendFile, mkdir, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { replaceFile, writeJson } from '../checkpoint/atomic.js'
import { ContinualDiffusionError } from '../engine/errors.js'

/**
 * The files of one run. Every file is whole at every moment; `metrics.jsonl` grows by whole lines.
 *
 * - `config.json`: the configuration as resolved; it can be run again. It is written first, and makes the folder this run's
 * - `results.json`: what was found, written anew after each task
 * - `metrics.jsonl`: one line per progress of the training, and one per task evaluated
 * - `samples/<method>/seed-<seed>/task-<k>.png`, and real images under `samples/real`
 * - `learners/<method>/seed-<seed>/task-<k>`: saved learners, which are diffusers model folders too
 * - `report.html`: the page for people, written at the end, also where the run was stopped or failed
 */
export class RunFolder {
  readonly path: string

  private constructor(folder: string) {
    this.path = folder
  }

  /**
   * Makes the folder with its `config.json`; of several runs that want the same one, one gets it.
   *
   * @param out a folder that is new or empty; undefined: the first of `runs/<name>`, `runs/<name>-2` … that is new
   * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` when there is something in it, `ERR_WRITE_FAILED`
   */
  static async create(out: string | undefined, name: string, config: unknown): Promise<RunFolder> {
    try {
      if (out !== undefined) {
        const folder = path.resolve(out)
        const [first] = await entries(folder)
        if (first !== undefined) throw notEmpty(folder, first)
        await mkdir(folder, { recursive: true })
        if (!(await claim(folder, config))) throw notEmpty(folder, configFile)
        return new RunFolder(folder)
      }
      await mkdir('runs', { recursive: true })
      for (let n = 1; ; n++) {
        const folder = path.resolve('runs', n === 1 ? name : `${name}-${n}`)
        if ((await isNew(mkdir(folder))) && (await claim(folder, config))) return new RunFolder(folder)
      }
    } catch (cause) {
      if (cause instanceof ContinualDiffusionError) throw cause
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new ContinualDiffusionError(
        'ERR_WRITE_FAILED',
        `out: the run folder ${out ?? `runs/${name}`} can't be made: ${why}; name a folder that can be written to`,
        { cause },
      )
    }
  }

  /** Absolute path of a file named relative to the folder. */
  at(relative: string): string {
    return path.join(this.path, relative)
  }

  async writeJson(relative: string, value: unknown): Promise<void> {
    await replaceFile(this.at(relative), (temporary) => writeJson(temporary, value))
  }

  async write(relative: string, bytes: Uint8Array | string): Promise<void> {
    await replaceFile(this.at(relative), (temporary) => writeFile(temporary, bytes, { flush: true }))
  }

  /** Adds one line to `metrics.jsonl`. */
  async log(line: Readonly<Record<string, unknown>>): Promise<void> {
    const file = this.at('metrics.jsonl')
    try {
      await appendFile(file, `${JSON.stringify(line)}\n`)
    } catch (cause) {
      throw new ContinualDiffusionError(
        'ERR_WRITE_FAILED',
        `${file} could not be written: ${(cause as Error).message}; make room, or name another folder`,
        { cause },
      )
    }
  }
}

const configFile = 'config.json'

/** Writes a folder's `config.json`; false when there is one already. */
function claim(folder: string, config: unknown): Promise<boolean> {
  return isNew(writeJson(path.join(folder, configFile), config, 'wx'))
}

/** Whether what was to be made is new; false when it is there already. */
async function isNew(making: Promise<unknown>): Promise<boolean> {
  try {
    await making
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function notEmpty(folder: string, holds: string): ContinualDiffusionError {
  return new ContinualDiffusionError(
    'ERR_INVALID_ARGUMENT',
    `out: ${folder} holds ${holds}; expected a new or empty folder: name another one, or remove that one`,
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
