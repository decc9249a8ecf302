import { readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { replaceFile } from '../files/atomic.js'
import { append, eventRecord, fileVersion, type LoggedEvent, readEventFile } from '../files/event-file.js'
import { writeFlushed } from '../files/flush.js'
import type { Logged, Logger } from './logger.js'

/** An event file that is written to, and the tags that it has at its last step. */
interface Opened {
  readonly file: string
  readonly step: number
  readonly tags: ReadonlySet<string>
}

const logs = 'tensorboard'
const fileName = /^events\.out\.tfevents\.(\d+)\.continual-diffusion$/

/**
 * Writes TensorBoard's event files, `tensorboard/<method>/seed-<seed>` in the run folder; `tensorboard --logdir <run folder>/tensorboard`
 * shows them. A resumed run goes on in a file that has what was logged before its checkpoint, so that no step is there twice.
 *
 * @category Runs
 */
export function tensorBoard(): Logger {
  let folder = ''
  const opened = new Map<string, Promise<Opened>>()
  const open = (of: Logged) => {
    const at = path.join(folder, logs, of.method, `seed-${of.seed}`)
    const known = opened.get(at) ?? begin(at, 0)
    opened.set(at, known)
    return known
  }
  const write = async (of: Logged, { step, scalars = {}, images = {} }: Omit<LoggedEvent, 'time'>) => {
    const { file, step: last, tags } = await open(of)
    // An evaluation may come again, of the same weights, when the task was over.
    const isNew = ([tag]: [string, unknown]) => step !== last || !tags.has(tag)
    const event = {
      time: Date.now() / 1000,
      step,
      scalars: Object.fromEntries(Object.entries(scalars).filter(isNew)),
      images: Object.fromEntries(Object.entries(images).filter(isNew)),
    }
    if (Object.keys({ ...event.scalars, ...event.images }).length > 0) await append(file, eventRecord(event))
  }
  return {
    async begin(at, resumed) {
      folder = at
      const names = resumed.map(({ method, seed }) => path.join(method, `seed-${seed}`))
      // What was logged of methods that begin anew comes again.
      for (const method of await readdir(path.join(folder, logs)).catch(() => [])) {
        for (const seed of await readdir(path.join(folder, logs, method)).catch(() => [])) {
          const name = path.join(method, seed)
          if (!names.includes(name)) await rm(path.join(folder, logs, name), { recursive: true, force: true })
        }
      }
      for (const [i, { step }] of resumed.entries()) {
        const at = path.join(folder, logs, names[i]!)
        opened.set(at, begin(at, step))
      }
      await Promise.all(opened.values())
    },
    scalars: (step, scalars, of) => write(of, { step, scalars }),
    image: (step, name, png, of) => write(of, { step, images: { [name]: png } }),
  }
}

/**
 * Begins the next event file of a folder, with the events of the last one up to a step. A file that TensorBoard may be reading is not cut:
 * it would read on at a place that is no record's beginning.
 */
async function begin(at: string, step: number): Promise<Opened> {
  const names = await readdir(at).catch(() => [])
  const numbers = names.flatMap((name) => fileName.exec(name)?.[1] ?? []).map(Number)
  const last = Math.max(-1, ...numbers)
  const named = (n: number) => path.join(at, `events.out.tfevents.${String(n).padStart(3, '0')}.continual-diffusion`)
  const file = named(last + 1)
  const found = last < 0 ? [] : await readEventFile(named(last))
  const cut = found.findIndex((event) => event.step > step)
  const kept = cut < 0 ? found : found.slice(0, cut)
  const head =
    kept.length === 0 ? fileVersion(Date.now() / 1000) : (await readFile(named(last))).subarray(0, kept.at(-1)!.end)
  await replaceFile(file, (temporary) => writeFlushed(temporary, head))
  for (const n of numbers) await rm(named(n), { force: true })
  return { file, step, tags: new Set(kept.filter((event) => event.step === step).flatMap(({ tags }) => tags)) }
}
