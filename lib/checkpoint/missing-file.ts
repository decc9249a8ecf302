import { readdir } from 'node:fs/promises'
import path from 'node:path'
import type { ContinualDiffusionError } from '../errors.js'
import { badFile } from '../files/bad-file.js'

/** What is said of a run's folder where a learner's is expected. */
export const isRunFolder = "the folder is a run's; name one of those in its learners/<method>/seed-<seed>"

/** Names of weights; what isn't undefined is the variant. */
const weightNames = [
  /^diffusion_pytorch_model(?:\.([^.]+))?\.safetensors$/,
  /^diffusion_pytorch_model\.safetensors\.index(?:\.([^.]+))?\.json$/,
]
const pickle = /^diffusion_pytorch_model.*\.bin$/

/** The error of a model folder that lacks a file; it says so where the folder is missing, or holds a model in a way that is known. */
export async function missingFile(folder: string, name: string): Promise<ContinualDiffusionError> {
  const names = await readdir(folder).catch(() => undefined)
  if (names === undefined)
    return badFile(folder, 'there is no such folder; name the folder of a saved learner or of a diffusers model')
  return badFile(path.join(folder, name), `there is no such file${advice(folder, name, names)}`)
}

function advice(folder: string, name: string, names: readonly string[]): string {
  if (names.includes('results.json')) return `: ${isRunFolder}`
  if (!weightNames.some((pattern) => pattern.test(name))) return '; a model folder has one'
  const variants = names.flatMap((file) => {
    const match = weightNames.map((pattern) => file.match(pattern)).find((found) => found !== null)
    return match ? [match[1]] : []
  })
  if (variants.length > 0) {
    const given = [...new Set(variants)].map((variant) =>
      variant === undefined ? 'without a variant' : `{ variant: '${variant}' }`,
    )
    const typed = variants.some((variant) => variant !== undefined) ? ' (--variant on the command line)' : ''
    return `; the folder has the weights otherwise: load them ${given.join(' or ')}${typed}`.replace(' {', ' with {')
  }
  const bin = names.find((file) => pickle.test(file))
  if (bin !== undefined) {
    return (
      `: the weights are in ${bin}, a pickle, which is a program that runs when it is opened. Where you trust it, convert it in Python: ` +
      `UNet2DModel.from_pretrained('${folder}', use_safetensors=False).save_pretrained('${folder}')`
    )
  }
  return '; a model folder has one'
}
