import { execFile, execFileSync } from 'node:child_process'
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { mersenneTwister } from '../lib/data/torch-random.js'
import { checksumOfContents, readCheckpoint } from '../lib/experiment/checkpoint.js'
import { RunFolder } from '../lib/experiment/folder.js'
import { resumeExperiment, runExperiment } from '../lib/experiment/run.js'
import { checksumOf } from '../lib/files/checksum.js'
import { Learner } from '../lib/index.js'
import { madeUpCheckpoint, sealed } from './support/checkpoints.js'
import { startCommand } from './support/child.js'
import { ownCache, temporaryFolder } from './support/folders.js'
import { brokenExperiment, expectSameRuns } from './support/runs.js'
import { failure, tinyUNet } from './support/tiny.js'

ownCache()

const experiment = { ...brokenExperiment, methods: ['finetune' as const], train: { steps: 10, batchSize: 4 } }

/** Whether this process may mount; elsewhere a small disk and one that can't be written can't be had. */
const mayMount = (() => {
  const mount = (...args: string[]) => execFileSync('mount', args, { stdio: 'ignore' })
  const folder = execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim()
  try {
    mount('-t', 'tmpfs', 'tmpfs', folder)
    execFileSync('umount', [folder])
    return true
  } catch {
    return false
  } finally {
    execFileSync('rmdir', [folder])
  }
})()

const mount = (...args: string[]) => execFileSync('mount', args)
const unmount = (folder: string) => execFileSync('umount', ['--lazy', folder])

