import { execFileSync } from 'node:child_process'
import { cp, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readSafetensors, type StoredTensor, writeSafetensors } from '../lib/files/safetensors.js'
import { finetune, Learner, type LoadOptions } from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose, Golden, goldenPath } from './support/golden.js'
import { bandsStream, failure, tinyLearner } from './support/tiny.js'

const stem = 'diffusion_pytorch_model'
const weightsFile = `${stem}.safetensors`
const indexFile = `${weightsFile}.index.json`
const shards = [1, 2].map((n) => `${stem}-0000${n}-of-00002.safetensors`) as [string, string]
const quiet = { device: 'cpu', precision: 'fp32', schedule: {} } as const

/** A copy of a folder that diffusers wrote, to be changed. */
async function copyOf(name: string): Promise<string> {
  const folder = await temporaryFolder()
  await cp(goldenPath(`unets/${name}`), folder, { recursive: true })
  return folder
}

async function load(folder: string, options: LoadOptions = {}): Promise<Learner> {
  const learner = await Learner.load(folder, { ...quiet, ...options })
  onTestFinished(() => learner.dispose())
  return learner
}

async function changeTensors(file: string, change: (tensors: Map<string, StoredTensor>) => void): Promise<void> {
  const tensors = new Map((await readSafetensors(file)).tensors)
  change(tensors)
  await writeSafetensors(file, tensors)
}

describe('a model that diffusers saved', () => {
  it.each<[string, LoadOptions]>([
    ['file-sharded', {}],
    ['file-old-attention-names', {}],
    ['file-variant-fp16', { variant: 'fp16' }],
    ['file-pipeline', { schedule: undefined }],
    ['file-pipeline/unet', { schedule: undefined }],
  ])('as %s predicts what it predicts there', async (name, options) => {
    const learner = await load(goldenPath(`unets/${name}`), options)
    const io = await Golden.read(`unets/${name.replace('/unet', '')}/io.safetensors`)
    const prediction = await learner.predict(io.tensor('sample').data, io.integers('timesteps'))
    expectClose(prediction, io.tensor('prediction').data, 1e-4, 'prediction')
    if (name.startsWith('file-pipeline')) {
      expect(learner.schedule).toMatchObject({ betas: 'cosine', prediction: 'v' })
      expect(learner.sampler).toMatchObject({ kind: 'ddim', clip: false })
    }
  })

  it('in shards of a variant is found by either name of the index', async () => {
    const folder = await copyOf('file-sharded')
    const expected = await load(folder)
    const index = JSON.parse(await readFile(path.join(folder, indexFile), 'utf8'))
    for (const shard of shards) await rename(path.join(folder, shard), path.join(folder, shard.replace('-', '.x-')))
    const map = Object.entries<string>(index.weight_map).map(([name, shard]) => [name, shard.replace('-', '.x-')])
    await rm(path.join(folder, indexFile))
    const sample = (await Golden.read('unets/file-sharded/io.safetensors')).tensor('sample').data
    for (const name of [`${weightsFile}.index.x.json`, `${weightsFile}.x.index.json`]) {
      await writeFile(path.join(folder, name), JSON.stringify({ weight_map: Object.fromEntries(map) }))
      const learner = await load(folder, { variant: 'x' })
      const timesteps = Int32Array.of(3, 700)
      expect(await learner.predict(sample, timesteps)).toEqual(await expected.predict(sample, timesteps))
      await rm(path.join(folder, name))
    }
  })

  it('in a cache whose files are symbolic links is read', async () => {
    const [blobs, folder] = [await copyOf('file-sharded'), await temporaryFolder()]
    for (const name of await readdir(blobs)) await symlink(path.join(blobs, name), path.join(folder, name))
    expect((await load(folder)).parameterCount).toBe((await load(blobs)).parameterCount)
  })

  it('whose size is open takes the given one, if its blocks can', async () => {
    const folder = await copyOf('file-sharded')
    const file = path.join(folder, 'config.json')
    const config = JSON.parse(await readFile(file, 'utf8'))
    await writeFile(file, JSON.stringify({ ...config, sample_size: null }))
    const learner = await load(folder, { sampleSize: [4, 6] })
    expect(await learner.sample({ count: 1 })).toMatchObject({ height: 4, width: 6 })
    expect(await failure(load(folder, { sampleSize: [4, 5] }))).toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringMatching(
        /^Learner\.load: sampleSize for .*config\.json: .*\[ 4, 5 \]; expected a multiple of/,
      ),
    })
  })

  it('may mix precisions, in tensors that are read in parts too', async () => {
    const folder = await copyOf('file-variant-fp16')
    const config = JSON.parse(await readFile(path.join(folder, 'config.json'), 'utf8'))
    const wide = { ...config, block_out_channels: [4, 256] }
    await writeFile(path.join(folder, 'config.json'), JSON.stringify(wide))
    const made = await Learner.create({
      ...{ device: 'cpu', precision: 'fp32', seed: 1 },
      unet: Object.fromEntries(Object.entries(wide).filter(([key]) => !key.startsWith('_'))) as never,
    })
    onTestFinished(() => made.dispose())
    const saved = path.join(folder, 'saved')
    await made.save(saved)
    // The upper halves of float32 are bfloat16; the values are such that each is exact in half precision too.
    const file = path.join(saved, weightsFile)
    const exact = new Map<string, Float32Array>()
    await changeTensors(file, (tensors) => {
      for (const [i, [name, { shape, data }]] of [...tensors].entries()) {
        const bits = Uint16Array.from({ length: data.length }, (_, j) => (i % 2 ? 0x3f80 : 0x3c00) + (j % 128))
        const isBf16 = i % 2 === 1
        exact.set(
          name,
          Float32Array.from(bits, (_, j) => 1 + (j % 128) / (isBf16 ? 128 : 1024)),
        )
        tensors.set(name, { dtype: isBf16 ? 'BF16' : 'F16', shape, data: bits })
      }
    })
    await rm(path.join(saved, 'learner.json'))
    await rm(path.join(saved, 'training.safetensors'))
    const learner = await load(saved, { schedule: undefined })
    const again = path.join(folder, 'again')
    await learner.save(again)
    const { tensors } = await readSafetensors(path.join(again, weightsFile))
    for (const [name, values] of exact) expect(tensors.get(name)?.data.every((x, j) => x === values[j])).toBe(true)
  })
})

