import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { ContinualDiffusionError, invalid } from '../errors.js'
import { writeError } from '../files/atomic.js'
import { asRun } from './as-run.js'
import { print } from './output.js'

const schemaFile = fileURLToPath(new URL('../experiment.schema.json', import.meta.url))

/** Adds the command `init`: an experiment file to begin with. */
export function registerInit(program: Command): void {
  program
    .command('init')
    .description('write a commented experiment file to begin with')
    .argument('[file]', 'the new file', 'experiment.jsonc')
    .action(async (file: string) => {
      // Without an ending it would be taken for the name of a preset.
      if (!/\.jsonc?$/i.test(file))
        throw invalid(`${file} is no name of an experiment file; expected one that ends in .json or .jsonc`)
      try {
        await writeFile(file, starter(path.relative(path.dirname(path.resolve(file)), schemaFile)), { flag: 'wx' })
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw writeError(file, error)
        throw new ContinualDiffusionError(
          'ERR_WRITE_FAILED',
          `${file} is there already; expected the name of a new file`,
          { cause: error },
        )
      }
      print(`${file}: change it, then run it by: ${asRun('run', file)}`)
    })
}

/** @param schema path of the JSON Schema, from the file's folder */
export function starter(schema: string): string {
  return `{
  // Editors check and complete the keys by this file.
  "$schema": ${JSON.stringify(schema)},

  // All that is not given here is this preset's.
  "preset": "demo",

  // Images of your own: <folder>/<class>/<image>, or the same inside <folder>/train and <folder>/test.
  // Paths are relative to this file.
  // They are made 16 × 16 and grey, as the preset's network has them. For colour or another size, e.g. [48, 64], height first, change the network too.
  // "data": { "name": "image-folder", "folder": "shapes" },
  // "unet": { "sample_size": 32, "in_channels": 3, "out_channels": 3 },

  // The classes are dealt out to so many tasks, which are learned one after the other: here the 10 classes of Fashion-MNIST to 5.
  // Of other data say how many classes each task brings, e.g. [2, 1] of 3 classes.
  "stream": { "tasks": 5 },

  // More steps: better images.
  "train": { "steps": 400, "batchSize": 32, "lr": 0.004 },

  // A name, or an object with the method's options.
  "methods": ["finetune", { "name": "generative-distillation", "lambda": 0.4, "teacher": { "steps": 2 } }, "recommended"],

  // With three seeds or more, the report can tell a difference between methods from chance.
  "seeds": [42],

  // Images that are generated after each task to compare them with the test images.
  "evaluation": { "count": 1000 }
}
`
}
