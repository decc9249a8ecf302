import path from 'node:path'
import { z } from 'zod'
import type { ParameterInfo } from '../engine/state.js'
import { badFile } from '../files/bad-file.js'
import { readJson } from '../files/read-json.js'
import { type OpenSafetensors, withSafetensors } from '../files/safetensors.js'
import { parseOptions, shown } from '../validation/options.js'
import { missingFile } from './missing-file.js'
import { checkNames, checkTensor, list } from './parameters.js'

/** The name that diffusers gives a model's weights; a variant's name stands after it. */
const stem = 'diffusion_pytorch_model'
export const weightsFile = `${stem}.safetensors`

/** Of a model whose weights are in several files, the shards: which of them has which tensor. */
const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) })

/** Names that attention's tensors had before diffusers 0.17, and have in models that were saved then. */
const oldNames: Readonly<Record<string, string>> = {
  query: 'to_q',
  key: 'to_k',
  value: 'to_v',
  proj_attn: 'to_out.0',
}

const today = (name: string) =>
  name.replace(
    /(?<=\.attentions\.\d+\.)(query|key|value|proj_attn)(?=\.(weight|bias)$)/,
    (old) => oldNames[old] as string,
  )

/** A file of weights. */
interface Shard {
  readonly file: string
  /** The tensors that the index says it has. */
  readonly listed?: readonly string[]
}

/**
 * Reads the weights of a diffusers model folder, in one file or in shards that an index lists, in fp32, fp16 or bf16. Every file's header is
 * checked before its tensors are read.
 *
 * @param variant of the weights, e.g. `fp16`
 * @returns float32, in the order of the parameters
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT` that names the file, and the tensor where it is one
 */
export async function readWeights(
  folder: string,
  parameters: readonly ParameterInfo[],
  variant?: string,
): Promise<Float32Array[]> {
  const { single, index } = await find(folder, variant)
  if (index) {
    checkNames(index.file, [...index.places.keys()].map(today), parameters)
  }
  const places = new Map(parameters.map(({ name, shape }, i) => [name, { i, shape }]))
  const weights: Float32Array[] = Array(parameters.length)
  for (const { file, listed } of index?.shards ?? [single]) {
    const read = async ({ entries, readFloats }: OpenSafetensors) => {
      const names = [...entries.keys()]
      if (index) checkShard(index, file, listed ?? [], names)
      else checkNames(file, names.map(today), parameters)
      for (const [name, entry] of entries) checkTensor(file, name, entry, places.get(today(name))!.shape)
      for (const [name, entry] of entries) weights[places.get(today(name))!.i] = await readFloats(entry)
    }
    await withSafetensors(file, read).catch(async (error: Error) => {
      if ((error.cause as NodeJS.ErrnoException | undefined)?.code !== 'ENOENT') throw error
      if (!index) throw await missingFile(folder, path.basename(file))
      throw badFile(
        file,
        `there is no such file; ${path.basename(index.file)} says that it has ${list(listed ?? [])}: get the missing file`,
      )
    })
  }
  return weights
}

/** The files of the weights, with the index of shards. */
export async function weightFiles(folder: string, variant?: string): Promise<string[]> {
  const { single, index } = await find(folder, variant)
  return index ? [index.file, ...index.shards.map(({ file }) => file)] : [single.file]
}

async function find(folder: string, variant: string | undefined) {
  const between = variant === undefined ? '' : `.${variant}`
  const single: Shard = { file: path.join(folder, `${stem}${between}.safetensors`) }
  // Where there are both an index and a single file, diffusers takes the index too.
  return { single, index: await findIndex(folder, between) }
}

interface Index {
  readonly file: string
  /** Each tensor's file. */
  readonly places: ReadonlyMap<string, string>
  readonly shards: readonly Shard[]
}

/** @param between a variant with a dot before it, or nothing */
async function findIndex(folder: string, between: string): Promise<Index | undefined> {
  // The second is how diffusers before 0.31 named a variant's.
  for (const name of new Set([`${weightsFile}.index${between}.json`, `${weightsFile}${between}.index.json`])) {
    const file = path.join(folder, name)
    const json = await readJson(file)
    if (json === undefined) continue
    const { weight_map: map } = parseOptions(indexSchema, json, file, 'ERR_BAD_CHECKPOINT')
    const shards = new Map<string, string[]>()
    for (const [tensor, shard] of Object.entries(map)) {
      if (!/^[^./\\\0][^/\\\0]*\.safetensors$/.test(shard)) {
        throw badFile(
          file,
          `weight_map says that ${shown(tensor)} is in ${shown(shard)}; expected the name of a .safetensors file in the same folder`,
        )
      }
      const place = path.join(folder, shard)
      const listed = shards.get(place)
      if (listed) listed.push(tensor)
      else shards.set(place, [tensor])
    }
    const places = new Map(Object.entries(map).map(([tensor, shard]) => [tensor, path.join(folder, shard)]))
    return { file, places, shards: [...shards].map(([file, listed]) => ({ file, listed })) }
  }
  return undefined
}

/** Checks that a shard has the tensors that the index says are in it, and no others. */
function checkShard({ file: index, places }: Index, file: string, listed: readonly string[], names: readonly string[]) {
  const found = new Set(names)
  const missing = listed.filter((name) => !found.has(name))
  if (missing.length > 0) {
    throw badFile(file, `missing ${list(missing)}; ${path.basename(index)} says that this file has them`)
  }
  for (const name of names) {
    const place = places.get(name)
    if (place === file) continue
    throw badFile(
      file,
      `unexpected tensor '${name}'; ${path.basename(index)} ` +
        (place === undefined ? 'does not list it' : `says that it is in ${path.basename(place)}: expected it once`),
    )
  }
}
