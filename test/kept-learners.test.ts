import { existsSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { whyNoLearner } from '../lib/experiment/kept-learners.js'
import { resumeExperiment, runExperiment } from '../lib/experiment/run.js'
import { ownCache, temporaryFolder } from './support/folders.js'
import { tinyExperiment } from './support/tiny-experiment.js'

ownCache()

const tasks = 3
const methods = ['finetune', 'generative-distillation', 'joint'] as const

test.each(['all', 'last', 'none'] as const)(
  'of a run that is stopped and resumed, %s learners stay',
  async (keepLearners) => {
    const out = path.join(await temporaryFolder(), 'run')
    const controller = new AbortController()
    let done = 0
    const stopped = runExperiment(
      {
        ...tinyExperiment,
        methods: [...methods],
        seeds: [1, 2],
        stream: { tasks: [4, 3, 3] },
        keepLearners,
        checkpoints: { keep: 1 },
        out,
      },
      {
        signal: controller.signal,
        // In the second seed's last method, whose first task is another's.
        onEvent: ({ kind }) => kind === 'task' && ++done === 12 && controller.abort('enough'),
      },
    )
    await expect(stopped).rejects.toBe('enough')
    const isThere = (method: string, seed: number, task: number) =>
      existsSync(path.join(out, 'learners', method, `seed-${seed}`, `task-${task}`))
    if (keepLearners === 'none') expect(isThere('finetune', 1, 1)).toBe(false)
    const { results } = await resumeExperiment(out)
    for (const { method, seed, tasks: learned } of results.runs) {
      for (const { task, learner, sharedFrom = method } of learned) {
        const stays = keepLearners === 'all' || (keepLearners === 'last' && task === tasks)
        expect(isThere(sharedFrom, seed, task), `${method} ${seed} ${task}`).toBe(stays)
        expect(learner === undefined).toBe(!stays)
        const why = await whyNoLearner(path.join(out, 'learners', method, `seed-${seed}`, `task-${task}`))
        if (!stays) expect(why).toBe(`the run did not keep it: its keepLearners is '${keepLearners}'`)
        else if (sharedFrom === method) expect(why).toBeUndefined()
        else expect(why).toContain(`with ${sharedFrom}: name ${path.join(out, learner as string)}`)
      }
    }
  },
)
