import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import sharp from 'sharp'
import ts from 'typescript'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { readSafetensors, toFloat32 } from '../lib/files/safetensors.js'
import { Learner } from '../lib/index.js'
import { temporaryFolder } from './support/folders.js'
import { expectClose, goldenPath } from './support/golden.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const execute = promisify(execFile)

// The examples run as programs, with the package as it is published, so it must be that of these sources.
beforeAll(async () => {
  await execute(process.execPath, [path.join(root, 'scripts', 'compile.mjs'), '--if-stale'])
}, 120_000)

/** An example as JavaScript, in a project that has the package and sharp. */
async function project(name: string): Promise<{ folder: string; file: string }> {
  const folder = await temporaryFolder()
  const modules = path.join(folder, 'node_modules')
  await mkdir(modules)
  await symlink(root, path.join(modules, 'continual-diffusion'))
  await symlink(path.join(root, 'node_modules', 'sharp'), path.join(modules, 'sharp'))
  const source = await readFile(path.join(root, 'examples', `${name}.ts`), 'utf8')
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  })
  const file = path.join(folder, `${name}.mjs`)
  await writeFile(file, outputText)
  return { folder, file }
}

/** The oracles' model folders have no scheduler's file. */
const noScheduler = '--disable-warning=CONTINUAL_DIFFUSION_NO_SCHEDULE'

async function run(name: string, args: readonly string[]): Promise<{ folder: string; lines: string[] }> {
  const { folder, file } = await project(name)
  const { stdout, stderr } = await execute(process.execPath, [noScheduler, file, ...args], { cwd: folder })
  expect(stderr).toBe('')
  return { folder, lines: stdout.split('\n').filter((line) => line !== '') }
}

describe('sample-pipeline', () => {
  it('writes one PNG for each sample', async () => {
    const from = goldenPath('unet/tiny-gray')
    // More than one batch.
    const { folder } = await run('sample-pipeline', [from, 'out', '103'])
    const files = await readdir(path.join(folder, 'out'))
    expect(files.sort()).toEqual(Array.from({ length: 103 }, (_, i) => `${i}.png`).sort())
    await using learner = await Learner.load(from)
    const { data } = await learner.sample({ count: 3, seed: 100 })
    const written = await sharp(path.join(folder, 'out', '102.png'))
      .toColourspace('b-w')
      .raw()
      .toBuffer()
    expect([...written]).toEqual([...data.subarray(2 * 256)])
  })
})

