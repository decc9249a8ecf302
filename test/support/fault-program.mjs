// @ts-nocheck: plain JavaScript, as users write it
// What test/group-faults.test.ts runs with two processes: `node fault-program.mjs <fault> [rank]`; each prints what it saw, after its rank.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { classIncremental, finetune, fromArrays, Group, Learner } from '../../dist/index.js'

const [fault, who = '1'] = process.argv.slice(2)
const group = await Group.fromEnvironment()
const isOther = group.rank === Number(who)
const say = (text) => console.log(`${group.rank}: ${text}`)
const told = async (work) => {
  try {
    await work()
    say('no error')
  } catch (error) {
    say(error.code ? `${error.code} ${error.message}` : String(error))
  }
}

const set = (name, bright) =>
  fromArrays({
    name,
    images: Uint8Array.from({ length: 16 * 64 }, (_, i) => (i * 7919 + bright) % 251),
    labels: Array.from({ length: 16 }, (_, i) => i % 2),
    classes: ['even', 'odd'],
    ...{ height: 8, width: 8, channels: 1 },
  })
const taskOf = (bright) =>
  classIncremental({ train: set('x/train', bright), test: set('x/test', 0) }, { tasks: 1 }).tasks[0]
const task = taskOf(0)
const unet = {
  ...{ sample_size: 8, in_channels: 1, out_channels: 1, block_out_channels: [8], layers_per_block: 1 },
  ...{ down_block_types: ['DownBlock2D'], up_block_types: ['UpBlock2D'], norm_num_groups: 4 },
}
const learner = await Learner.create({ unet, device: 'cpu', precision: 'fp32', seed: 1, group })
const options = { steps: 200, batchSize: 4 }

if (fault === 'survived') {
  await told(() => learner.train(taskOf(isOther ? 1 : 0), finetune(), options))
  await told(() => learner.train(task, finetune(), { ...options, lr: isOther ? 1e-3 : 1e-4 }))
  // One has other weights, of as many steps by the same seed.
  const folder = await mkdtemp(path.join(tmpdir(), 'continual-diffusion-'))
  const alone = await Learner.create({ unet, device: 'cpu', precision: 'fp32', seed: 1 })
  await alone.train(task, finetune(), { ...options, steps: 2, lr: isOther ? 1e-3 : 1e-4 })
  await alone.save(folder)
  const loaded = await Learner.load(folder, { device: 'cpu', group })
  await told(() => loaded.train(task, finetune(), options))
  await rm(folder, { recursive: true })
  // Two at once: the second is refused, and the first goes on.
  const create = (seed) => Learner.create({ unet, device: 'cpu', precision: 'fp32', seed, group })
  const two = [await create(2), await create(3)]
  const ended = two.map((one) => one.train(task, finetune(), { ...options, steps: 20 }))
  await told(() => ended[1])
  await ended[0]
  // One is aborted: all stop after the same step, and can go on from there.
  const controller = new AbortController()
  const onStep = ({ step }) => {
    if (isOther && step === 40) controller.abort('enough')
  }
  await told(() => learner.train(task, finetune(), { ...options, onStep, signal: controller.signal }))
  const { stepsDone } = learner
  const all = Float64Array.of(stepsDone)
  await group.sum(all)
  say(`same step ${all[0] === 2 * stepsDone}, whole ${stepsDone >= 40 && stepsDone < 200}`)
} else {
  for await (const { step } of learner.learn(task, finetune(), { ...options, steps: 1e6 })) {
    if (step < 5 || !isOther) continue
    if (fault === 'throws') throw new Error('out of luck')
    if (fault === 'ends') process.exit(0)
    if (fault === 'killed') process.kill(process.pid, 'SIGKILL')
  }
}
