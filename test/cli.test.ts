import { execFile } from 'node:child_process'
import { readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { program } from '../lib/cli/as-run.js'
import { run as runCommand, withOptions } from '../lib/cli/run-action.js'
import { type ExperimentInput, resolveExperiment } from '../lib/experiment/config.js'
import { ContinualDiffusionError } from '../lib/index.js'
import type { Results } from '../lib/report/results.js'
import { main, startCommand as start } from './support/child.js'
import { filesBelow, temporaryFolder } from './support/folders.js'
import { tinyExperiment } from './support/tiny-experiment.js'

const run = (cwd: string, ...args: string[]) => start(cwd, ...args).ended

async function writeExperiment(folder: string, changes: object = {}): Promise<string> {
  await writeFile(path.join(folder, 'tiny.json'), JSON.stringify({ ...tinyExperiment, ...changes }))
  return 'tiny.json'
}

test('an experiment that is neither a file nor a preset is told as such', async () => {
  const folder = await temporaryFolder()
  expect(await run(folder, 'run', 'nofile.json')).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(
      /^ERR_INVALID_ARGUMENT: nofile.json: there is no such file; expected a JSON file, or a preset: /,
    ),
  })
  expect(await run(folder, 'run', 'dem')).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/did you mean 'demo'/),
  })
})