describe('is refused, and says why:', () => {
  const editIndex = (change: (map: Record<string, string>) => unknown) => async (folder: string) => {
    const file = path.join(folder, indexFile)
    const { weight_map: map } = JSON.parse(await readFile(file, 'utf8'))
    await writeFile(file, JSON.stringify({ weight_map: change(map) ?? map }))
  }
  const setShard = (place: string) => editIndex((map) => void Object.assign(map, { 'conv_in.bias': place }))
  const outside =
    /index\.json: weight_map says that 'conv_in\.bias' is in .*; expected the name of a \.safetensors file in the same folder/

  it.each<[string, (folder: string) => Promise<unknown>, RegExp]>([
    [
      'a shard that is missing',
      (f) => rm(path.join(f, shards[1])),
      /-00002-of-00002\.safetensors: there is no such file; diffusion_pytorch_model\.safetensors\.index\.json says that it has tensors 'conv_norm_out\.bias', .* and \d+ more: get the missing file/,
    ],
    [
      'a tensor that its shard lacks',
      (f) => changeTensors(path.join(f, shards[0]), (tensors) => tensors.delete('conv_in.bias')),
      /-00001-of-00002\.safetensors: missing tensor 'conv_in\.bias'; .*index\.json says that this file has them/,
    ],
    [
      'a tensor in two shards',
      (f) =>
        changeTensors(path.join(f, shards[1]), (tensors) =>
          tensors.set('conv_in.bias', { dtype: 'F32', shape: [4], data: new Float32Array(4) }),
        ),
      /-00002-of-00002\.safetensors: unexpected tensor 'conv_in\.bias'; .*index\.json says that it is in diffusion_pytorch_model-00001-of-00002\.safetensors: expected it once/,
    ],
    [
      'a tensor that the index does not list',
      (f) =>
        changeTensors(path.join(f, shards[1]), (tensors) =>
          tensors.set('more', { dtype: 'F32', shape: [1], data: new Float32Array(1) }),
        ),
      /unexpected tensor 'more'; .*index\.json does not list it/,
    ],
    [
      'an index without one of the network’s tensors',
      editIndex((map) => void delete map['conv_in.bias']),
      /index\.json: missing tensor 'conv_in\.bias'; expected exactly the network's tensors/,
    ],
    ['an index of other things', editIndex(() => [1]), /index\.json: weight_map is \[ 1 \]; expected an object/],
    ['a shard above the folder', setShard('../secret.safetensors'), outside],
    ['a shard at a path of its own', setShard('/etc/secret.safetensors'), outside],
    ['a shard in a folder', setShard('in\\secret.safetensors'), outside],
    ['a shard that is no safetensors file', setShard('secret.bin'), outside],
    ['a shard whose name ends early', setShard('a\0.safetensors'), outside],
    [
      'a shard that is a folder',
      async (f) => {
        await rm(path.join(f, shards[0]))
        await mkdir(path.join(f, shards[0]))
      },
      /-00001-of-00002\.safetensors: it is no file; expected a safetensors file/,
    ],
    [
      'a shard that is a pipe, which nobody writes into',
      async (f) => {
        await rm(path.join(f, shards[0]))
        execFileSync('mkfifo', [path.join(f, shards[0])])
      },
      /-00001-of-00002\.safetensors: it is no file; expected a safetensors file/,
    ],
    [
      'a config.json that is a pipe',
      async (f) => {
        await rm(path.join(f, 'config.json'))
        execFileSync('mkfifo', [path.join(f, 'config.json')])
      },
      /config\.json: it is no file; expected a JSON file/,
    ],
    [
      'a tensor of another shape in a shard',
      (f) =>
        changeTensors(path.join(f, shards[0]), (tensors) =>
          tensors.set('conv_in.bias', { dtype: 'F16', shape: [8], data: new Uint16Array(8) }),
        ),
      /-00001-of-00002\.safetensors: tensor 'conv_in\.bias' has shape \[8\]; expected \[4\]/,
    ],
  ])('%s', async (_, spoil, message) => {
    const folder = await copyOf('file-sharded')
    await spoil(folder)
    const error = await failure(load(folder))
    expect(error).toMatchObject({ code: 'ERR_BAD_CHECKPOINT', message: expect.stringMatching(message) })
    expect(error.message).toContain(folder)
  })

  it('a tensor under its old name and under today’s', async () => {
    const folder = await copyOf('file-old-attention-names')
    await changeTensors(path.join(folder, weightsFile), (tensors) => {
      const name = [...tensors.keys()].find((key) => key.endsWith('.proj_attn.bias')) as string
      tensors.set(name.replace('proj_attn', 'to_out.0'), tensors.get(name) as StoredTensor)
    })
    expect((await failure(load(folder))).message).toMatch(
      /tensor '\S+attentions\.0\.to_out\.0\.bias' twice, under an old name and under today's/,
    )
  })

  it('weights of another variant, with those that there are', async () => {
    const folder = await copyOf('file-variant-fp16')
    const there =
      /safetensors: there is no such file; the folder has the weights otherwise: load them with \{ variant: 'fp16' \} \(--variant on the command line\)$/
    expect((await failure(load(folder))).message).toMatch(there)
    expect((await failure(load(folder, { variant: 'ema' }))).message).toMatch(there)
    const wrong = await failure(load(folder, { variant: '../fp16' }))
    expect(wrong).toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringMatching(/variant is '\.\.\/fp16'/),
    })
    const plain = await copyOf('file-sharded')
    expect((await failure(load(plain, { variant: 'fp16' }))).message).toMatch(/load them without a variant$/)
  })

  it('a pickle, with how to convert it', async () => {
    const folder = await copyOf('file-old-attention-names')
    await rename(path.join(folder, weightsFile), path.join(folder, `${stem}.bin`))
    const error = await failure(load(folder))
    expect(error).toMatchObject({ code: 'ERR_BAD_CHECKPOINT' })
    expect(error.message).toContain(
      `UNet2DModel.from_pretrained('${folder}', use_safetensors=False).save_pretrained('${folder}')`,
    )
  })

  it('a pointer to the weights, as Git leaves it without LFS', async () => {
    const folder = await copyOf('file-old-attention-names')
    await writeFile(path.join(folder, weightsFile), 'version https://example.org/spec/v1\noid sha256:00\nsize 33612\n')
    expect((await failure(load(folder))).message).toMatch(/it is a pointer of Git LFS to the weights, .*git lfs pull/)
  })
})

