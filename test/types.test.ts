import { execFile } from 'node:child_process'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { temporaryFolder } from './support/folders.js'

const root = fileURLToPath(new URL('../', import.meta.url))

it('compile with @types/node alone, without skipLibCheck', async () => {
  const project = await temporaryFolder()
  const modules = path.join(project, 'node_modules')
  await mkdir(path.join(modules, '@types'), { recursive: true })
  await symlink(root, path.join(modules, 'continual-diffusion'))
  await symlink(path.join(root, 'node_modules/@types/node'), path.join(modules, '@types/node'))
  const compilerOptions = { target: 'es2022', module: 'nodenext', strict: true, noEmit: true, types: ['node'] }
  await writeFile(path.join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['main.ts'] }))
  const code = `import { type Classifier, evaluate, frechetDistance, Learner, type LearnOptions, precision, type Seen, type TorchScriptFeatures } from 'continual-diffusion'
    import { runExperiment } from 'continual-diffusion/experiment'
    export const made: Promise<Learner> = Learner.load('folder')
    const unet = { sample_size: 8, block_out_channels: [8], down_block_types: ['DownBlock2D'], up_block_types: ['UpBlock2D'] } as const
    export const small = Learner.create({ unet })
    export const run = runExperiment
    run({ preset: 'demo', methods: ['joint', 'ewc+joint', { name: 'finetune', label: 'plain' }, { name: 'generative-distillation', label: 'mine', lambda: 1 }] })
    // @ts-expect-error: an unknown method
    run({ preset: 'demo', methods: ['generative-destillation'] })
    // @ts-expect-error: an option of another method
    run({ preset: 'demo', methods: [{ name: 'finetune', lambda: 1 }] })
    export const either: LearnOptions[] = [{ steps: 1 }, { epochs: 1 }]
    // @ts-expect-error: one of the two
    export const both: LearnOptions = { steps: 1, epochs: 1 }
    // @ts-expect-error: one of the two
    export const none: LearnOptions = { lr: 1 }
    export async function judge(learner: Learner, seen: Seen, classifier: Classifier, network: TorchScriptFeatures) {
      const { values } = await evaluate(learner, seen, [frechetDistance(classifier), precision(classifier, { name: 'p5' })])
      const known: number[] = [values.frechetDistance.value, values.p5.value]
      // @ts-expect-error: not among the metrics
      values.recall
      // What is perhaps declared to be Inception-v3 has one of two names.
      const { values: named } = await evaluate(learner, seen, [frechetDistance(network)])
      return [...known, named.fid?.value, named.frechetDistance?.value]
    }`
  await writeFile(path.join(project, 'main.ts'), code)
  const tsc = path.join(root, 'node_modules/typescript/bin/tsc')
  const { stdout } = await promisify(execFile)(process.execPath, [tsc, '-p', project]).catch((error) => error)
  expect(stdout).toBe('')
})