test('a run writes its whole folder, prints table and paths; its learners draw', async () => {
  const folder = await temporaryFolder()
  const experiment = await writeExperiment(folder)
  const { status, stdout, stderr } = await run(
    folder,
    'run',
    experiment,
    '--steps',
    '2',
    '--seed',
    '69',
    '--out',
    'out',
  )
  expect({ status, stderr }).toMatchObject({ status: 0, stderr: expect.stringMatching(/task 5\/5/) })

  const out = path.join(folder, 'out')
  const tasks = [1, 2, 3, 4, 5]
  const saved = ['config.json', 'scheduler_config.json', 'diffusion_pytorch_model.safetensors']
  const of = (method: string, folder: string, names: (k: number) => string[]) =>
    tasks.flatMap((k) => names(k).map((name) => `${folder}/${method}/seed-69/${name}`))
  const expected = [
    'config.json',
    'classifier.safetensors',
    'events.jsonl',
    'metrics.jsonl',
    'report.html',
    'results.json',
    ...['real', 'finetune', 'generative-distillation'].flatMap((m) => of(m, 'samples', (k) => [`task-${k}.png`])),
    ...['finetune', 'generative-distillation'].flatMap((m) =>
      // The first task of the second method is the first's.
      of(m, 'learners', (k) => (k === 1 && m !== 'finetune' ? [] : saved.map((name) => `task-${k}/${name}`))),
    ),
  ]
  const files = await filesBelow(out)
  expect(files).toEqual(expect.arrayContaining(expected))
  // A learner's folder may have more files than a diffusers model's.
  expect(files.filter((file) => !expected.includes(file) && !file.startsWith('learners/'))).toEqual([])
  expect(files.filter((file) => file.includes('.tmp'))).toEqual([])

  const results = JSON.parse(await readFile(path.join(out, 'results.json'), 'utf8')) as Results
  expect(results.complete).toBe(true)
  expect(results.runs.map(({ method, seed, tasks }) => [method, seed, tasks.length])).toEqual([
    ['finetune', 69, 5],
    ['generative-distillation', 69, 5],
  ])
  for (const { samples, metrics, steps } of results.runs.flatMap((r) => r.tasks)) {
    expect(steps).toBe(2)
    expect(Object.values(metrics).map(({ generated }) => generated)).toEqual(Array(5).fill(30))
    // Two by two images of 8 × 8 with a gap of one, eight times enlarged.
    expect(await sharp(path.join(out, samples)).metadata()).toMatchObject({ width: 17 * 8, height: 17 * 8 })
  }
  expect(results.versions.node).toBe(process.versions.node)
  for (const { title } of Object.values(results.metrics)) expect(stdout).toContain(title.replace(/ \(.*/, ''))
  for (const file of ['results.json', 'report.html']) expect(stdout).toContain(path.join(out, file))

  const learner = 'out/learners/finetune/seed-69/task-5'
  const draw = (file: string, ...args: string[]) =>
    run(folder, 'sample', learner, '--count', '3', '--out', file, ...args)
  expect(await draw('a.png', '--seed', '1', '--files', 'images')).toMatchObject({ status: 0 })
  expect(await draw('b.png', '--seed', '1')).toMatchObject({ status: 0 })
  expect(await draw('c.png', '--seed', '2')).toMatchObject({ status: 0 })
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => readFile(path.join(folder, `${name}.png`))))
  expect(a!.equals(b!)).toBe(true)
  expect(a!.equals(c!)).toBe(false)
  expect(await filesBelow(path.join(folder, 'images'))).toEqual(['0000.png', '0001.png', '0002.png'])

  // What is known of the run from its folder is enough for all that follows.
  const { stdout: histogram } = await draw('d.png', '--histogram')
  const counts = histogram
    .split('\n')
    .filter((line) => / {2}\d/.test(line))
    .map((line) => Number(/ {2}(\d+)/.exec(line)![1]))
  expect(counts).toHaveLength(10)
  expect(counts.reduce((a, b) => a + b)).toBe(3)

  const { stdout: json } = await run(folder, 'evaluate', learner, '--json')
  const { evaluation, classes } = JSON.parse(json)
  expect(classes).toHaveLength(10)
  const task = results.runs.find(({ method }) => method === 'finetune')!.tasks[4]!
  expect(evaluation.values).toEqual(JSON.parse(JSON.stringify(task.metrics)))
  const earlier = await run(folder, 'evaluate', learner, '--task', '1', '--count', '40')
  expect(earlier.stdout, JSON.stringify(earlier)).toMatch(/^Against 200 test images of .*; 40 generated images\n/)
  const lost = await run(folder, 'evaluate', 'images')
  expect(lost).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/images is not in a run folder.*--experiment/),
  })

  for (const command of ['evaluate', 'sample']) {
    expect((await run(folder, command, 'out')).stderr).toMatch(
      /^ERR_BAD_CHECKPOINT: out.config.json: the folder is a run's; name one of those in its learners/,
    )
  }

  expect(await run(folder, 'evaluate', 'nope')).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^ERR_DATA_NOT_FOUND: nope: there is no such folder/),
  })

  const before = await readFile(path.join(out, 'report.html'))
  await rm(path.join(out, 'report.html'))
  expect(await run(folder, 'report', 'out')).toMatchObject({ status: 0, stdout: `${path.join(out, 'report.html')}\n` })
  expect(before.equals(await readFile(path.join(out, 'report.html')))).toBe(true)

  const again = await run(
    folder,
    'run',
    experiment,
    '--steps',
    '2',
    '--seed',
    '42',
    '--method',
    'finetune',
    '--markdown',
    '--out',
    'b',
  )
  expect(again.status).toBe(0)
  expect(again.stdout).toMatch(
    /^\*\*After task 5;[^\n]*\*\*\n\n\| Method \|[^\n]*\n\|[^\n]*\n\| finetune \|[^\n]*\n\| \(real training images\) \|[^\n]*\n\n† rank-deficient[^\n]*\n$/,
  )
  const compared = await run(folder, 'compare', 'out', 'b', '--markdown', '--out', 'both.html')
  expect(compared.stdout).toMatch(/mean ± standard error, over seeds 69, 42 of finetune; 69 of generative-distillation/)
  expect(compared.stdout).toMatch(/^\| finetune \| [\d.]+ ± [\d.]+( †)? \|/m)
  expect(await readFile(path.join(folder, 'both.html'), 'utf8')).toMatch(/<!doctype html>/)
}, 180_000)

test.each([
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGXCPU', 152],
] as const)('%s in mid-run ends with status %i and leaves whole files', async (signal, status) => {
  const folder = await temporaryFolder()
  const experiment = await writeExperiment(folder)
  const { child, output, ended } = start(folder, 'run', experiment, '--steps', '1000000', '--out', 'out')
  const training = new Promise<void>((resolve) => {
    child.stderr.on('data', () => output.stderr.includes('steps/s') && resolve())
  })
  await Promise.race([training, ended])
  child.kill(signal)
  expect(await ended).toMatchObject({ status, signal: null, stderr: expect.stringContaining(signal) })
  expect(output.stderr).toContain(`main.js run --resume ${path.join(folder, 'out')}`)
  const files = await filesBelow(path.join(folder, 'out'))
  expect(files).toContain('config.json')
  expect(files.filter((file) => file.includes('.tmp'))).toEqual([])
  for (const file of files.filter((name) => name.endsWith('.json'))) {
    JSON.parse(await readFile(path.join(folder, 'out', file), 'utf8'))
  }
  expect(files).toContain('checkpoints/1/checkpoint.json')
  // A second signal ends it at once, whatever it is at.
  const again = start(folder, 'run', '--resume', 'out')
  await new Promise<void>((resolve) => {
    again.child.stderr.on('data', () => again.output.stderr.includes('steps/s') && resolve())
  })
  expect(again.output.stderr).toContain('resuming from checkpoint 1\n')
  // Of two kinds, for the system makes one of two alike; in which order they come it doesn't say.
  again.child.kill('SIGINT')
  again.child.kill('SIGTERM')
  const how = await again.ended
  expect([130, 143]).toContain(how.status)
  expect(how.stderr).not.toContain('The results so far are')
})

