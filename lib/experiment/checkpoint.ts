import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import type { Solver } from '../classifiers/solver.js'
import { replaceFolder } from '../engine/whole-folder.js'
import { ContinualDiffusionError } from '../errors.js'
import { writeJson } from '../files/atomic.js'
import { badFile, checkFormat } from '../files/bad-file.js'
import { checksumOf } from '../files/checksum.js'
import { readJson } from '../files/read-json.js'
import type { Learner } from '../learner/learner.js'
import { runsSchema, versionsSchema, withinSchema } from '../report/results-schema.js'
import { isShallow, shallowExpected } from '../validation/depth.js'
import { isRecord, parseOptions } from '../validation/options.js'
import { checkpointsFolder, metricsFile, type RunFolder, resultsFile } from './folder.js'
import { recorderSchema } from './loss-recorder.js'

/** Version of checkpoint.json. */
const format = 1
const checkpointFile = 'checkpoint.json'
const learnerFolder = 'learner'
const solverFolder = 'solver'

const checksumSchema = z.strictObject({ bytes: z.int().min(0), sha256: z.string() })

const schema = z.strictObject({
  format: z.literal(format),
  versions: versionsSchema,
  /** The run's configuration; it is compared with the one that is run. */
  config: z.record(z.string(), z.unknown()),
  /** Where the learners run. */
  machine: z.strictObject({ device: z.string(), precision: z.string(), parameters: z.int() }),
  /** Digests of what the run reads from outside its folder. */
  inputs: z.record(z.string(), z.string()),
  /** What was found so far; the last one is the one under way. */
  runs: runsSchema,
  /** The task that was begun and isn't in `runs` yet; the learner's folder says whether it was learned to its end. */
  task: z
    .strictObject({
      number: z.int().min(1),
      /** Row of the solver's accuracies. */
      solver: z.array(z.number()).optional(),
      /** Spent on learning it. */
      milliseconds: z.number().min(0),
      losses: recorderSchema,
    })
    .optional(),
  /** Folders of the last run's learner and solver, relative to the run folder. */
  learner: withinSchema,
  solver: withinSchema.optional(),
  /** All files that it consists of, and the beginning of `metrics.jsonl`, by their paths relative to the run folder. */
  files: z.record(withinSchema, checksumSchema),
  checksum: z.string(),
})

/** A checkpoint as it is on the disk. */
export type Checkpoint = z.output<typeof schema>

/** What a run's checkpoint is made of. */
export interface CheckpointContents extends Omit<Checkpoint, 'format' | 'files' | 'checksum' | 'learner' | 'solver'> {
  /** One that stands in the middle of a task, or the folder, relative to the run folder, where one is saved already. */
  readonly learner: Learner | string
  readonly solver: Solver | undefined
}

/**
 * Writes the next checkpoint, `checkpoints/<n>`, whole or not at all, and then removes the oldest ones.
 *
 * @param keep how many stay
 * @returns n
 * @throws ContinualDiffusionError `ERR_WRITE_FAILED`; the checkpoints before are as they were
 */
export async function writeCheckpoint(folder: RunFolder, contents: CheckpointContents, keep: number): Promise<number> {
  const { learner, solver, ...rest } = contents
  const numbers = await checkpointNumbers(folder)
  const number = (numbers[0] ?? 0) + 1
  const name = `${checkpointsFolder}/${number}`
  const place = { marker: checkpointFile, isOurs: () => false }
  await replaceFolder(folder.toWrite(name), place, async (temporary) => {
    const within = (part: string) => path.join(temporary, part)
    if (typeof learner !== 'string') await learner.save(within(learnerFolder))
    await solver?.save(within(solverFolder))
    const files: Record<string, unknown> = { [metricsFile]: await folder.logged() }
    const addAll = async (relative: string, at: string) => {
      for (const file of (await readdir(at)).sort()) {
        files[`${relative}/${file}`] = await checksumOf(path.join(at, file))
      }
    }
    const saved = typeof learner === 'string' ? learner : `${name}/${learnerFolder}`
    await addAll(saved, typeof learner === 'string' ? folder.at(learner) : within(learnerFolder))
    if (solver) await addAll(`${name}/${solverFolder}`, within(solverFolder))
    const whole = { format, ...rest, learner: saved, solver: solver && `${name}/${solverFolder}`, files }
    await writeJson(within(checkpointFile), { ...whole, checksum: checksumOfContents(whole) })
  })
  for (const old of numbers.slice(keep - 1)) await folder.remove(`${checkpointsFolder}/${old}`)
  return number
}

