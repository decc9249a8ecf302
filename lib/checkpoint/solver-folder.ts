import path from 'node:path'
import { z } from 'zod'
import { leastSide } from '../engine/classifier.js'
import type { ParameterInfo } from '../engine/state.js'
import { readFolder, replaceFolder } from '../engine/whole-folder.js'
import { writeJson } from '../files/atomic.js'
import { badFile, checkFormat } from '../files/bad-file.js'
import { readJson } from '../files/read-json.js'
import { readSafetensors, writeSafetensors } from '../files/safetensors.js'
import { mostSteps, seedSchema } from '../validation/fields.js'
import { parseOptions } from '../validation/options.js'
import { channelsSchema, largestSide, sizeSchema } from '../validation/size.js'
import { nameParameters, pickParameters } from './parameters.js'

const solverFile = 'solver.json'
const weightsFile = 'solver.safetensors'

const format = 1

/** So far that no number made of it overflows. */
const count = z.int().min(0).max(mostSteps)

/** Null: the task had no test images. */
const accuracySchema = z.number().min(0).max(1).nullable()

const solverSchema = z.strictObject({
  format: z.literal(format),
  name: z.string().default('solver'),
  classes: z.array(z.string()).min(1),
  size: sizeSchema(leastSide, largestSide),
  channels: channelsSchema,
  seed: seedSchema,
  step: count,
  // Of it and the seed the seeds of generated images are made.
  stepsReplayed: count,
  tasksLearned: count,
  accuracies: z.array(z.array(accuracySchema)),
})

/** A solver between two tasks, besides its weights. */
export type SolverRecord = Omit<z.output<typeof solverSchema>, 'format'>

/** Writes a solver's folder, whole or not at all; an earlier solver's is replaced. */
export async function writeSolverFolder(
  folder: string,
  record: SolverRecord,
  parameters: readonly ParameterInfo[],
  weights: readonly Float32Array[],
): Promise<void> {
  const isOurs = (name: string) => name === solverFile || name === weightsFile
  await replaceFolder(folder, { marker: solverFile, isOurs }, async (temporary) => {
    await writeSafetensors(path.join(temporary, weightsFile), new Map(nameParameters(weights, parameters)))
    await writeJson(path.join(temporary, solverFile), { format, ...record })
  })
}

/** @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` that names the file and what is wrong in it */
export async function readSolverFolder(folder: string): Promise<{
  readonly record: SolverRecord
  /** Checks the weights, once the names and shapes that the network has are known. */
  weights(parameters: readonly ParameterInfo[]): Float32Array[]
}> {
  return readFolder(folder, async (at) => {
    const file = path.join(at, solverFile)
    const json = await readJson(file)
    if (json === undefined) throw badFile(file, "there is no such file; a solver's folder has one")
    checkFormat(file, json, format)
    const { format: _, ...record } = parseOptions(solverSchema, json, file, 'ERR_BAD_CHECKPOINT')
    const weights = path.join(at, weightsFile)
    const { tensors } = await readSafetensors(weights)
    return { record, weights: (parameters) => pickParameters(weights, tensors, parameters) }
  })
}
