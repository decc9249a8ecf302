import { existsSync, readdirSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { mersenneTwister } from '../lib/data/torch-random.js'
import { startCommand } from './support/child.js'
import { temporaryFolder } from './support/folders.js'
import { brokenExperiment, expectSameRuns } from './support/runs.js'

const kills = 10

/** Whether something in the folder is being written at this moment. */
function isWriting(folder: string): boolean {
  try {
    return readdirSync(folder, { recursive: true }).some((name) => String(name).includes('.tmp'))
  } catch {
    return existsSync(folder) // something in it was renamed meanwhile
  }
}

test('killed at ten random moments, those of writing included, a run ends as one that was not', async () => {
  const folder = await temporaryFolder()
  const experiment = { ...brokenExperiment, train: { steps: 60, batchSize: 4 } }
  await writeFile(path.join(folder, 'tiny.json'), JSON.stringify(experiment))
  const whole = await startCommand(folder, 'run', 'tiny.json', '--out', 'whole').ended
  expect(whole).toMatchObject({ status: 0 })

  const random = mersenneTwister(Number(process.env.KILL_SEED ?? 1))
  const below = (n: number) => Math.floor((random() / 2 ** 32) * n)
  let killed = 0
  let whileWriting = 0
  for (let run = 0; killed < kills; run++) {
    const out = path.join(folder, `killed-${run}`)
    for (let ended = false; !ended; ) {
      const args = existsSync(path.join(out, 'config.json')) ? ['--resume', out] : ['tiny.json', '--out', out]
      const { child, output, ended: end } = startCommand(folder, 'run', ...args)
      let over = false
      const whenOver = end.then((how) => {
        over = true
        return how
      })
      if (killed < kills) {
        // The n-th time that something is being written, or so long after the training is under way.
        const writing = below(2) === 0
        let left = writing ? below(20) : below(400)
        while (!over && !output.stderr.includes('writing into')) await wait(1)
        for (let was = false; !over && left > 0; ) {
          if (writing) {
            const is = isWriting(out)
            if (is && !was) left--
            was = is
            await wait(0)
          } else {
            await wait(1)
            if (output.stderr.includes('steps/s')) left--
          }
        }
        if (child.kill('SIGKILL')) whileWriting += isWriting(out) ? 1 : 0
      }
      const how = await whenOver
      if (how.signal === 'SIGKILL') killed++
      else expect(how, `${args.join(' ')}: ${how.stderr}`).toMatchObject({ status: 0, signal: null })
      ended = how.status === 0
    }
    await expectSameRuns(out, path.join(folder, 'whole'))
    expect(await readFile(path.join(out, 'results.json'), 'utf8')).toMatch(/"complete": true/)
  }
  expect(whileWriting).toBeGreaterThan(0)
}, 400_000)