/**
 * Reads the newest checkpoint that is whole.
 *
 * @param onDamaged told of each newer one that isn't
 * @returns undefined where the run has written none yet
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` where there are some, and all of them damaged
 */
export async function newestCheckpoint(
  folder: RunFolder,
  onDamaged: (message: string) => void,
): Promise<{ readonly number: number; readonly checkpoint: Checkpoint } | undefined> {
  const numbers = await checkpointNumbers(folder)
  const damages: string[] = []
  for (const number of numbers) {
    try {
      const checkpoint = await readCheckpoint(folder, number)
      for (const damage of damages) onDamaged(`${damage}; resuming from checkpoint ${number} instead`)
      return { number, checkpoint }
    } catch (error) {
      if (!(error instanceof ContinualDiffusionError) || error.code !== 'ERR_BAD_CHECKPOINT') throw error
      damages.push(`checkpoint ${number} can't be used: ${error.message}`)
    }
  }
  if (numbers.length === 0) return undefined
  throw badFile(
    folder.at(checkpointsFolder),
    `${damages.join('; ')}; there is no other checkpoint: remove this folder and ${resultsFile}, and the run begins again`,
  )
}

/** @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` where anything in it is not as it was written */
export async function readCheckpoint(folder: RunFolder, number: number): Promise<Checkpoint> {
  const file = folder.at(`${checkpointsFolder}/${number}/${checkpointFile}`)
  const json = await readJson(file)
  if (json === undefined) throw badFile(file, 'there is no such file')
  // The checksum is one of the text that the contents make.
  if (!isShallow(json)) throw badFile(file, `damaged: ${shallowExpected}`)
  const { checksum, ...whole } = (json ?? {}) as Record<string, unknown>
  if (checksum !== checksumOfContents(whole)) throw badFile(file, 'damaged: its checksum does not match its contents')
  checkFormat(file, json, format)
  const checkpoint = parseOptions(schema, json, file, 'ERR_BAD_CHECKPOINT')
  for (const [name, expected] of Object.entries(checkpoint.files)) {
    const at = folder.at(name)
    const found = await checksumOf(at, name === metricsFile ? expected.bytes : undefined).catch((cause: Error) => {
      throw badFile(at, cause.message, cause)
    })
    if (found.bytes !== expected.bytes) {
      throw badFile(at, `damaged: it has ${found.bytes} bytes; expected ${expected.bytes}`)
    }
    if (found.sha256 !== expected.sha256) throw badFile(at, 'damaged: its checksum has changed')
  }
  return checkpoint
}

/** Folders of the learners that checkpoints refer to, relative to the run folder. */
export async function savedLearners(folder: RunFolder): Promise<string[]> {
  const numbers = await checkpointNumbers(folder)
  const read = (number: number) => readJson(folder.at(`${checkpointsFolder}/${number}/${checkpointFile}`))
  return (await Promise.all(numbers.map(read))).flatMap((json) => {
    const learner = isRecord(json) ? json.learner : undefined
    return typeof learner === 'string' ? learner : []
  })
}

/** The run's checkpoints, the newest first. */
async function checkpointNumbers(folder: RunFolder): Promise<number[]> {
  const names = await readdir(folder.at(checkpointsFolder)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw badFile(folder.at(checkpointsFolder), error.message, error)
  })
  return names
    .filter((name) => /^[1-9]\d*$/.test(name))
    .map(Number)
    .sort((a, b) => b - a)
}

export function checksumOfContents(contents: unknown): string {
  return createHash('sha256').update(JSON.stringify(contents)).digest('hex')
}
