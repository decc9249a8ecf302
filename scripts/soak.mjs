/**
 * Lets the demo's model train for long while everything that can interrupt it does, and says at the end what it came to:
 *
 *   npm run soak -- --minutes 120 --seed 1
 *
 * Two things go on side by side, on one thread each:
 * - runs of the command line, one after the other, each interrupted again and again by SIGKILL, SIGTERM or SIGINT at random moments and
 *   resumed, its saved learners evaluated in between. Each must end byte for byte as one that nothing disturbed, which comes first
 * - one process that lives all the time and creates learners, trains them with random aborts, saves, loads and resumes them, draws and
 *   evaluates: its resident memory must not grow
 *
 * Exits with 1 where something hung, ended as it shouldn't, computed something else, or grew. All figures are in `soak.json` in the
 * folder that it names.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual, parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '120' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 32)) },
    /** Seconds without a sign of life that count as a hang; those in which this script stood still too, as its machine did, don't. */
    hang: { type: 'string', default: '300' },
    folder: { type: 'string' },
    /** The process that lives all the time; started by this script itself. */
    steady: { type: 'boolean', default: false },
  },
})
const seed = Number(values.seed)

/**
 * Mulberry32: uniform in [0, 1).
 * @param {number} state
 */
function generator(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

if (values.steady) await steady()
else await soak()

/** Cycles of a learner's whole life in one process, until that is ended; each is told to the parent with the resident memory. */
async function steady() {
  const {
    classIncremental,
    Classifier,
    evaluate,
    fashionMnist,
    frechetDistance,
    generativeDistillation,
    Learner,
    presets,
  } = await import('continual-diffusion')
  const random = generator(seed)
  const data = await fashionMnist({ subset: true, size: 16 })
  const classifier = await Classifier.cached(data, { epochs: 1, device: 'cpu' })
  const stream = classIncremental(data, { tasks: 5, seed: 42 })
  const method = generativeDistillation({ teacher: { steps: 2 } })
  const at = join(/** @type {string} */ (values.folder), 'steady')
  for (let cycle = 1; ; cycle++) {
    let learner = await Learner.create({ unet: presets.demo, device: 'cpu', seed: cycle, ema: 0.99 })
    let aborts = 0
    for (const task of stream.tasks.slice(0, 2)) {
      while (learner.tasksLearned < task.number) {
        const controller = new AbortController()
        const timer = setTimeout(() => controller.abort('soak'), 500 + 8000 * random())
        try {
          const options = { steps: 60, batchSize: 32, resume: true, signal: controller.signal }
          for await (const _ of learner.learn(task, method, options)) process.send?.({ kind: 'alive' })
        } catch (error) {
          if (error !== 'soak') throw error
          aborts++
          await learner.save(at)
          await learner.dispose()
          learner = await Learner.load(at, { device: 'cpu' })
        } finally {
          clearTimeout(timer)
        }
      }
      await evaluate(learner, stream.seen(task), [frechetDistance(classifier)], { count: 64 })
    }
    await learner.sample({ count: 32 })
    await learner.dispose()
    process.send?.({ kind: 'cycle', cycle, aborts, rss: process.memoryUsage().rss })
  }
}

async function soak() {
  const minutes = Number(values.minutes)
  const hang = Number(values.hang)
  const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'continual-diffusion-soak-'))
  mkdirSync(folder, { recursive: true })
  console.log(`soak of ${minutes} minutes, --seed ${seed}, in ${folder}`)
  const random = generator(seed)
  const begin = performance.now()
  const end = begin + minutes * 60_000
  const script = fileURLToPath(import.meta.url)
  const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
  const env = { ...process.env, OMP_NUM_THREADS: '1', XDG_CACHE_HOME: join(folder, 'cache') }
  const figures = {
    seed,
    minutes,
    runs: 0,
    identical: 0,
    resumes: 0,
    /** @type {Record<string, number>} */
    ended: { SIGKILL: 0, SIGTERM: 0, SIGINT: 0 },
    evaluations: 0,
    hangs: 0,
    /** @type {string[]} */
    failures: [],
    /** Largest resident memory of the processes of the runs, MiB. */
    runPeak: 0,
    cycles: 0,
    aborts: 0,
    /** Minutes since the beginning, and the resident memory of the steady process, MiB. @type {[number, number][]} */
    resident: [],
  }
  const fail = (/** @type {string} */ what) => {
    figures.failures.push(what)
    console.error(`FAILED: ${what}`)
  }

  /** @type {Set<import('node:child_process').ChildProcess>} */
  const children = new Set()
  process.on('exit', () => {
    for (const child of children) child.kill('SIGKILL')
  })
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => process.exit(1))

  /**
   * Runs a command of the package to its end, or until `signal` is sent after `after` milliseconds of training.
   * @param {string[]} args
   * @param {{ signal: NodeJS.Signals, after: number }} [stop]
   */
  async function command(args, stop) {
    const child = spawn(process.execPath, [main, ...args], { cwd: folder, env })
    children.add(child)
    let stdout = ''
    let stderr = ''
    let silent = 0
    let hung = false
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text
      silent = 0
    })
    const looking = setInterval(() => {
      figures.runPeak = Math.max(figures.runPeak, peakOf(child.pid))
      if (++silent < hang || hung) return
      hung = true
      figures.hangs++
      fail(`no sign of life for ${values.hang} s: ${args.join(' ')}\n${stderr.slice(-1000)}`)
      child.kill('SIGKILL')
    }, 1000)
    const timer = stop && setTimeout(() => child.kill(stop.signal), stop.after)
    /** @type {{ status: number | null, by: NodeJS.Signals | null }} */
    const how = await new Promise((resolve) => child.on('close', (status, by) => resolve({ status, by })))
    clearTimeout(timer)
    clearInterval(looking)
    children.delete(child)
    return { ...how, stdout, stderr, hung }
  }

  const watching = watchSteady()
  const experiment = {
    preset: 'demo',
    device: 'cpu',
    stream: { tasks: 2 },
    train: { steps: 60 },
    methods: [
      'finetune',
      { name: 'generative-distillation', lambda: 0.4, teacher: { steps: 2 } },
      'synaptic-intelligence',
    ],
    evaluation: { count: 100, metrics: ['frechetDistance', 'classFrequencies'] },
    classifier: { epochs: 1 },
    checkpoints: { everySteps: 20, everyMinutes: 0 },
  }
  writeFileSync(join(folder, 'soak-experiment.json'), JSON.stringify(experiment))
  const whole = join(folder, 'whole')
  rmSync(whole, { recursive: true, force: true })
  const first = await command(['run', 'soak-experiment.json', '--out', whole])
  if (first.status !== 0)
    fail(`the run that nothing disturbed ended with ${first.status}: ${first.stderr.slice(-1000)}`)

  while (performance.now() < end && figures.failures.length === 0) {
    const out = join(folder, 'broken')
    rmSync(out, { recursive: true, force: true })
    for (let over = false; !over && performance.now() < end && figures.failures.length === 0; ) {
      const begun = existsSync(join(out, 'config.json'))
      if (begun) figures.resumes++
      const draw = random()
      /** @type {NodeJS.Signals} */
      const signal = draw < 0.5 ? 'SIGKILL' : draw < 0.75 ? 'SIGTERM' : 'SIGINT'
      const args = begun ? ['run', '--resume', out] : ['run', 'soak-experiment.json', '--out', out]
      const how = await command(args, { signal, after: 2000 + 30_000 * random() })
      if (how.hung) break
      over = how.status === 0
      const status = { SIGKILL: null, SIGTERM: 143, SIGINT: 130 }[/** @type {'SIGKILL'} */ (signal)]
      if (over) compareRuns(out)
      else if (how.status === status) figures.ended[signal] = (figures.ended[signal] ?? 0) + 1
      // A signal that comes before the command has begun to look out for it ends the process as ever.
      else if (how.by !== signal)
        fail(`${args.join(' ')} ended with ${how.status ?? how.by}: ${how.stderr.slice(-1000)}`)
      if (random() < 0.3) await evaluateOne(out)
    }
  }

  /** @param {string} out */
  function compareRuns(out) {
    figures.runs++
    const theirs = contentsOf(whole)
    const ours = contentsOf(out)
    const different = [...new Set([...theirs.keys(), ...ours.keys()])].filter(
      (name) => !isDeepStrictEqual(theirs.get(name), ours.get(name)),
    )
    if (different.length === 0) figures.identical++
    else fail(`a resumed run differs from the undisturbed one in ${different.slice(0, 5).join(', ')}`)
  }

  /** Evaluates a saved learner anew: the values must be those that the run found. @param {string} out */
  async function evaluateOne(out) {
    const file = join(out, 'results.json')
    if (!existsSync(file)) return
    const tasks = JSON.parse(readFileSync(file, 'utf8')).runs.flatMap((/** @type {any} */ run) => run.tasks)
    if (tasks.length === 0) return
    const task = tasks[Math.floor(random() * tasks.length)]
    const how = await command(['evaluate', join(out, task.learner), '--json', '--device', 'cpu'])
    const found = how.status === 0 ? JSON.parse(how.stdout).evaluation.values : how.stderr.slice(-1000)
    if (isDeepStrictEqual(found, task.metrics)) figures.evaluations++
    else fail(`${task.learner} evaluates to ${JSON.stringify(found)}; the run found ${JSON.stringify(task.metrics)}`)
  }

  /** Starts the steady process, and hears from it. */
  function watchSteady() {
    const args = [script, '--steady', '--seed', String(seed), '--folder', folder]
    const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    children.add(child)
    let silent = 0
    let over = false
    child.on('message', (/** @type {any} */ { kind, rss, aborts }) => {
      silent = 0
      if (kind !== 'cycle') return
      figures.cycles++
      figures.aborts += aborts
      figures.resident.push([(performance.now() - begin) / 60_000, rss / 2 ** 20])
    })
    child.on('close', (status, by) => {
      children.delete(child)
      if (!over) fail(`the steady process ended with ${status ?? by}`)
    })
    const saying = setInterval(() => {
      const { runs, identical, resumes, ended, evaluations, cycles, aborts, resident } = figures
      const rss = resident.at(-1)?.[1].toFixed(0) ?? '?'
      console.log(
        `minute ${((performance.now() - begin) / 60_000).toFixed(0)}: ${runs} runs, ${identical} identical, ${resumes} resumes, ` +
          `${JSON.stringify(ended)}, ${evaluations} evaluations; ${cycles} cycles, ${aborts} aborts, ${rss} MiB`,
      )
    }, 60_000)
    const looking = setInterval(() => {
      if (++silent !== hang) return
      figures.hangs++
      fail(`no sign of life of the steady process for ${values.hang} s`)
    }, 1000)
    return () => {
      over = true
      clearInterval(saying)
      clearInterval(looking)
      child.kill('SIGKILL')
    }
  }

  watching()
  const growth = growthOf(figures.resident)
  if (growth && growth.last > 1.05 * growth.first) {
    fail(`the steady process grew from ${growth.first.toFixed(0)} to ${growth.last.toFixed(0)} MiB`)
  }
  writeFileSync(join(folder, 'soak.json'), `${JSON.stringify({ ...figures, growth }, null, 2)}\n`)
  const { resident: _, ...shown } = figures
  console.log(JSON.stringify({ ...shown, growth }, null, 2))
  process.exit(figures.failures.length === 0 ? 0 : 1)
}

