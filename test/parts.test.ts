import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { compareRuns } from '../lib/experiment/index.js'
import { ofPart } from '../lib/experiment/part.js'
import { startCommand } from './support/child.js'
import { temporaryFolder } from './support/folders.js'
import { compile } from './support/processes.js'
import { tinyExperiment } from './support/tiny-experiment.js'

describe('ofPart', () => {
  it.each([1, 2, 3, 5, 6])('divides the methods and seeds into %i parts, each of about the same number', (of) => {
    const parts = Array.from({ length: of }, (_, i) => ofPart(['a', 'b', 'c'], [10, 20], { number: i + 1, of }))
    const pairs = parts.map((part) => part.flatMap(({ seed, methods }) => methods.map((method) => `${method}${seed}`)))
    expect(pairs.flat()).toEqual(['a10', 'b10', 'c10', 'a20', 'b20', 'c20'])
    const sizes = pairs.map(({ length }) => length)
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
  })

  it('refuses more parts than there is to run', () => {
    expect(() => ofPart(['a'], [1, 2], { number: 1, of: 3 })).toThrow(/of is 3; expected at most 2/)
  })
})

/** `PARTS=10 npx vitest run test/parts.test.ts` has ten processes at once. */
const of = Number(process.env.PARTS ?? 4)

describe(`${of} parts at once, two of them killed and begun again`, () => {
  beforeAll(compile, 120_000)

  it('are together what one run is', async () => {
    const folder = await temporaryFolder()
    const [file, out] = [path.join(folder, 'experiment.json'), path.join(folder, 'all')]
    const experiment = {
      ...tinyExperiment,
      ...{ methods: ['finetune' as const, 'joint' as const], seeds: Array.from({ length: of / 2 }, (_, i) => i) },
      ...{
        stream: { tasks: 2 },
        evaluation: { count: 10, after: 'last' as const, metrics: ['frechetDistance' as const] },
      },
    }
    await writeFile(file, JSON.stringify(experiment))
    const begin = (number: number) => startCommand(folder, 'run', file, '--out', out, '--part', `${number}/${of}`)
    const numbers = Array.from({ length: of }, (_, i) => i + 1)
    const killed = [2, 3]
    const begun = numbers.map(begin)
    for (const number of killed) {
      await until(path.join(out, `part-${number}-of-${of}`, 'config.json'))
      begun[number - 1]!.child.kill('SIGKILL')
    }
    const ended = await Promise.all(begun.map(({ ended }) => ended))
    expect(ended.map(({ status, signal }) => status ?? signal)).toEqual(
      numbers.map((number) => (killed.includes(number) ? 'SIGKILL' : 0)),
    )
    for (const number of killed) expect((await begin(number).ended).status).toBe(0)
    expect(await readdir(out)).toEqual(numbers.map((number) => `part-${number}-of-${of}`).sort())

    const whole = startCommand(folder, 'run', file, '--out', path.join(folder, 'whole'))
    expect((await whole.ended).status).toBe(0)
    const { results } = await compareRuns([out])
    expect(results.complete).toBe(true)
    const values = ({ runs }: typeof results) =>
      runs.map(({ method, seed, tasks }) => [method, seed, tasks.map(({ loss, metrics }) => [loss, metrics])]).sort()
    expect(values(results)).toEqual(values(JSON.parse(await readFile(path.join(folder, 'whole/results.json'), 'utf8'))))
  }, 300_000)
})

async function until(file: string): Promise<void> {
  for (let i = 0; i < 1200; i++) {
    if (await readFile(file).then(Boolean, () => false)) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`expected ${file}, and it is not there after a minute`)
}
