import { expect, it } from 'vitest'
import { nativeCheck, run } from './support/native-check.js'

it('what CUDA records as a graph looks at no value, and takes no tensor of the host', async () => {
  const { stdout, stderr } = await run(await nativeCheck('graph'))
  const cases = stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
  expect(cases.map(([name]) => name)).toEqual([
    'memory',
    'teacher',
    'teacher-eta',
    'teacher-ddpm',
    'teacher-partial',
    'gaussian',
    'gaussian-symmetric',
    'penalties',
    'labels',
    'sample-ddim',
    'sample-ddpm',
    'sample-euler',
    'sample-heun',
    'sample-dpm-solver++',
    'sample-sde-dpm-solver++',
    'sample-unipc',
  ])
  for (const [name, operators, ofHost] of cases) {
    expect(Number(operators), `operators of ${name}`).toBeGreaterThan(50)
    expect(Number(ofHost), `${name}: ${stderr}`).toBe(0)
  }
}, 300_000)