describe('worker-and-server', () => {
  it('answers while the worker trains, with samples that change, and stops on SIGINT', async () => {
    const { folder, file } = await project('worker-and-server')
    const server = spawn(process.execPath, [file, '0', '1000000'], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(() => void server.kill('SIGKILL'))
    const [address] = (await once(createInterface(server.stdout), 'line')) as [string]
    const progress = async () =>
      (await (await fetch(`${address}/progress`)).json()) as { step: number; task: number } | null
    const later = async (step: number) => {
      for (;;) {
        const now = await progress()
        if (now !== null && now.step > step) return now
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
    const samples = async () => {
      const response = await fetch(`${address}/`)
      expect(response.headers.get('content-type')).toBe('image/png')
      const png = Buffer.from(await response.arrayBuffer())
      expect(await sharp(png).metadata()).toMatchObject({ format: 'png', width: 16, height: 8 * 16 })
      return sharp(png).raw().toBuffer()
    }
    const { step, task } = await later(0)
    expect(task).toBe(1)
    const [early, twin] = await Promise.all([samples(), samples(), progress()])
    expect(early.length).toBe(twin.length)
    // It is training on, and its samples are those of the weights by now.
    await later(step)
    expect((await samples()).equals(early)).toBe(false)
    server.kill('SIGINT')
    expect(await once(server, 'exit')).toEqual([0, null])
  })
})

describe('custom-method', () => {
  it('learns five tasks with its three terms', async () => {
    const { lines } = await run('custom-method', ['2'])
    const last = lines
      .filter((line) => line.includes(' 2 '))
      .map((line) =>
        line
          .replaceAll(/[[\],]/g, ' ')
          .trim()
          .split(/\s+/),
      )
    expect(last.map(([task]) => Number(task))).toEqual([1, 2, 3, 4, 5])
    // task, step, loss, and one loss for each term
    expect(last.map((words) => words.length)).toEqual([4, 6, 6, 6, 6])
    for (const [task, , loss, ...terms] of last.map((words) => words.map(Number)) as [
      number,
      number,
      number,
      ...number[],
    ][]) {
      const weights = task === 1 ? [1] : [1 / task, 1 - 1 / task, 0.5 - 0.5 / task]
      expect(loss).toBeCloseTo(
        terms.reduce((sum, term, i) => sum + term * (weights[i] as number), 0),
        4,
      )
    }
  })

  it('is a method of ten lines', async () => {
    const source = await readFile(path.join(root, 'examples', 'custom-method.ts'), 'utf8')
    const method = source.slice(source.indexOf('const coarseToFine'), source.indexOf('const [steps'))
    expect(method.trim().split('\n').length).toBe(10)
  })
})

describe('async-source', () => {
  it('learns what its generator draws', async () => {
    const { lines } = await run('async-source', ['2'])
    expect(lines.filter((line) => / 2 \d/.test(line)).map((line) => line.split(' ')[0])).toEqual(['circle', 'square'])
  })
})

describe('continue-pretrained', () => {
  it('tells the loss on both domains before and after, by both methods, and saves what learned', async () => {
    const images = await temporaryFolder()
    for (const [at, level] of ['old/train', 'old/test', 'new/train', 'new/test'].entries()) {
      const folder = path.join(images, level, 'class')
      await mkdir(folder, { recursive: true })
      for (const n of [0, 1]) {
        const raw = { width: 8, height: 8, channels: 3 } as const
        const pixels = Uint8Array.from({ length: 192 }, (_, i) => (i * (at + 2) + 40 * n) % 256)
        await sharp(pixels, { raw }).toFile(path.join(folder, `${n}.png`))
      }
    }
    const model = goldenPath('unets/file-pipeline')
    const { folder, lines } = await run('continue-pretrained', [model, `${images}/old`, `${images}/new`, '10'])
    const told = lines.map((line) => line.split(' '))
    const methods = ['generative-distillation', 'finetune']
    expect(told.map(([method, when]) => `${method} ${when}`)).toEqual(
      methods.flatMap((method) => [`${method} before`, `${method} after`]),
    )
    const losses = told.map(([, , ...numbers]) => numbers.map(Number))
    expect(losses.flat().every((loss) => loss > 0)).toBe(true)
    expect(losses[2]).toEqual(losses[0])
    expect(losses[1]).not.toEqual(losses[0])
    await using learner = await Learner.load(path.join(folder, 'continued', 'generative-distillation'))
    expect(learner).toMatchObject({ tasksLearned: 1, learnedBefore: 1 })
  })
})

describe('own-images', () => {
  it('learns the classes of a folder, and draws', async () => {
    const images = await temporaryFolder()
    for (const [c, name] of ['leaf', 'stone'].entries()) {
      await mkdir(path.join(images, name))
      for (let i = 0; i < 10; i++) {
        const create = { width: 20, height: 16, channels: 3, background: { r: 100 * c, g: 90 + i, b: 7 } } as const
        await sharp({ create }).toFile(path.join(images, name, `${i}.png`))
      }
    }
    const { folder, lines } = await run('own-images', [images, '2'])
    expect(lines[0]).toBe('leaf, stone 16 training and 4 test images')
    expect(
      lines
        .slice(1)
        .map((line) => line.split(': ')[1])
        .sort(),
    ).toEqual(['leaf', 'stone'])
    expect(await readdir(folder)).toEqual(expect.arrayContaining(['own-images', 'task-1.png', 'task-2.png']))

    const later = await temporaryFolder()
    await rename(path.join(images, 'stone'), path.join(later, 'star'))
    const next = await run('next-task', [path.join(folder, 'own-images'), later, '2'])
    expect(next.lines).toEqual([expect.stringMatching(/^task 3: .*, after (leaf; stone|stone; leaf)$/)])
    expect(await readdir(next.folder)).toContain('task-3.png')
    await using learner = await Learner.load(path.join(folder, 'own-images'), { device: 'cpu' })
    expect(learner.tasksLearned).toBe(3)
    expect(learner.learned.names.toSorted()).toEqual(['leaf', 'star', 'stone'])
  })
})

/** A Python that has diffusers, if there is one: name it by PYTHON where it isn't python3. */
const python = process.env.PYTHON ?? 'python3'
const diffusers = await execute(python, ['-c', 'import diffusers, torch; print(diffusers.__version__)']).catch(
  () => null,
)

describe('diffusers-folder', () => {
  const from = goldenPath('unet/tiny-gray')

  it('writes a folder with the same tensors, trained', async () => {
    const { folder } = await run('diffusers-folder', [from, 'trained', '2'])
    const weights = async (at: string) =>
      (await readSafetensors(path.join(at, 'diffusion_pytorch_model.safetensors'))).tensors
    const [before, after] = [await weights(from), await weights(path.join(folder, 'trained'))]
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort())
    const moved = [...before].filter(([name, tensor]) => {
      const now = toFloat32(after.get(name) as typeof tensor) as Float32Array
      return (toFloat32(tensor) as Float32Array).some((value, i) => value !== now[i])
    })
    expect(moved.length).toBeGreaterThan(before.size / 2)
  })

  it('writes what UNet2DModel.from_pretrained opens, and computes the same', async ({ skip }) => {
    skip(diffusers === null, `${python} has no diffusers: what the saved folder computes there was not compared`)
    const { folder } = await run('diffusers-folder', [from, 'trained', '2'])
    const xt = Float32Array.from({ length: 2 * 256 }, (_, i) => Math.sin(i * 0.37))
    const script = `
import json, sys, torch
from diffusers import UNet2DModel
model = UNet2DModel.from_pretrained('trained')
xt = torch.tensor(json.load(sys.stdin)).view(2, 1, 16, 16)
with torch.no_grad():
    print(json.dumps(model(xt, torch.tensor([3, 800])).sample.flatten().tolist()))`
    const child = execute(python, ['-c', script], { cwd: folder, maxBuffer: 2 ** 24 })
    child.child.stdin?.end(JSON.stringify([...xt]))
    const theirs = JSON.parse((await child).stdout)
    await using learner = await Learner.load(path.join(folder, 'trained'), { device: 'cpu', precision: 'fp32' })
    expectClose(await learner.predict(xt, Int32Array.of(3, 800)), theirs, 1e-4)
  }, 120_000)
})
