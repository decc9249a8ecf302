import { readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, it } from 'vitest'
import { withOptions } from '../lib/cli/run-action.js'
import { loadIdx } from '../lib/data/load-idx.js'
import { type ExperimentInput, resolveExperiment } from '../lib/experiment/config.js'
import { fromFile } from '../lib/experiment/inputs.js'
import { resumeExperiment, runExperiment } from '../lib/experiment/run.js'
import { withModel } from '../lib/experiment/with-model.js'
import { Learner } from '../lib/learner/learner.js'
import { generativeDistillation } from '../lib/methods/index.js'
import { single } from '../lib/streams/index.js'
import { ownCache, temporaryFolder, writeIdxFolder } from './support/folders.js'
import { goldenPath } from './support/golden.js'
import { expectSameRuns } from './support/runs.js'
import { failure, tinyLearner } from './support/tiny.js'
import { tinyExperiment } from './support/tiny-experiment.js'

ownCache()

const { unet: _, ...tiny } = tinyExperiment
const experiment = {
  ...tiny,
  ema: 0.9,
  stream: { kind: 'single' },
  methods: ['generative-distillation', 'finetune'],
  evaluation: { count: 10, metrics: ['classFrequencies'], bootstrap: 0 },
} satisfies ExperimentInput
const weights = 'diffusion_pytorch_model.safetensors'

/** A model folder as diffusers writes one. */
async function model(): Promise<string> {
  const folder = path.join(await temporaryFolder(), 'model')
  await (await tinyLearner({ seed: 5 })).save(folder)
  for (const name of ['learner.json', 'training.safetensors']) await rm(path.join(folder, name))
  return folder
}

it('begins every learner as the model, the teacher of task 1; resumes to the bit, and from no other model', async () => {
  const from = await model()
  const parent = await temporaryFolder()
  await writeIdxFolder(parent, 8)
  const data = { name: 'idx', folder: parent } as const
  const [whole, broken] = [path.join(parent, 'whole'), path.join(parent, 'broken')]
  const { results } = await runExperiment({ ...experiment, data, from, out: whole })
  const calls = results.runs.map(({ tasks }) => tasks.map(({ teacherCalls, sharedFrom }) => [teacherCalls, sharedFrom]))
  expect(calls).toEqual([[[3, undefined]], [[0, undefined]]])

  // By hand.
  await using learner = await Learner.load(from, {
    ...{ learnedBefore: 1, seed: 42, ema: 0.9, device: 'cpu', precision: 'fp32', sampler: { steps: 2 } },
  })
  const files = (part: string) => ({
    images: path.join(parent, `${part}-images-idx3-ubyte`),
    labels: path.join(parent, `${part}-labels-idx1-ubyte`),
  })
  const images = await loadIdx({ name: 'idx', train: files('train'), test: files('t10k') })
  await learner.train(single(images).tasks[0]!, generativeDistillation(), { steps: 3, batchSize: 4, lr: 4e-3 })
  await learner.save(path.join(parent, 'own'))
  for (const name of [weights, 'learner.json', 'training.safetensors']) {
    const [run, own] = ['whole/learners/generative-distillation/seed-42/task-1', 'own'].map((at) =>
      readFile(path.join(parent, at, name), 'utf8'),
    )
    expect(await run).toBe(await own)
  }

  const controller = new AbortController()
  const running = runExperiment(
    { ...experiment, data, from, out: broken },
    {
      signal: controller.signal,
      onEvent: (event) => event.kind === 'learn' && event.progress.step === 1 && controller.abort('enough'),
    },
  )
  await expect(running).rejects.toBe('enough')
  const file = path.join(from, weights)
  const bytes = await readFile(file)
  await writeFile(
    file,
    bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte)),
  )
  const error = await failure(resumeExperiment(broken))
  expect(error.code).toBe('ERR_BAD_DATA')
  expect(error.message).toContain(`from (${from}) has the SHA-256`)
  await writeFile(file, bytes)
  await resumeExperiment(broken)
  await expectSameRuns(broken, whole)
  // It can be run again, as it is.
  const config = JSON.parse(await readFile(path.join(whole, 'config.json'), 'utf8'))
  expect(await withModel(config)).toEqual(config)
})

it('takes the U-Net and the schedule of the model, for a path that is relative to the file', async () => {
  const from = await model()
  const input = fromFile(
    { ...experiment, preset: 'demo-conditional', train: { labelDropout: 0 }, from: 'model' },
    path.join(from, '../any.json'),
  )
  const { unet, schedule, from: resolved } = resolveExperiment(await withModel(input as ExperimentInput))
  await using learner = await Learner.load(from, { device: 'cpu' })
  expect({ unet, schedule }).toEqual({ unet: learner.unet, schedule: learner.schedule })
  expect(resolved).toEqual({ folder: from, learnedBefore: 1 })
})

it('refuses what can not go on from a model, before data is read', async () => {
  const from = await model()
  const wrong = async (changes: object) => {
    const run = runExperiment({ ...experiment, from, data: { name: 'idx', folder: '/nowhere' }, ...changes } as never)
    return (await failure(run)).message
  }
  for (const [method, why] of [
    [{ name: 'experience-replay', size: 4 }, 'it replays real images'],
    [{ name: 'ewc', strength: 1 }, 'it holds weights by what was consolidated'],
    ['recommended', 'it draws evenly by class'],
  ] as const) {
    expect(await wrong({ methods: [method] })).toContain(`can't go on from a model: ${why}`)
    // With first weights alone nothing was learned before.
    expect(await wrong({ methods: [method], from: { folder: from, learnedBefore: 0 } })).toContain('/nowhere')
  }
  expect(await wrong({ solver: {} })).toMatch(/solver is .*; expected none/)
  const labels = { folder: goldenPath('unets/class-labels'), sampleSize: 8 }
  expect(await wrong({ from: labels, schedule: {} })).toContain("a model doesn't tell its classes' names")
  expect(await wrong({ unet: tinyExperiment.unet, schedule: { timesteps: 7 } })).toMatch(
    /schedule is given, but .* says/,
  )
  expect(await wrong({ unet: { ...tinyExperiment.unet, layers_per_block: 2 } })).toMatch(
    /unet is given, and from names/,
  )
  expect(await wrong({ from: { folder: from, variant: 'fp16', sampelSize: 8 } })).toContain("did you mean 'sampleSize'")
  const learner = path.join(await temporaryFolder(), 'learner')
  await (await tinyLearner()).save(learner)
  expect(await wrong({ from: learner })).toContain('the folder of a saved learner')
  expect(() => resolveExperiment({ ...experiment, from } as never)).toThrow(/withModel/)
})

it('takes the methods that the command line names of a preset whose others can not go on from a model', async () => {
  const preset = await withModel({ preset: 'demo', from: await model() })
  const { methods } = resolveExperiment(withOptions(preset, { method: ['generative-distillation', 'finetune'] }))
  expect(methods).toMatchObject([{ name: 'generative-distillation', lambda: 0.4 }, { name: 'finetune' }])
})