/** A small disk of its own. */
async function smallDisk(): Promise<string> {
  const folder = await temporaryFolder()
  mount('-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder)
  onTestFinished(() => void unmount(folder))
  return folder
}

/** Fills a disk to the last byte. */
async function fill(file: string): Promise<void> {
  for (const size of [2 ** 16, 2 ** 12, 1]) {
    const part = Buffer.alloc(size, 1)
    while (
      await writeFile(file, part, { flag: 'a' }).then(
        () => true,
        () => false,
      )
    );
  }
}

describe.skipIf(!mayMount)('on a disk of its own (needs the right to mount)', () => {
  const ballast = (out: string) => path.join(path.dirname(out), 'ballast')
  // Another view of the folder is put over it: by a remount the disk couldn't become read-only while the run's lock is open.
  const freeze = async (out: string) => {
    mount('--bind', out, out)
    mount('-o', 'remount,bind,ro', out)
  }

  it.each<[string, string, (out: string) => Promise<void>, (out: string) => unknown]>([
    ['is full', 'ENOSPC', (out) => fill(ballast(out)), (out) => rm(ballast(out))],
    ['can only be read', 'EROFS', freeze, unmount],
  ])('that %s, a run stops and says so, and goes on once that is over', async (_, code, spoil, mend) => {
    const out = path.join(await smallDisk(), 'run')
    let spoiling: Promise<void> | undefined
    const error = await failure(
      runExperiment(
        { ...experiment, out },
        {
          onEvent: ({ kind }) => {
            if (kind === 'checkpoint') spoiling ??= spoil(out)
          },
        },
      ),
    )
    await spoiling
    expect(error.code).toBe('ERR_WRITE_FAILED')
    expect((error.cause as NodeJS.ErrnoException).code).toBe(code)
    expect(error.message).toContain(out)
    // Nothing can be done there while it lasts, and that is said too.
    if (code === 'EROFS') expect((await failure(resumeExperiment(out))).code).toBe('ERR_WRITE_FAILED')
    await mend(out)
    const checkpoints = (await readdir(path.join(out, 'checkpoints'))).sort()
    expect(checkpoints).not.toEqual([])
    expect(checkpoints.every((name) => /^\d+$/.test(name))).toBe(true)
    await resumeExperiment(out)
    const whole = path.join(await temporaryFolder(), 'whole')
    await runExperiment({ ...experiment, out: whole })
    await expectSameRuns(out, whole)
  })
})

/** A run folder with one small checkpoint, from the middle of a task. */
async function oneCheckpoint(): Promise<{ out: string; files: string[] }> {
  const out = path.join(await temporaryFolder(), 'run')
  const controller = new AbortController()
  const running = runExperiment(
    { ...experiment, out, checkpoints: { everyMinutes: 0 } },
    { signal: controller.signal, onEvent: ({ kind }) => kind === 'learn' && controller.abort('enough') },
  )
  await expect(running).rejects.toBe('enough')
  expect(await readdir(path.join(out, 'checkpoints'))).toEqual(['1'])
  const folder = await RunFolder.open(out)
  const { files } = await readCheckpoint(folder, 1)
  folder.release()
  return { out, files: Object.keys(files) }
}

describe('a checkpoint', () => {
  it('of which any one byte is flipped is refused, or is the same', async () => {
    const { out, files } = await oneCheckpoint()
    const folder = await RunFolder.open(out)
    onTestFinished(() => folder.release())
    const whole = await readCheckpoint(folder, 1)
    const random = mersenneTwister(1)
    const flip = async (file: string, at: number) => {
      const bytes = await readFile(file)
      const spoilt = Buffer.from(bytes)
      spoilt[at]! ^= 1 << (random() % 8)
      await writeFile(file, spoilt)
      const found = await readCheckpoint(folder, 1).catch((error) => error.code)
      await writeFile(file, bytes)
      return found
    }
    const manifest = path.join(out, 'checkpoints/1/checkpoint.json')
    const { length } = await readFile(manifest)
    for (let at = 0; at < length; at++) {
      const found = await flip(manifest, at)
      if (found !== 'ERR_BAD_CHECKPOINT') expect(found, `byte ${at}`).toEqual(whole)
    }
    // All others are covered by their SHA-256 as wholes.
    for (const name of files) {
      const file = path.join(out, name)
      const { length } = await readFile(file)
      for (const at of [0, 8, random() % length, length - 1]) {
        expect(await flip(file, Math.min(at, length - 1)), `${name}, byte ${at}`).toBe('ERR_BAD_CHECKPOINT')
      }
    }
  })

  it('of a newer version says so', async () => {
    const { out } = await oneCheckpoint()
    const file = path.join(out, 'checkpoints/1/checkpoint.json')
    const { checksum: _, ...contents } = JSON.parse(await readFile(file, 'utf8'))
    const newer = { ...contents, format: 2, invention: true }
    await writeFile(file, JSON.stringify({ ...newer, checksum: checksumOfContents(newer) }))
    const error = await failure(resumeExperiment(out))
    expect(error.code).toBe('ERR_BAD_CHECKPOINT')
    expect(error.message).toMatch(
      /format is 2, from a newer version of continual-diffusion; this version reads formats up to 1/,
    )
  })

  it.each<[string, (contents: Record<string, unknown>) => string, RegExp]>([
    [
      'no results',
      (all) => JSON.stringify(sealed({ ...all, runs: [{}] })),
      /runs\[0\].method is missing; expected a string/,
    ],
    [
      // A first task's picture is copied for the methods that share it.
      'a picture outside the run folder',
      (all) => {
        const text = JSON.stringify(all).replace('samples/finetune/seed-42/task-1.png', '../../secret')
        return JSON.stringify(sealed(JSON.parse(text)))
      },
      /runs\[0\].tasks\[0\].samples is '..\/..\/secret'; expected a path that stays in the run folder/,
    ],
    [
      'a configuration that is nested deeply',
      (all) => JSON.stringify(all).replace('"seeds":', `"data":${'['.repeat(20_000)}${']'.repeat(20_000)},"seeds":`),
      /damaged: expected at most 100 levels of nesting/,
    ],
  ])('with %s is refused', async (_, text, message) => {
    const folder = await RunFolder.create(path.join(await temporaryFolder(), 'run'), 'run', {})
    onTestFinished(() => folder.release())
    const learner = 'checkpoints/1/learner/learner.json'
    await mkdir(path.dirname(folder.at(learner)), { recursive: true })
    await writeFile(folder.at(learner), '{}')
    const contents = madeUpCheckpoint({ file: learner, ...(await checksumOf(folder.at(learner))) })
    const file = folder.at('checkpoints/1/checkpoint.json')
    await writeFile(file, JSON.stringify(sealed(contents)))
    expect(await readCheckpoint(folder, 1)).toEqual(sealed(contents))
    await writeFile(file, text(contents))
    const error = await failure(readCheckpoint(folder, 1))
    expect(error).toMatchObject({ code: 'ERR_BAD_CHECKPOINT', message: expect.stringMatching(message) })
    expect(error.message).toContain(file)
  })

  it('of another run, or one whose file was put in its place, is refused', async () => {
    const [mine, other] = [await oneCheckpoint(), await oneCheckpoint()]
    const at = (out: string, name = '') => path.join(out, 'checkpoints/1', name)
    const file = at(other.out, 'checkpoint.json')
    const { checksum: _, ...contents } = JSON.parse(await readFile(file, 'utf8'))
    contents.config.seeds = [7]
    await writeFile(file, JSON.stringify({ ...contents, checksum: checksumOfContents(contents) }))
    const foreign = path.join(await temporaryFolder(), 'foreign')
    await cp(mine.out, foreign, { recursive: true })
    await rm(at(foreign), { recursive: true })
    await cp(at(other.out), at(foreign), { recursive: true })
    await cp(path.join(other.out, 'metrics.jsonl'), path.join(foreign, 'metrics.jsonl'))
    expect((await failure(resumeExperiment(foreign))).message).toMatch(
      /seeds changed since the run began; expected .*\[7\]/,
    )

    await writeFile(at(mine.out, 'learner/learner.json'), '{}')
    expect((await failure(resumeExperiment(mine.out))).message).toMatch(/learner.json: damaged: it has 2 bytes/)
  })
})

it('a run that diverges names step and term, or writes no checkpoint of spoilt weights; the last one is whole and can be used', async () => {
  const diverging = (out: string, lr: number, everySteps: number) =>
    failure(
      runExperiment({
        ...experiment,
        train: { steps: 10, batchSize: 4, lr },
        ema: 0,
        checkpoints: { everySteps },
        out,
      }),
    )
  const folder = await temporaryFolder()
  // The first step is harmless; the second one's loss is of weights that the rate made huge.
  const early = await diverging(path.join(folder, 'early'), 1e30, 5)
  expect(early.code).toBe('ERR_DIVERGED')
  expect(early.message).toMatch(/not finite at step 2 of the learner, term 'task → data'/)
  // At this rate the weights grow for some steps before the prediction overflows.
  const out = path.join(folder, 'late')
  const late = await diverging(out, 10, 1)
  expect(late.code).toBe('ERR_DIVERGED')
  const spoilt = Number(late.message.match(/not finite (?:at|after) step (\d+) of the learner/)?.[1])
  expect(spoilt).toBeGreaterThan(1)
  const run = await RunFolder.open(out)
  onTestFinished(() => run.release())
  const [last] = (await readdir(run.at('checkpoints'))).sort().slice(-1)
  const { learner: saved } = await readCheckpoint(run, Number(last))
  const learner = await Learner.load(run.at(saved), { device: 'cpu' })
  onTestFinished(() => learner.dispose())
  expect(learner.taskInProgress?.step).toBeLessThan(spoilt)
  await expect(learner.sample({ count: 1 })).resolves.toBeDefined()
  // Going on as it began comes to the same end, and leaves the checkpoint.
  run.release()
  expect((await failure(resumeExperiment(out))).message).toBe(late.message)
  expect(await readdir(path.join(out, 'checkpoints'))).toContain(last)
})

it('without memory for a step, says so, and the learner can be used with a smaller batch', async () => {
  const script = `
    import { execFileSync } from 'node:child_process'
    import { readFileSync } from 'node:fs'
    import { classIncremental, finetune, fromArrays, Learner } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)}
    const data = (name) => fromArrays({
      name, images: new Uint8Array(8 * 64), labels: Int32Array.from({ length: 8 }, (_, i) => i % 2), classes: ['a', 'b'],
      height: 8, width: 8, channels: 1,
    })
    const [task] = classIncremental({ train: data('x/train'), test: data('x/test') }, { tasks: 1 })
    const learner = await Learner.create({ unet: JSON.parse(process.argv[1]), device: 'cpu', precision: 'fp32' })
    const learn = async (batchSize) => {
      for await (const _ of learner.learn(task, finetune(), { steps: 1, batchSize }));
      return 'learned'
    }
    await learn(4)
    const size = 1024 * Number(/VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1])
    execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + (size + 2 ** 30)])
    console.log(await learn(1_000_000).catch(({ code }) => code), await learn(4))`
  const node = ['--input-type=module', '--eval', script, JSON.stringify(tinyUNet)]
  const { stdout } = await promisify(execFile)(process.execPath, node)
  expect(stdout).toBe('ERR_OUT_OF_MEMORY learned\n')
})

describe('a run folder in which a process is at work', () => {
  it('is refused to another process, until that one is dead', async () => {
    const folder = await temporaryFolder()
    await writeFile(
      path.join(folder, 'tiny.json'),
      JSON.stringify({ ...experiment, train: { steps: 1e6, batchSize: 4 } }),
    )
    const out = path.join(folder, 'run')
    const { child, output, ended } = startCommand(folder, 'run', 'tiny.json', '--out', out)
    await new Promise<void>((resolve) => {
      child.stderr.on('data', () => output.stderr.includes('steps/s') && resolve())
    })
    const error = await failure(RunFolder.open(out))
    expect(error.code).toBe('ERR_RUN_LOCKED')
    expect(error.message).toContain(`another run uses this folder, process ${child.pid} on `)
    const second = await startCommand(folder, 'run', '--resume', out).ended
    expect(second).toMatchObject({ status: 1, stderr: expect.stringMatching(/^ERR_RUN_LOCKED: /) })
    child.kill('SIGKILL')
    expect(await ended).toMatchObject({ signal: 'SIGKILL' })
    // Its lock file is still there, and keeps nobody out.
    expect(await readdir(out)).toContain('run.lock')
    const opened = await RunFolder.open(out)
    opened.release()
    expect(await readdir(out)).not.toContain('run.lock')
  })

  it('is one process’s of many that want it at the same moment', async () => {
    const folder = await temporaryFolder()
    await mkdir(path.join(folder, 'run'))
    const script = `
      import { RunFolder } from ${JSON.stringify(new URL('../dist/experiment/folder.js', import.meta.url).href)}
      import { setTimeout as wait } from 'node:timers/promises'
      const got = await RunFolder.create('run', 'x', {}).catch(({ code }) => code)
      console.log(typeof got === 'string' ? got : 'got it')
      await wait(typeof got === 'string' ? 0 : 2000)`
    const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], { cwd: folder })
    const said = (await Promise.all(Array.from({ length: 4 }, run))).map(({ stdout }) => stdout.trim())
    expect(said.filter((text) => text === 'got it')).toHaveLength(1)
    expect(said.every((text) => ['got it', 'ERR_RUN_LOCKED', 'ERR_INVALID_ARGUMENT'].includes(text))).toBe(true)
  })
})
