import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, it } from 'vitest'
import { readExperiment } from '../lib/cli/experiment.js'
import { readRun } from '../lib/experiment/read-run.js'
import { runExperiment } from '../lib/experiment/run.js'
import { Learner } from '../lib/index.js'
import { ownCache, temporaryFolder } from './support/folders.js'
import { brokenExperiment } from './support/runs.js'

ownCache()

it('that an editor put before a JSON file is read past, in experiments, runs and learners', async () => {
  const out = path.join(await temporaryFolder(), 'run')
  const experiment = { ...brokenExperiment, methods: ['finetune' as const], train: { steps: 1, batchSize: 4 } }
  await runExperiment({ ...experiment, out })
  const before = await readRun(out)
  const files = (await readdir(out, { recursive: true })).filter((name) => /\.jsonl?$/.test(name))
  expect(files.length).toBeGreaterThan(3)
  for (const name of files) {
    const file = path.join(out, name)
    await writeFile(file, Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), await readFile(file)]))
  }
  expect(await readRun(out)).toEqual(before)
  expect(await readExperiment(path.join(out, 'config.json'))).toEqual(before.config)
  const learner = path.join(out, path.dirname(files.find((name) => name.endsWith('scheduler_config.json')) as string))
  await using loaded = await Learner.load(learner, { device: 'cpu' })
  expect(loaded.tasksLearned).toBeGreaterThan(0)
})