test('a run whose terminal is closed ends with status 129 and a checkpoint', async () => {
  const folder = await temporaryFolder()
  const experiment = await writeExperiment(folder)
  // Runs a command in a terminal of its own, and closes that once training is under way.
  const terminal = `import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
seen = b''
while b'task: ' not in seen:
    seen += os.read(terminal, 4096)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))`
  const args = ['-c', terminal, process.execPath, main, 'run', experiment, '--steps', '1000000', '--out', 'out']
  const { stdout } = await promisify(execFile)('python3', args, {
    cwd: folder,
    env: { ...process.env, XDG_CACHE_HOME: path.join(folder, 'cache') },
  })
  expect(stdout.trim()).toBe('129')
  expect(await filesBelow(path.join(folder, 'out'))).toContain('checkpoints/1/checkpoint.json')
})

test('a run goes on by --resume and nothing else; of a complete one it prints the results', async () => {
  const folder = await temporaryFolder()
  const experiment = await writeExperiment(folder, { methods: ['finetune'], stream: { tasks: 1 } })
  const first = await run(folder, 'run', experiment, '--out', 'out')
  expect(first.status).toBe(0)
  const again = await run(folder, 'run', '--resume', 'out')
  expect(again).toMatchObject({ status: 0, stdout: first.stdout, stderr: 'this run is already complete\n' })
  for (const args of [[experiment], ['--steps', '3']]) {
    const wrong = await run(folder, 'run', '--resume', 'out', ...args)
    expect(wrong).toMatchObject({
      status: 2,
      stdout: '',
      stderr: expect.stringMatching(/give neither an experiment nor/),
    })
  }
  const nothing = await run(folder, 'run', '--resume', 'nowhere')
  expect(nothing).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^ERR_DATA_NOT_FOUND: .*nowhere is not there; name the folder of a run/),
  })
})

test.each([
  [['run', 'demo', '--stpes', '3'], /unknown option '--stpes'/],
  [['run', 'demo', '--steps', '0'], /--steps.*at least 1/],
  [['run', 'demo', '--seed', 'x'], /--seed.*whole number/],
  [['sample'], /missing required argument/],
  [['dance'], /unknown command 'dance'/],
  [['compare'], /missing required argument/],
  [['run', '--steps', '10', '--epochs', '1'], /--steps.*cannot be used with.*--epochs/],
  // What only the library knows to be wrong.
  [['run', '--device', 'gpu'], /demo: --device is 'gpu'; expected 'auto'/],
  [['sample', 'x', '--out', 'x.jpg'], /--out.*ends in \.png/],
  [['evaluate', '.', '--experiment', 'dem'], /did you mean 'demo'/],
  [['data', 'get', 'minst'], /did you mean 'mnist'/],
  [['init', 'demo'], /demo is no name of an experiment file; expected one that ends in \.json/],
])('wrong usage exits with 2: %j', async (args, message) => {
  const { status, stdout, stderr } = await run(await temporaryFolder(), ...args)
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
  expect(stderr).toMatch(message)
})

test.each([
  [{ precision: 'fp16' }, /demo: --precision is 'fp16'/],
  [{ tasks: [11] }, /demo: --tasks is 11/],
  [{ tasks: [4] }, /demo: --tasks is 4; expected a divisor of 10, .* 10 in all, such as 3 3 2 2$/],
  [{ method: ['finetun'] }, /did you mean 'finetune'/],
  [{ method: ['joint+'] }, /'joint\+' has no name beside a '\+'/],
  [{ threads: 2000 }, /demo: --threads is 2000/],
  [{ channels: 3 }, /demo: --channels is 3; expected 1: the images of fashion-mnist are grey/],
  [{ size: 18 }, /demo: --size is 18/],
  [{ seed: [1, 1] }, /demo: --seed is \[ 1, 1 \]; expected each seed once/],
  [{ out: '' }, /demo: --out is ''/],
  [{ count: 3 }, /demo: --count is 3; expected more than evaluation.k, which is 3/],
  [{ data: 'idx' }, /demo: --data-folder is missing/],
  [{ dataFolder: 'x' }, /demo: --data-folder is 'x'; expected none: the subset/],
])('what the library finds wrong with options is wrong usage, and named as typed: %j', async (options, message) => {
  const error = await runCommand('demo', options, {}, new AbortController().signal).catch((error) => error)
  expect(error).toBeInstanceOf(ContinualDiffusionError)
  expect(error.code).toBe('ERR_INVALID_ARGUMENT')
  expect(error.message).toMatch(message)
})

