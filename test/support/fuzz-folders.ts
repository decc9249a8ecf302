import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import fc from 'fast-check'
import { readLearnerFolder } from '../../lib/checkpoint/learner-folder.js'
import { Solver } from '../../lib/classifiers/solver.js'
import { paperSampler } from '../../lib/config/sampler.js'
import { paperSchedule } from '../../lib/config/schedule.js'
import { toDiffusersConfig } from '../../lib/config/unet.js'
import type { ParameterInfo } from '../../lib/engine/state.js'
import { readCheckpoint } from '../../lib/experiment/checkpoint.js'
import { resolveExperiment } from '../../lib/experiment/config.js'
import { RunFolder } from '../../lib/experiment/folder.js'
import { joinRuns } from '../../lib/experiment/join.js'
import { readRun } from '../../lib/experiment/read-run.js'
import { renderRuns } from '../../lib/experiment/report.js'
import { checksumOf } from '../../lib/files/checksum.js'
import type { StoredTensor } from '../../lib/files/safetensors.js'
import { finalTable, tablesByTask } from '../../lib/report/table.js'
import type { Task } from '../../lib/streams/stream.js'
import { isShallow } from '../../lib/validation/depth.js'
import { madeUpCheckpoint, sealed } from './checkpoints.js'
import { damagedBytes, damagedJson, jsonText } from './fuzz-inputs.js'
import { asFile, check, checkDataset, folder, type Open, pixels, target } from './fuzz-target.js'
import { memoryFiles, memoryFolder } from './memory-files.js'
import { madeUpCurves, madeUpResults } from './results.js'
import { bandsStream, tinyUNet } from './tiny.js'
import { tinyExperiment } from './tiny-experiment.js'

// Targets that read folders of this package's own: all but one file is as it was written.

/** A file of a folder that a reader is given: bytes, or JSON that may be damaged `depth` levels deep. */
type FileOfFolder = { readonly bytes: Uint8Array } | { readonly json: unknown; readonly depth?: number }

/** One file in the place of the one that a folder has. */
type DamagedFile = Readonly<{ name: string; bytes: Uint8Array | string }>

/**
 * A folder in memory.
 *
 * @param files by their paths in it
 */
function memoryFolderOf(name: string, files: Readonly<Record<string, FileOfFolder>>) {
  const at = path.join(memoryFolder, name)
  const contents = (file: FileOfFolder) => Buffer.from('bytes' in file ? file.bytes : JSON.stringify(file.json))
  const put = (name: string, bytes: Uint8Array) => memoryFiles.set(path.join(at, name), bytes)
  for (const [name, file] of Object.entries(files)) put(name, contents(file))
  return {
    at,
    /** One file of it, damaged. */
    inputs: fc.oneof(
      ...Object.entries(files).map(([name, file]) => {
        const bytes: fc.Arbitrary<Uint8Array | string> =
          'bytes' in file
            ? damagedBytes([file.bytes])
            : fc.oneof(
                { weight: 4, arbitrary: damagedJson([file.json], file.depth).map(jsonText) },
                damagedBytes([contents(file)]),
              )
        return bytes.map((bytes): DamagedFile => ({ name, bytes }))
      }),
    ),
    /** Does something with the folder while it has the damaged file. */
    with: async (damaged: DamagedFile, work: () => Promise<void>) => {
      put(damaged.name, Buffer.from(damaged.bytes))
      try {
        await work()
      } finally {
        put(damaged.name, contents(files[damaged.name] as FileOfFolder))
      }
    },
  }
}

/** What a very small network would have. */
const parameters: readonly ParameterInfo[] = [
  { name: 'w.weight', shape: [2, 3] },
  { name: 'w.bias', shape: [3] },
]

function parameterTensors(prefix: string): [string, StoredTensor][] {
  return parameters.map(({ name, shape }) => [
    `${prefix}${name}`,
    { dtype: 'F32', shape, data: new Float32Array(shape.reduce((product, size) => product * size, 1)) },
  ])
}

