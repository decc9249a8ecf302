import { execFile } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const run = promisify(execFile)
const build = fileURLToPath(new URL('../build', import.meta.url))

it('what CUDA records as a graph looks at no value, and takes no tensor of the host', async () => {
  await run('cmake', ['--build', build, '--target', 'graph_check'])
  const { stdout, stderr } = await run(path.join(build, 'graph_check'))
  const cases = stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
  expect(cases.map(([name]) => name)).toEqual([
    'memory',
    'teacher',
    'teacher-eta',
    'teacher-partial',
    'gaussian',
    'gaussian-symmetric',
    'penalties',
    'sample-ddim',
    'sample-ddpm',
  ])
  for (const [name, operators, ofHost] of cases) {
    expect(Number(operators), `operators of ${name}`).toBeGreaterThan(50)
    expect(Number(ofHost), `${name}: ${stderr}`).toBe(0)
  }
}, 300_000)
