import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type fc from 'fast-check'
import type { Dataset } from '../../lib/data/dataset.js'
import type { ErrorCode } from '../../lib/errors.js'
import { type StoredTensor, writeSafetensors } from '../../lib/files/safetensors.js'

/** A reader of foreign input, and what to try it with. */
export interface Target<Input = unknown> {
  readonly inputs: fc.Arbitrary<Input>
  /** Reads an input; throws a plain Error where what it made of it is wrong. */
  read(input: Input): Promise<void>
  /** Codes that its refusals may have. */
  readonly codes: readonly ErrorCode[]
  /** Inputs tried on every run of the tests. */
  readonly runs: number
  close?(): Promise<void>
}

/** Makes a target ready. */
export type Open = () => Promise<Target>

/** Throws where what a reader has accepted is wrong. */
export function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`accepted, but ${what}`)
}

export function target<Input>(target: Target<Input>): Target {
  return target as Target
}

export function checkDataset({ images, labels, classes, height, width, channels }: Dataset): void {
  check(images.length === labels.length * height * width * channels && images.length > 0, 'images do not fit')
  check(
    labels.every((label) => Number.isInteger(label) && label >= 0 && label < classes.length),
    'labels do not fit',
  )
}

/** Any bytes, always the same. */
export const pixels = (count: number) => Uint8Array.from({ length: count }, (_, i) => (i * 7) % 251)

/** A folder that goes with the target, for what reads files. */
export async function folder(): Promise<{ at: string; close(): Promise<void> }> {
  const at = await mkdtemp(path.join(tmpdir(), 'continual-diffusion-fuzz-'))
  return { at, close: () => rm(at, { recursive: true, force: true }) }
}

/** A safetensors file. */
export async function asFile(tensors: ReadonlyMap<string, StoredTensor>): Promise<Uint8Array> {
  const { at, close } = await folder()
  const file = path.join(at, 'file')
  await writeSafetensors(file, tensors, { made: 'for tests' })
  const bytes = new Uint8Array(await readFile(file))
  await close()
  return bytes
}
