import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import sharp from 'sharp'
import { parseSchedulerConfig, toSchedulerConfig } from '../../lib/checkpoint/scheduler-config.js'
import { paperSampler } from '../../lib/config/sampler.js'
import { paperSchedule } from '../../lib/config/schedule.js'
import { parseUNetConfig, toDiffusersConfig } from '../../lib/config/unet.js'
import type { TrainTest } from '../../lib/data/dataset.js'
import { formatIdx, parseIdx } from '../../lib/data/idx.js'
import { parseNames, parseRecords } from '../../lib/data/load-cifar.js'
import { fromIdx } from '../../lib/data/load-idx.js'
import { loadImageFolder } from '../../lib/data/load-image-folder.js'
import { TorchScriptFeatures } from '../../lib/evaluation/torch-script-features.js'
import { type ExperimentInput, experimentSchema, resolveExperiment } from '../../lib/experiment/config.js'
import { presets } from '../../lib/experiment/presets.js'
import { parseSafetensors, readTensors, type StoredTensor } from '../../lib/files/safetensors.js'
import { checkpoint, learnerFolder, modelFolder, runFolder, solverFolder } from './fuzz-folders.js'
import { damagedBytes, damagedJson, jsonText } from './fuzz-inputs.js'
import { asFile, check, checkDataset, folder, type Open, pixels, target } from './fuzz-target.js'
import { tinyUNet } from './tiny.js'

function checkTrainTest({ train, test }: TrainTest): void {
  checkDataset(train)
  checkDataset(test)
}

function checkTensor({ dtype, shape, data }: StoredTensor): void {
  const bytes = { F64: 8, I64: 8, F32: 4, I32: 4, F16: 2, BF16: 2, U8: 1 }[dtype]
  check(data.byteLength === bytes * shape.reduce((product, size) => product * size, 1), 'a tensor does not fit')
}

const idx: Open = async () => {
  const images = [
    formatIdx({ shape: [3, 4, 4], data: pixels(48) }),
    formatIdx({ shape: [2, 4, 4, 3], data: pixels(96) }),
  ]
  const labels = [formatIdx({ shape: [3], data: Uint8Array.of(0, 2, 1) }), formatIdx({ shape: [2], data: pixels(2) })]
  const packed = (file: Uint8Array) => new Uint8Array(gzipSync(file))
  const pairs = images.map((file, i) => [file, labels[i] as Uint8Array] as const)
  return target({
    inputs: fc.oneof(
      ...[...pairs, ...pairs.map((pair) => pair.map(packed) as [Uint8Array, Uint8Array])].flatMap(
        ([images, labels]) => [
          fc.tuple(damagedBytes([images]), fc.constant(labels)),
          fc.tuple(fc.constant(images), damagedBytes([labels])),
        ],
      ),
    ),
    read: async ([images, labels]) => {
      const part = {
        images: await parseIdx(images, 'images', [3, 4]),
        labels: await parseIdx(labels, 'labels', 1),
        file: 'images',
      }
      checkTrainTest(fromIdx({ name: 'idx', train: part, test: part }))
    },
    codes: ['ERR_BAD_DATA'],
    runs: 4000,
  })
}

const cifar: Open = async () => {
  const layouts = [
    { labelBytes: 1, labelByte: 0 },
    { labelBytes: 2, labelByte: 1 },
  ]
  // Two records whose labels are 0.
  const records = layouts.map(({ labelBytes }) => new Uint8Array(2 * (labelBytes + 3072)))
  const names = new TextEncoder().encode('aeroplane\nbird\r\ncat\n\n')
  return target({
    inputs: fc.tuple(fc.nat(1), damagedBytes(records), damagedBytes([names])),
    read: async ([which, records, names]) => {
      const classes = parseNames(names, 'names')
      check(classes.length > 0 && !classes.includes(''), 'a class has no name')
      const { images, labels } = await parseRecords(
        records,
        'records',
        layouts[which] as (typeof layouts)[0],
        classes.length,
      )
      checkDataset({
        name: 'cifar',
        images,
        labels: Int32Array.from(labels),
        classes,
        height: 32,
        width: 32,
        channels: 3,
      })
    },
    codes: ['ERR_BAD_DATA'],
    runs: 4000,
  })
}

const images: Open = async () => {
  const { at, close } = await folder()
  await mkdir(path.join(at, 'class'))
  const raw = sharp(pixels(9 * 7 * 3), { raw: { width: 9, height: 7, channels: 3 } })
  const valid = [
    await raw.clone().png().toBuffer(),
    await raw.clone().png({ palette: true, progressive: true }).toBuffer(),
    await raw.clone().jpeg().toBuffer(),
    await raw
      .clone()
      .jpeg({ progressive: true })
      .withExif({ IFD0: { Orientation: '6' } })
      .toBuffer(),
    await raw.clone().webp().toBuffer(),
    await raw.clone().webp({ lossless: true }).toBuffer(),
    await raw.clone().gif().toBuffer(),
    await raw.clone().tiff({ compression: 'lzw' }).toBuffer(),
    await raw.clone().avif({ effort: 0 }).toBuffer(),
    Buffer.from(
      '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="7"><rect width="5" height="5" fill="red"/></svg>',
    ),
  ]
  return target({
    inputs: damagedBytes(valid),
    read: async (bytes) => {
      await writeFile(path.join(at, 'class', 'image'), bytes)
      const dataset = await loadImageFolder(at, { size: 8 })
      check(dataset.labels.length === 1 && dataset.classes.join() === 'class', 'it is not one image of one class')
      checkDataset(dataset)
    },
    codes: ['ERR_BAD_DATA'],
    runs: 300,
    close,
  })
}

