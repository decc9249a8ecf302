import type { ParameterInfo } from '../engine/state.js'
import { badFile } from '../files/bad-file.js'
import { isFloat, type StoredTensor, type TensorEntry, toFloat32 } from '../files/safetensors.js'

/**
 * Checks that a file has exactly the network's tensors.
 *
 * @param names those in the file, under today's names
 * @param prefix what stands before the names in the file, for messages
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT`
 */
export function checkNames(
  file: string,
  names: readonly string[],
  parameters: readonly ParameterInfo[],
  prefix = '',
): void {
  const found = new Set(names)
  const known = new Set(parameters.map(({ name }) => name))
  const left = new Set(names)
  const twice = names.filter((name) => !left.delete(name))
  const missing = [...known].filter((name) => !found.has(name))
  const extra = names.filter((name) => !known.has(name))
  if (twice.length > 0) {
    throw badFile(file, `${list(twice, prefix)} twice, under an old name and under today's; leave one of the two out`)
  }
  const expected = "expected exactly the network's tensors"
  if (missing.length > 0) throw badFile(file, `missing ${list(missing, prefix)}; ${expected}`)
  if (extra.length > 0) throw badFile(file, `unexpected ${list(extra, prefix)}; ${expected}`)
}

/**
 * Checks that a tensor of a file can be a parameter of the network.
 *
 * @param name its name in the file
 * @throws ContinualDiffusionError `ERR_BAD_CHECKPOINT`
 */
export function checkTensor(
  file: string,
  name: string,
  { dtype, shape }: Pick<TensorEntry, 'dtype' | 'shape'>,
  expected: ParameterInfo['shape'],
): void {
  if (shape.length !== expected.length || shape.some((size, i) => size !== expected[i])) {
    throw badFile(file, `tensor '${name}' has shape [${shape}]; expected [${expected}]`)
  }
  if (!isFloat(dtype)) throw badFile(file, `tensor '${name}' has dtype ${dtype}; expected F32, F16 or BF16`)
}

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
  checkNames(file, [...tensors.keys()], parameters, prefix)
  return parameters.map(({ name, shape }) => {
    const tensor = tensors.get(name) as StoredTensor
    checkTensor(file, `${prefix}${name}`, tensor, shape)
    return toFloat32(tensor) as Float32Array
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

/** Names of tensors in a message, the first of many. */
export function list(names: readonly string[], prefix = ''): string {
  const shown = names.slice(0, 5).map((name) => `'${prefix}${name}'`)
  const rest = names.length > shown.length ? ` and ${names.length - shown.length} more` : ''
  return `${names.length === 1 ? 'tensor' : 'tensors'} ${shown.join(', ')}${rest}`
}
