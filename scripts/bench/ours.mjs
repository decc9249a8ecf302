/** The engine as one of the processes that bench-peers.mjs compares; peer.py is the others, told the same. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { writeSafetensors } from '../../dist/files/safetensors.js'
import { toDiffusersConfig } from '../../dist/index.js'
import { milliseconds, peakMemory } from './timing.mjs'
import { createWorkload, models, settings } from './workload.mjs'

/** @typedef {import('../../dist/files/safetensors.js').StoredTensor} StoredTensor */

const options = await settings(JSON.parse(/** @type {string} */ (process.argv[2])))
const work = await createWorkload(options)

/** @type {Record<string, (message: { count: number, steps: number, folder: string }) => Promise<object>>} */
const commands = {
  step: async ({ count }) => ({ milliseconds: await milliseconds(() => work.train(count)) }),
  sample: async ({ count, steps }) => ({ milliseconds: await milliseconds(() => work.sample(count, steps)) }),
  memory: async () => ({ mebibytes: peakMemory() }),
  losses: async ({ folder }) => ({ losses: await losses(folder) }),
}

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line)
  console.log(JSON.stringify(await commands[message.do]?.(message)))
}

/**
 * The losses of one step, after writing all that they follow from: the U-Net, the weights of student and teacher, the draws.
 * @param {string} folder
 */
async function losses(folder) {
  await work.train(1) // so that the student is not its teacher any more
  /** @type {Map<string, StoredTensor>} */
  const tensors = new Map()
  for (const which of /** @type {const} */ (['student', 'teacher'])) {
    const weights = await work.native.read(which)
    for (const [i, { name, shape }] of work.native.parameters.entries()) {
      tensors.set(`${which}.${name}`, { dtype: 'F32', shape, data: /** @type {Float32Array} */ (weights[i]) })
    }
  }
  const draws = await work.draw()
  for (const [i, fields] of draws.entries()) {
    for (const [name, field] of Object.entries(fields)) {
      const integers = field instanceof Int32Array
      const { shape, data } = integers ? { shape: [field.length], data: field } : field
      tensors.set(`${i}.${name}`, { dtype: integers ? 'I32' : 'F32', shape, data })
    }
  }
  await writeSafetensors(join(folder, 'step.safetensors'), tensors)
  writeFileSync(join(folder, 'config.json'), JSON.stringify(toDiffusersConfig(models[options.model])))
  const { loss, terms } = await work.compute(draws)
  return [loss, ...terms]
}
