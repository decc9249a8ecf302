/**
 * `npm run bench`: how fast the engine trains and samples, how much memory it takes, and what the TypeScript around it
 * costs. Options: --model paper|demo|ddpm-cifar10 (default: the first two, each in a process of its own), --batch images of each kind,
 * --device, --precision, --threads, --seconds for each group of measurements, --json.
 */
import { spawnSync } from 'node:child_process'
import { cpus } from 'node:os'
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { networkCalls, samplerKinds } from '../dist/config/sampler.js'
import { loadAddon } from '../dist/engine/load.js'
import { Learner } from '../dist/index.js'
import { deviceMemory, inTurn, median, milliseconds, peakMemory } from './bench/timing.mjs'
import { createWorkload, method, models, objectives, secondTask, settings, sharedOptions } from './bench/workload.mjs'

const { values } = parseArgs({
  options: { ...sharedOptions, seconds: { type: 'string', default: '30' }, json: { type: 'boolean', default: false } },
})
if (values.model === undefined) {
  for (const model of ['paper', 'demo']) {
    const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--model', model]
    const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
    if (status !== 0) process.exit(status ?? 1)
  }
} else {
  const result = await bench(await settings({ ...values, model: values.model }), Number(values.seconds))
  console.log(values.json ? JSON.stringify(result) : describe(result))
}

/**
 * @param {import('./bench/workload.mjs').Settings} settings
 * @param {number} seconds
 */
async function bench(settings, seconds) {
  const { batch, device } = settings
  const work = await createWorkload(settings)
  await work.train(1)
  // So long that a call's own cost doesn't count.
  const steps = device === 'cpu' ? Math.ceil(100 / (await milliseconds(() => work.train(1)))) : 40

  // A part of the step is what the step costs less without it. Measured at its borders inside the engine, a part would be
  // one thread's of a team, or on CUDA the time to ask for it, and not be there at all where the step is one graph.
  /** @param {import('./bench/workload.mjs').Objective} objective */
  const step = async (objective) => {
    if (device !== 'cpu') await work.train(24, objective) // until all that is recorded for an objective is
    return (await milliseconds(() => work.train(steps, objective))) / steps
  }
  const { rounds, medians: parts } = await inTurn(seconds, {
    whole: () => step(objectives.whole),
    withoutSampling: () => step(objectives.withoutSampling),
    withoutTeacher: () => step(objectives.withoutTeacher),
    // One step of sampling is one forward.
    forward: () => milliseconds(() => work.sample(2 * batch, 1)),
    update: async () => {
      await work.gradient()
      return milliseconds(work.update)
    },
  })
  const memory = { host: peakMemory(), device: deviceMemory(device) }

  const images = device === 'cpu' ? 64 : 512
  const { medians: sampling } = await inTurn(seconds / 2, { ms: () => milliseconds(() => work.sample(images, 10)) })
  const samplers = await inTurn(
    seconds,
    Object.fromEntries(samplerKinds.map((kind) => [kind, () => milliseconds(() => work.sample(2 * batch, 10, kind))])),
  )
  /** @param {import('../dist/index.js').SamplerConfig['kind']} kind */
  const evaluation = (kind) => {
    const calls = networkCalls({ kind, steps: 10 })
    // In each round beside DDIM's, as what else the machine does meets both alike.
    const ratios = samplers.byRound[kind]?.map((ms, i) => ms / calls / (Number(samplers.byRound.ddim?.[i]) / 10)) ?? []
    return { ms: Number(samplers.medians[kind]) / calls, percentOverDdim: (median(ratios) - 1) * 100 }
  }
  const loop = await overhead(settings, parts.whole, seconds)
  return {
    ...settings,
    cpu: cpus()[0]?.model ?? '',
    libtorch: loadAddon().libtorchVersion,
    rounds,
    step: {
      total: parts.whole,
      teacherSampling: parts.whole - parts.withoutSampling,
      teacherTarget: parts.withoutSampling - parts.withoutTeacher,
      studentForward: parts.forward,
      backward: parts.withoutTeacher - parts.forward - parts.update,
      update: parts.update,
    },
    sampling: {
      ...{
        images,
        steps: 10,
        rounds: samplers.rounds,
        imagesPerSecond: (images * 1000) / sampling.ms,
      },
      evaluations: samplerKinds.map((kind) => ({ kind, ...evaluation(kind) })),
    },
    memory,
    loop,
  }
}