export const learnerFolder: Open = async () => {
  const learner = {
    format: 1,
    seed: 1,
    step: 3,
    optimizerStep: 3,
    tasksLearned: 1,
    taskInProgress: { task: 2, step: 1, steps: 5, settings: { method: 'finetune', steps: 5 } },
    ema: 0.5,
    precision: 'fp32',
    schedule: paperSchedule,
    sampler: paperSampler,
    penalties: [{ name: 'ewc', shape: 'diagonal', parts: 1 }],
    memory: [{ name: 'real', classes: ['a', 'b'], size: 8 }],
  }
  const [weights, training, penalties, memory] = await Promise.all([
    asFile(new Map(parameterTensors(''))),
    asFile(new Map(['student.', 'teacher.', 'exp_avg.', 'exp_avg_sq.'].flatMap(parameterTensors))),
    asFile(new Map(['0.0.anchor.', '0.0.importance.'].flatMap(parameterTensors))),
    asFile(
      new Map<string, StoredTensor>([
        ['0.images', { dtype: 'U8', shape: [2, 4, 4, 1], data: pixels(32) }],
        ['0.labels', { dtype: 'I32', shape: [2], data: Int32Array.of(0, 1) }],
        ['items', { dtype: 'I32', shape: [2, 2], data: Int32Array.of(0, 1, 0, 1) }],
        ['priorities', { dtype: 'F64', shape: [2], data: Float64Array.of(0.5, 0.25) }],
      ]),
    ),
  ])
  const disk = memoryFolderOf('learner', {
    'config.json': { json: toDiffusersConfig(tinyUNet) },
    'learner.json': { json: learner },
    'diffusion_pytorch_model.safetensors': { bytes: weights },
    'training.safetensors': { bytes: training },
    'penalties.safetensors': { bytes: penalties },
    'memory.safetensors': { bytes: memory },
  })
  return target({
    inputs: disk.inputs,
    read: (damaged) =>
      disk.with(damaged, async () => {
        const read = await readLearnerFolder(disk.at)
        JSON.stringify(read.record) // as when the learner is saved again
        for (const tensors of (await read.readTensors(parameters)).values()) checkParameters(tensors)
        for (const { quadratics } of await read.readPenalties(parameters)) {
          for (const { anchor, importance } of quadratics) {
            checkParameters(anchor)
            checkParameters(importance)
          }
        }
        for (const { dataset, index } of await read.readMemory()) {
          checkDataset(dataset)
          check(index >= 0 && index < dataset.labels.length, 'an item of the memory is not there')
        }
      }),
    codes: ['ERR_BAD_CHECKPOINT'],
    runs: 2000,
  })
}

/** A model that diffusers saved in shards, half of it in half precision and under old names. */
export const modelFolder: Open = async () => {
  const attention = 'mid_block.attentions.0'
  const ofModel: readonly ParameterInfo[] = [...parameters, { name: `${attention}.to_q.weight`, shape: [2, 2] }]
  const half: [string, StoredTensor] = [
    `${attention}.query.weight`,
    { dtype: 'F16', shape: [2, 2], data: new Uint16Array(4) },
  ]
  const [weight, bias] = parameterTensors('') as [[string, StoredTensor], [string, StoredTensor]]
  const stem = 'diffusion_pytorch_model'
  const shards = [1, 2].map((n) => `${stem}.x-0000${n}-of-00002.safetensors`) as [string, string]
  const map = { [weight[0]]: shards[0], [bias[0]]: shards[1], [half[0]]: shards[1] }
  const disk = memoryFolderOf('model', {
    'config.json': { json: toDiffusersConfig(tinyUNet) },
    [`${stem}.safetensors.index.x.json`]: { json: { metadata: { total_size: 44 }, weight_map: map } },
    [shards[0]]: { bytes: await asFile(new Map([weight])) },
    [shards[1]]: { bytes: await asFile(new Map([bias, half])) },
  })
  return target({
    inputs: disk.inputs,
    read: (damaged) =>
      disk.with(damaged, async () => {
        const read = await readLearnerFolder(disk.at, { schedule: paperSchedule, variant: 'x' })
        for (const tensors of (await read.readTensors(ofModel)).values()) {
          check(tensors.map(({ length }) => length).join() === '6,3,4', 'the tensors are not those of the network')
        }
      }),
    codes: ['ERR_BAD_CHECKPOINT'],
    runs: 800,
  })
}

function checkParameters(tensors: readonly Float32Array[]): void {
  check(tensors.map(({ length }) => length).join() === '6,3', 'the tensors are not those of the network')
}