describe('a saved pipeline', () => {
  it('has the files and names that diffusers gives one, and the learner in it', async () => {
    const from = goldenPath('unets/file-pipeline')
    const learner = await load(from, { schedule: undefined })
    const folder = path.join(await temporaryFolder(), 'pipeline')
    await learner.save(folder, { format: 'pipeline' })
    const json = async (at: string, name: string) => {
      const { _diffusers_version: _, ...rest } = JSON.parse(await readFile(path.join(at, name), 'utf8'))
      return rest
    }
    for (const name of ['model_index.json', 'scheduler/scheduler_config.json']) {
      expect(await json(folder, name)).toEqual(await json(from, name))
    }
    const weights = (at: string) => readFile(path.join(at, 'unet', weightsFile))
    expect((await weights(folder)).equals(await weights(from))).toBe(true)
    expect(await readdir(folder)).toEqual(['model_index.json', 'scheduler', 'unet'])
  })

  it('goes on learning, and is replaced by the next one only', async () => {
    const folder = path.join(await temporaryFolder(), 'pipeline')
    const learner = await tinyLearner({ sampler: { kind: 'ddpm', steps: 1000 } })
    await learner.save(folder, { format: 'pipeline' })
    const index = JSON.parse(await readFile(path.join(folder, 'model_index.json'), 'utf8'))
    expect(index).toMatchObject({ _class_name: 'DDPMPipeline', scheduler: ['diffusers', 'DDPMScheduler'] })
    await learner.train(bandsStream().tasks[0]!, finetune(), { steps: 2, batchSize: 4 })
    await learner.save(folder, { format: 'pipeline' })
    for (const at of [folder, path.join(folder, 'unet')]) {
      expect(await load(at, { schedule: undefined })).toMatchObject({ tasksLearned: 1, stepsDone: 2 })
    }
    for (const [name, message] of [
      ['unet/notes.md', /holds unet\/notes\.md, which this package did not write/],
      ['learner.json', /holds learner\.json, which/],
    ] as const) {
      await writeFile(path.join(folder, name), '{}')
      const error = await failure(learner.save(folder, { format: 'pipeline' }))
      expect(error).toMatchObject({ code: 'ERR_WRITE_FAILED', message: expect.stringMatching(message) })
      await rm(path.join(folder, name))
    }
    expect((await failure(learner.save(folder))).code).toBe('ERR_WRITE_FAILED')
    const foreign = await copyOf('file-pipeline')
    await rm(path.join(foreign, 'io.safetensors'))
    expect((await failure(learner.save(foreign, { format: 'pipeline' }))).message).toMatch(/but no unet\/learner\.json/)
  })

  it.each<[string, object, RegExp]>([
    [
      'another sampler',
      { sampler: { kind: 'euler' } },
      /sample by ddim or ddpm, the learner by euler; save it in the format 'model'/,
    ],
    ['a schedule of ours', { schedule: { kind: 'edm' } }, /diffusers has no scheduler for the learner's schedule/],
  ])('is refused for %s', async (_, options, message) => {
    const learner = await tinyLearner(options)
    const error = await failure(learner.save(path.join(await temporaryFolder(), 'x'), { format: 'pipeline' }))
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARGUMENT', message: expect.stringMatching(message) })
  })
})
