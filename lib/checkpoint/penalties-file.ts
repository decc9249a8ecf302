import { z } from 'zod'
import type { NativePenalty, NativeQuadratic, ParameterInfo } from '../engine/state.js'
import { badFile } from '../files/bad-file.js'
import { readSafetensors, type StoredTensor, writeSafetensors } from '../files/safetensors.js'
import { nameParameters, pickParameters } from './parameters.js'

/** What learner.json says of what is consolidated. */
export const penaltiesSchema = z
  .array(
    z.strictObject({ name: z.string(), shape: z.enum(['diagonal', 'rank-1']), parts: z.int().min(1).max(1_000_000) }),
  )
  .default([])

/** What is consolidated under a name. */
export interface StoredPenalty {
  readonly name: string
  readonly shape: NativePenalty['shape']
  readonly quadratics: readonly NativeQuadratic[]
}

/** Tensors are named `<place of the penalty>.<part>.anchor.<parameter>`, and likewise `importance`. */
const prefix = (penalty: number, part: number, field: keyof NativeQuadratic) => `${penalty}.${part}.${field}.`

export async function writePenalties(
  file: string,
  penalties: readonly StoredPenalty[],
  parameters: readonly ParameterInfo[],
): Promise<void> {
  const tensors = penalties.flatMap(({ quadratics }, i) =>
    quadratics.flatMap((quadratic, part) =>
      (['anchor', 'importance'] as const).flatMap((field) =>
        nameParameters(quadratic[field], parameters, prefix(i, part, field)),
      ),
    ),
  )
  await writeSafetensors(file, new Map(tensors))
}

/** @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` */
export async function readPenalties(
  file: string,
  penalties: readonly NativePenalty[],
  parameters: readonly ParameterInfo[],
): Promise<StoredPenalty[]> {
  if (penalties.length === 0) return []
  const left = new Map((await readSafetensors(file)).tensors)
  const take = (start: string) => {
    const group = new Map<string, StoredTensor>()
    for (const [name, tensor] of left) {
      if (!name.startsWith(start)) continue
      group.set(name.slice(start.length), tensor)
      left.delete(name)
    }
    return pickParameters(file, group, parameters, start)
  }
  const stored = penalties.map(({ name, shape, parts }, i) => ({
    name,
    shape,
    quadratics: Array.from({ length: parts }, (_, part) => ({
      anchor: take(prefix(i, part, 'anchor')),
      importance: take(prefix(i, part, 'importance')),
    })),
  }))
  for (const name of left.keys()) throw badFile(file, `tensor '${name}' belongs to no penalty that learner.json names`)
  return stored
}