export const solverFolder: Open = async () => {
  const stream = bandsStream()
  const [first] = stream.tasks
  await using solver = await Solver.create(stream, { seed: 3, device: 'cpu' })
  await solver.learn(first as Task, null, { epochs: 0.1 })
  const { at, close } = await folder()
  const saved = path.join(at, 'solver')
  await solver.save(saved)
  const disk = memoryFolderOf('solver', {
    'solver.json': { json: JSON.parse(await readFile(path.join(saved, 'solver.json'), 'utf8')) },
    'solver.safetensors': { bytes: await readFile(path.join(saved, 'solver.safetensors')) },
  })
  await close()
  return target({
    inputs: disk.inputs,
    read: (damaged) =>
      disk.with(damaged, async () => {
        await using loaded = await Solver.load(disk.at, { device: 'cpu' })
        check(loaded.channels === 1, 'it is not one for the weights')
        check(
          loaded.accuracies.flat().every((accuracy) => accuracy === null || (accuracy >= 0 && accuracy <= 1)),
          'an accuracy is none',
        )
      }),
    // The last one is for a solver of another stream.
    codes: ['ERR_BAD_CHECKPOINT', 'ERR_INVALID_ARGUMENT'],
    runs: 500,
  })
}

export const runFolder: Open = async () => {
  const { out: _, ...config } = resolveExperiment({ ...tinyExperiment, seeds: [42, 7] })
  const results = madeUpResults(config.seeds)
  const lines = madeUpCurves(results).flatMap(({ points, ...about }) =>
    points.slice(0, 2).map(([step, loss]) => `${JSON.stringify({ kind: 'train', ...about, step, loss })}\n`),
  )
  const tasks = results.runs.flatMap(({ tasks }) => tasks)
  const pictures = new Set(tasks.flatMap(({ samples, realSamples }) => [samples, realSamples]))
  const files = {
    'config.json': { json: config },
    'results.json': { json: results, depth: 9 },
    'metrics.jsonl': { bytes: Buffer.from(lines.join('')) },
  }
  const disk = memoryFolderOf('run', files)
  for (const picture of pictures) memoryFiles.set(path.join(disk.at, picture), pixels(9))
  const whole = await readRun(disk.at)
  return target({
    inputs: disk.inputs,
    read: (damaged) =>
      disk.with(damaged, async () => {
        const run = await readRun(disk.at)
        const joined = joinRuns([run])
        check((await renderRuns(joined)).endsWith('</html>\n'), 'its page is not one')
        for (const layout of ['text', 'markdown'] as const) {
          finalTable(joined.results, layout)
          tablesByTask(joined.results, layout)
        }
        joinRuns([{ ...whole, folder: '/elsewhere' }, run])
      }),
    // The last one is for runs that don't go together.
    codes: ['ERR_BAD_DATA', 'ERR_DATA_NOT_FOUND', 'ERR_INVALID_ARGUMENT'],
    runs: 60, // of which every third one is drawn as a page
  })
}

export const checkpoint: Open = async () => {
  const { at, close } = await folder()
  const run = await RunFolder.create(path.join(at, 'run'), 'run', {})
  await mkdir(run.at('checkpoints/1/learner'), { recursive: true })
  const learner = 'checkpoints/1/learner/learner.json'
  await writeFile(run.at(learner), '{}')
  const contents = madeUpCheckpoint({ file: learner, ...(await checksumOf(run.at(learner))) })
  const text = JSON.stringify(sealed(contents))
  const damaged = damagedJson([contents], 9)
  const file = run.at('checkpoints/1/checkpoint.json')
  return target({
    inputs: fc.oneof(
      // Whoever makes one up can make up its checksum too.
      {
        weight: 8,
        arbitrary: damaged.map((json) => jsonText(isRecord(json) && isShallow(json) ? sealed(json) : json)),
      },
      { weight: 1, arbitrary: damaged.map(jsonText) },
      { weight: 1, arbitrary: damagedBytes([Buffer.from(text)]) },
    ),
    read: async (bytes) => {
      await writeFile(file, bytes)
      const { learner, solver = '', files, runs } = await readCheckpoint(run, 1)
      const tasks = runs.flatMap(({ tasks }) => tasks)
      const pictures = tasks.flatMap(({ samples, realSamples }) => [samples, realSamples])
      for (const part of [learner, solver, ...Object.keys(files), ...pictures]) {
        check(`${run.at(part)}/`.startsWith(`${run.path}/`), `the path ${part} leads out of the run folder`)
      }
      check(
        runs.every(({ tasks }) => tasks.every(({ task }, i) => task === i + 1)),
        'a task is out of its place',
      )
    },
    codes: ['ERR_BAD_CHECKPOINT'],
    runs: 2000,
    close: async () => {
      run.release()
      await close()
    },
  })
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
