import type { ParameterInfo } from '../engine/state.js'
import { badFile } from '../files/bad-file.js'
import { type StoredTensor, toFloat32 } from '../files/safetensors.js'

/**
 * The tensors in the network's order; there must be exactly these.
 *
 * @param prefix what stands before the names in the file, for messages
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT`
 */
export function pickParameters(
  file: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  parameters: readonly ParameterInfo[],
  prefix = '',
): Float32Array[] {
  const missing = parameters.filter(({ name }) => !tensors.has(name)).map(({ name }) => name)
  const known = new Set(parameters.map(({ name }) => name))
  const extra = [...tensors.keys()].filter((name) => !known.has(name))
  if (missing.length > 0)
    throw badFile(file, `missing ${list(missing, prefix)}; expected exactly the network's tensors`)
  if (extra.length > 0) throw badFile(file, `unexpected ${list(extra, prefix)}; expected exactly the network's tensors`)
  return parameters.map(({ name, shape }) => {
    const tensor = tensors.get(name) as StoredTensor
    if (tensor.shape.length !== shape.length || tensor.shape.some((size, i) => size !== shape[i])) {
      throw badFile(file, `tensor '${prefix}${name}' has shape [${tensor.shape}]; expected [${shape}]`)
    }
    const data = toFloat32(tensor)
    if (!data) throw badFile(file, `tensor '${prefix}${name}' has dtype ${tensor.dtype}; expected F32, F16 or BF16`)
    return data
  })
}

/** The network's tensors under names with a prefix, as a file holds them. */
export function nameParameters(
  tensors: readonly Float32Array[],
  parameters: readonly ParameterInfo[],
  prefix = '',
): [string, StoredTensor][] {
  return parameters.map(({ name, shape }, i) => [
    `${prefix}${name}`,
    { dtype: 'F32', shape, data: tensors[i] as Float32Array },
  ])
}

function list(names: readonly string[], prefix: string): string {
  const shown = names.slice(0, 5).map((name) => `'${prefix}${name}'`)
  const rest = names.length > shown.length ? ` and ${names.length - shown.length} more` : ''
  return `${names.length === 1 ? 'tensor' : 'tensors'} ${shown.join(', ')}${rest}`
}