// Files of PyTorch, small networks. What the checksums let through is read by libtorch, and the program in it is run.
const torchScript: Open = async () => {
  const { at, close } = await folder()
  const names = ['channels', 'named', 'several', 'wide']
  const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/torchscript/${name}.pt`, import.meta.url))
  const valid = await Promise.all(names.map((name) => readFile(fixture(name))))
  const file = path.join(at, 'network.pt')
  const batch = { data: pixels(96), count: 2, height: 4, width: 4, channels: 3 }
  const features = async (bytes: Uint8Array) => {
    await writeFile(file, bytes)
    await using network = await TorchScriptFeatures.load(file, { size: 4, device: 'cpu' })
    return String(await network.features({ ...batch }))
  }
  const right = new Set<string>()
  for (const name of ['channels', 'wide']) right.add(await features(valid[names.indexOf(name)] as Uint8Array))
  return target({
    inputs: damagedBytes(valid),
    read: async (bytes) => check(right.has(await features(bytes)), 'its features are those of no network there is'),
    codes: ['ERR_BAD_CHECKPOINT', 'ERR_INVALID_ARGUMENT', 'ERR_OUT_OF_MEMORY'],
    runs: 300,
    close,
  })
}

const someTensors = new Map<string, StoredTensor>([
  ['a.weight', { dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) }],
  ['b', { dtype: 'BF16', shape: [3], data: Uint16Array.of(1, 2, 3) }],
  ['c', { dtype: 'U8', shape: [0, 4], data: new Uint8Array() }],
  ['d', { dtype: 'I64', shape: [], data: BigInt64Array.of(1n) }],
])

/** A file's header with its length before it, and data after it. */
function withHeader(text: string, data: Uint8Array): Uint8Array {
  const header = new TextEncoder().encode(text)
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true)
  return Buffer.concat([length, header, data])
}

const safetensors: Open = async () => {
  const valid = await asFile(someTensors)
  const length = Number(new DataView(valid.buffer).getBigUint64(0, true))
  const header: unknown = JSON.parse(new TextDecoder().decode(valid.subarray(8, 8 + length)))
  const data = valid.slice(8 + length)
  return target({
    inputs: fc.oneof(
      damagedBytes([valid]),
      damagedJson([header]).map((json) => withHeader(jsonText(json), data)),
    ),
    read: async (bytes) => {
      const opened = await parseSafetensors('file', bytes.length, async (position, length) => {
        // Memory is taken only for what is there.
        if (!(position >= 0 && length >= 0 && position + length <= bytes.length)) throw new Error('read past the end')
        return new Uint8Array(bytes.subarray(position, position + length)).buffer
      })
      const { tensors, metadata } = await readTensors(opened)
      for (const tensor of tensors.values()) checkTensor(tensor)
      check(
        Object.values(metadata).every((value) => typeof value === 'string'),
        'metadata is no map of strings',
      )
    },
    codes: ['ERR_BAD_CHECKPOINT'],
    runs: 4000,
  })
}

const experiment: Open = async () => {
  const whole = {
    ...presets.demo,
    device: 'cpu',
    stream: { kind: 'domain-incremental', domains: ['unchanged', { rotate: 45 }, { permute: 3 }] },
    schedule: paperSchedule,
    methods: [
      'finetune',
      { name: 'ewc', label: 'mine', lambda: 3 },
      'generative-distillation+ewc',
      'experience-replay',
    ],
    samples: { count: 4, columns: 2 },
    solver: { epochs: 2 },
    out: 'runs/x',
  }
  const imported = {
    ...whole,
    data: { name: 'image-folder', folder: 'x' },
    stream: { kind: 'class-incremental', tasks: 2, order: [0, 1] },
  }
  return target({
    inputs: damagedJson([whole, imported, ...Object.values(presets), { preset: 'demo', train: { epochs: 3 } }]),
    read: async (json) => {
      const config = resolveExperiment(json as ExperimentInput, 'file')
      // What was resolved is what would be written to a run's config.json and read again.
      check(experimentSchema.safeParse({ ...config }).success, 'it does not hold when it is resolved again')
      for (const { label } of config.methods) {
        check(!label.includes('/') && label !== '..', `the label ${label} leads out of the run folder`)
      }
    },
    codes: ['ERR_INVALID_ARGUMENT'],
    runs: 1000,
  })
}

const modelConfigs: Open = async () =>
  target({
    inputs: fc.tuple(
      damagedJson([toDiffusersConfig(tinyUNet), tinyUNet]),
      damagedJson([toSchedulerConfig(paperSchedule, paperSampler), { _class_name: 'DDPMScheduler' }]),
    ),
    read: async ([unet, scheduler]) => {
      const parsed = parseUNetConfig(unet, 'config.json', 'ERR_BAD_CHECKPOINT')
      check(
        JSON.stringify(parseUNetConfig(toDiffusersConfig(parsed), 'again')) === JSON.stringify(parsed),
        'it changes',
      )
      const { schedule, sampler } = parseSchedulerConfig(scheduler, 'scheduler_config.json')
      check(sampler.steps >= 1 && sampler.steps <= schedule.timesteps, 'the sampler does not fit the schedule')
    },
    codes: ['ERR_BAD_CHECKPOINT'],
    runs: 3000,
  })

/** Every reader of foreign input that is ours. */
export const targets: Readonly<Record<string, Open>> = {
  idx,
  cifar,
  images,
  'torch-script': torchScript,
  safetensors,
  'learner-folder': learnerFolder,
  'model-folder': modelFolder,
  'solver-folder': solverFolder,
  'model-configs': modelConfigs,
  experiment,
  checkpoint,
  'run-folder': runFolder,
}
