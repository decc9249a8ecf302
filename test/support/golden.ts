import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { parseUNetConfig, type UNetConfig } from '../../lib/config/unet.js'
import type { NativeLearner } from '../../lib/engine/native-learner.js'
import type { NativeTensor } from '../../lib/engine/native-values.js'
import { readSafetensors, type StoredTensor, toFloat32 } from '../../lib/files/safetensors.js'

/** Path of a file that Python's PyTorch and diffusers wrote; see README.md there. */
export function goldenPath(name: string): string {
  return fileURLToPath(new URL(`../fixtures/golden/${name}`, import.meta.url))
}

export function goldenJson<T>(name: string): T {
  return JSON.parse(readFileSync(goldenPath(name), 'utf8')) as T
}

export function goldenUNet(name: string): UNetConfig {
  return parseUNetConfig(goldenJson(name), name)
}

/** Named tensors of a golden file. */
export class Golden {
  private constructor(private readonly tensors: ReadonlyMap<string, StoredTensor>) {}

  static async read(name: string): Promise<Golden> {
    return new Golden((await readSafetensors(goldenPath(name))).tensors)
  }

  get names(): string[] {
    return [...this.tensors.keys()]
  }

  tensor(name: string): NativeTensor {
    const tensor = this.get(name)
    const data = toFloat32(tensor)
    if (!data) throw new Error(`${name} is ${tensor.dtype}`)
    return { data, shape: tensor.shape }
  }

  integers(name: string): Int32Array {
    const { data } = this.get(name)
    return Int32Array.from(data as BigInt64Array, Number)
  }

  /** Of any type. */
  numbers(name: string): Float64Array {
    const tensor = this.get(name)
    return Float64Array.from(tensor.data as ArrayLike<number | bigint>, Number)
  }

  scalar(name: string): number {
    return this.tensor(name).data[0] as number
  }

  /** The network's tensors in its own order. */
  weights(native: NativeLearner, prefix = ''): Float32Array[] {
    return native.parameters.map(({ name }) => this.tensor(`${prefix}${name}`).data)
  }

  private get(name: string): StoredTensor {
    const tensor = this.tensors.get(name)
    if (!tensor) throw new Error(`there is no ${name} in the golden file`)
    return tensor
  }
}

/** Row `i` of a tensor along its first dimension. */
export function row({ data, shape }: NativeTensor, i: number): NativeTensor {
  const rest = shape.slice(1)
  const size = rest.reduce((product, n) => product * n, 1)
  return { data: data.slice(i * size, (i + 1) * size), shape: rest }
}

/** Expects every element within `tolerance` of the expected tensor's largest magnitude. */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what = 'tensor',
): void {
  expect(actual.length, `${what}: length`).toBe(expected.length)
  let largest = 0
  let off = 0
  for (let i = 0; i < expected.length; i++) {
    largest = Math.max(largest, Math.abs(expected[i] as number))
    const difference = Math.abs((actual[i] as number) - (expected[i] as number))
    // Written so that a NaN is off by everything.
    off = difference <= off ? off : difference >= off ? difference : Number.POSITIVE_INFINITY
  }
  expect(off, `${what}: largest difference, the largest magnitude being ${largest}`).toBeLessThanOrEqual(
    tolerance * largest,
  )
}