/**
 * Means of the resident memory over the second fifth of the cycles, when all caches are filled, and over the last one; and the slope
 * of the line through all from the second fifth on, MiB an hour. Undefined for fewer than ten cycles.
 * @param {[minutes: number, mebibytes: number][]} resident
 */
function growthOf(resident) {
  if (resident.length < 10) return undefined
  const fifth = Math.floor(resident.length / 5)
  const mean = (/** @type {number[]} */ of) => of.reduce((a, b) => a + b, 0) / of.length
  const values = resident.map(([, mebibytes]) => mebibytes)
  const rest = resident.slice(fifth)
  const [x, y] = [mean(rest.map(([minutes]) => minutes)), mean(rest.map(([, mebibytes]) => mebibytes))]
  const covariance = rest.reduce((sum, [minutes, mebibytes]) => sum + (minutes - x) * (mebibytes - y), 0)
  const variance = rest.reduce((sum, [minutes]) => sum + (minutes - x) ** 2, 0)
  return {
    first: mean(values.slice(fifth, 2 * fifth)),
    last: mean(values.slice(-fifth)),
    largest: Math.max(...values),
    perHour: (60 * covariance) / variance,
  }
}

/**
 * Files of a run folder by name, without times and what is made from them.
 * @param {string} folder
 */
function contentsOf(folder) {
  /** @type {Map<string, unknown>} */
  const files = new Map()
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.name === 'report.html') continue
    const file = join(entry.parentPath, entry.name)
    const bytes = readFileSync(file)
    const name = file.slice(folder.length + 1)
    files.set(name, name === 'results.json' ? withoutTimes(JSON.parse(bytes.toString())) : bytes.toString('base64'))
  }
  return files
}

/** @param {any} results */
function withoutTimes(results) {
  for (const { tasks } of results.runs) for (const task of tasks) delete task.seconds
  return results
}

/**
 * Largest resident memory that a process ever had, MiB; 0 where it is gone.
 * @param {number | undefined} pid
 */
function peakOf(pid) {
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
  } catch {
    return 0
  }
}