test('errors have one message with their code, and a stack only when asked for', async () => {
  const folder = await temporaryFolder()
  const brief = await run(folder, 'run', 'dmeo')
  expect(brief).toMatchObject({ status: 2, stdout: '' })
  expect(brief.stderr.trim().split('\n')).toHaveLength(1)
  expect(brief.stderr).toMatch(/^ERR_INVALID_ARGUMENT: .*'dmeo'.*'demo'/)
  const long = await run(folder, '--verbose', 'run', 'dmeo')
  expect(long.status).toBe(2)
  expect(long.stderr).toMatch(/\n {4}at /)

  const experiment = await writeExperiment(folder, { sedes: [1] })
  expect(await run(folder, 'run', experiment)).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/tiny\.json.*'sedes'.*'seeds'/),
  })
  expect(await run(folder, 'run', 'cifar10-paper')).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/data\.folder is missing/),
  })
  expect((await run(folder, 'run', 'cifar10-paper', '--data-folder', 'nowhere')).stderr).toMatch(/^ERR_DATA_NOT_FOUND/)
  expect((await run(folder, 'run', 'demo', '--data', 'mnst')).stderr).toMatch(/'mnst'.*mnist/)
  expect((await run(folder, 'compare', 'nowhere')).stderr).toMatch(/^ERR_DATA_NOT_FOUND: .*nowhere/)
  await writeFile(path.join(folder, 'broken.json'), '{')
  expect(await run(folder, 'run', 'broken.json')).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(
      /^ERR_INVALID_ARGUMENT: broken\.json is not JSON: line 1, column 2: found the end of the file; expected a key/,
    ),
  })
  expect(await filesBelow(folder)).toEqual(['broken.json', 'tiny.json'])
})

test('commands that are printed can be pasted as they are', async () => {
  const folder = await temporaryFolder()
  const { stdout } = await run(folder, 'init', "the first's.json")
  const [, printed = ''] = /run it by: (.*)$/m.exec(stdout) ?? []
  expect(printed).toMatch(/^node .*main\.js run '/)
  await rm(path.join(folder, "the first's.json"))
  const pasted = await promisify(execFile)('sh', ['-c', printed], { cwd: folder }).catch((error) => error)
  expect(pasted.stderr).toContain("the first's.json: there is no such file")
  expect(program('/p/node_modules/.bin/continual-diffusion', { npm_command: 'exec' })).toEqual([
    'npx',
    'continual-diffusion',
  ])
  expect(program('/usr/bin/continual-diffusion', { PATH: '/bin:/usr/bin' })).toEqual(['continual-diffusion'])
  expect(program('/opt/bin/continual-diffusion', { PATH: '/bin' })).toEqual(['/opt/bin/continual-diffusion'])
  expect(program(path.resolve('node_modules/.bin/continual-diffusion'), {})).toEqual([
    'node_modules/.bin/continual-diffusion',
  ])
})

test('a method that is configured keeps its options when it is named', () => {
  const methodsOf = (method: string[], input: object = { preset: 'demo' }) =>
    resolveExperiment(withOptions(input as ExperimentInput, { method })).methods
  const configured = resolveExperiment({ preset: 'demo' }).methods
  expect(configured[2]).toMatchObject({ name: 'generative-distillation', lambda: 0.4 })
  expect(methodsOf(['generative-distillation', 'joint'])).toEqual([configured[2], { name: 'joint', label: 'joint' }])
  const own = { preset: 'demo', methods: [{ name: 'generative-replay', label: 'often', teacher: { steps: 9 } }] }
  expect(methodsOf(['often'], own)).toEqual([own.methods[0]])
})

test('help and version exit with 0', async () => {
  const folder = await temporaryFolder()
  const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
  expect(await run(folder, '--version')).toMatchObject({ status: 0, stdout: `${version}\n` })
  const help = await run(folder, '--help')
  expect(help.status).toBe(0)
  for (const command of ['run', 'compare', 'report', 'sample', 'evaluate', 'doctor', 'data'])
    expect(help.stdout).toMatch(new RegExp(`^ {2}${command} `, 'm'))
})