/**
 * Learning a task by `learner.learn` against what that asks of the engine, in one call of `train`. Both on an engine that was just
 * made: one that has worked for a while is some percent faster or slower, by where its memory happens to lie.
 * @param {import('./bench/workload.mjs').Settings} settings
 * @param {number} stepMilliseconds
 * @param {number} seconds
 */
async function overhead(settings, stepMilliseconds, seconds) {
  const work = await createWorkload(settings)
  const { model, batch: batchSize, device, precision } = settings
  const learner = await Learner.create({
    unet: models[model],
    device: /** @type {import('../dist/index.js').Device} */ (device),
    precision,
    seed: 42,
  })
  await learner.freezeTeacher()
  const task = await secondTask(model)
  const steps = Math.max(3, Math.ceil((seconds * 100) / stepMilliseconds))
  const learn = async () => {
    for await (const _ of learner.learn(task, method, { steps, batchSize })) {
      // Its progress is all that is wanted.
    }
  }
  const { medians } = await inTurn(seconds, {
    bare: () =>
      milliseconds(async () => {
        await work.native.beginTask(false)
        await work.train(steps)
        await work.native.freezeTeacher()
      }),
    learn: () => milliseconds(learn),
  })
  const before = performance.eventLoopUtilization()
  await learn()
  const { utilization } = performance.eventLoopUtilization(before)
  // By itself, as a timer of 1 ms takes its part of a core.
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  await learn()
  delay.disable()
  await learner.dispose()
  return {
    steps,
    overheadPercent: (medians.learn / medians.bare - 1) * 100,
    // The engine waits for TypeScript only while that runs: a bound that no noise of the machine reaches.
    typescriptPercent: utilization * 100,
    // Milliseconds between two rounds of a timer of 1 ms: what is above 1 is delay.
    eventLoop: { p50: delay.percentile(50) / 1e6, p99: delay.percentile(99) / 1e6 },
  }
}

/** @param {Awaited<ReturnType<typeof bench>>} result */
function describe({ model, batch, device, precision, threads, cpu, libtorch, rounds, step, sampling, memory, loop }) {
  const ms = (/** @type {number} */ value) => `${value.toFixed(value < 100 ? 2 : 0)} ms`
  const parts = /** @type {const} */ ([
    ['teacher sampling', step.teacherSampling],
    ['teacher target', step.teacherTarget],
    ['student forward', step.studentForward],
    ['backward', step.backward],
    ['update', step.update],
  ])
  const rows = [
    ['step', `${ms(step.total)}, median of ${rounds} rounds`],
    ...parts.map(([name, value]) => [`  ${name}`, `${ms(value)}, ${((100 * value) / step.total).toFixed(0)} %`]),
    [
      'sampling',
      `${sampling.imagesPerSecond.toFixed(1)} images/s, ${sampling.images} in ${sampling.steps} steps of DDIM`,
    ],
    ...sampling.evaluations.map(({ kind, ms: each, percentOverDdim }) => [
      `  ${kind}`,
      `${ms(each)} an evaluation, ${percentOverDdim.toFixed(2)} % over DDIM's, median of ${sampling.rounds} rounds`,
    ]),
    ['peak memory', `${memory.host.toFixed(0)} MiB${memory.device ? `; GPU ${memory.device} MiB` : ''}`],
    [
      'event loop',
      `p50 ${loop.eventLoop.p50.toFixed(2)} ms, p99 ${loop.eventLoop.p99.toFixed(2)} ms, of which 1 ms is the timer's`,
    ],
    ['learner.learn', `${loop.overheadPercent.toFixed(2)} % over one call of the engine, ${loop.steps} steps`],
    ['', `TypeScript runs for ${loop.typescriptPercent.toFixed(2)} % of the time`],
  ]
  return [
    `${model}, ${batch} + ${batch} images, ${device}, ${precision}, ${threads} threads of ${cpu}, libtorch ${libtorch}`,
    ...rows.map(([name, value]) => `${name?.padEnd(20)}${value}`),
    '',
  ].join('\n')
}
