import { readdir } from 'node:fs/promises'
import path from 'node:path'
import type { ContinualDiffusionError } from '../errors.js'
import { badFile } from '../files/bad-file.js'

/** What is said of a run's folder where a learner's is expected. */
export const isRunFolder = "the folder is a run's; name one of those in its learners/<method>/seed-<seed>"

/** Folders that hold a model in another way than ours: by what is in them, what to do. */
const kinds: readonly (readonly [file: RegExp, advice: (file: RegExpMatchArray) => string])[] = [
  [/^results\.json$/, () => isRunFolder],
  [
    /^diffusion_pytorch_model\.safetensors\.index\.(?:.+\.)?json$/,
    ([file]) => `the weights are in several files, which ${file} lists; save them as one, by a larger max_shard_size`,
  ],
  [
    /^diffusion_pytorch_model\.(.+)\.safetensors$/,
    ([file, variant]) =>
      `the weights are there as the variant ${variant}; name ${file} without it, or save without a variant`,
  ],
  [
    /^diffusion_pytorch_model(?:\..+)?\.bin$/,
    ([file]) => `the weights are in ${file}; save them with safe_serialization=True`,
  ],
]

/** The error of a model folder that lacks a file; it says so where the folder is missing, or is of a kind that is known. */
export async function missingFile(folder: string, name: string): Promise<ContinualDiffusionError> {
  const names = await readdir(folder).catch(() => undefined)
  if (names === undefined)
    return badFile(folder, 'there is no such folder; name the folder of a saved learner or of a diffusers model')
  for (const [pattern, advice] of kinds) {
    const found = names.map((file) => file.match(pattern)).find((match) => match !== null)
    if (found) return badFile(path.join(folder, name), `there is no such file: ${advice(found)}`)
  }
  return badFile(path.join(folder, name), 'there is no such file; a model folder has one')
}
