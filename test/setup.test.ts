import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FakeMachine, root } from './support/fake-machine.js'

let machine: FakeMachine

beforeEach(() => {
  machine = new FakeMachine()
})
afterEach(() => {
  machine[Symbol.dispose]()
})

test('two set-ups at once in a fresh clone take turns, and the second finds all done', async () => {
  const copy = machine.copyOfPackage()
  const log = join(machine.folder, 'steps.log')
  rmSync(join(copy, 'node_modules'))
  rmSync(join(copy, 'build'), { recursive: true })
  writeFileSync(join(copy, 'package-lock.json'), '{}')
  const step = (name: string) => `echo ${name} >> ${log}; sleep 0.3; echo "end of ${name}" >> ${log}`
  machine.program('npm', `${step('npm')}; mkdir node_modules; echo > node_modules/.package-lock.json`)
  for (const name of ['install', 'compile']) {
    const code = `import { execSync } from 'node:child_process'\nexecSync(${JSON.stringify(step(name))}, { shell: '/bin/sh', env: { PATH: '/usr/bin:/bin' } })\n`
    writeFileSync(join(copy, 'scripts', `${name}.mjs`), code)
  }
  const setups = [0, 1].map(() => machine.start([join(copy, 'scripts', 'setup.mjs')]).ended)
  expect((await Promise.all(setups)).map(({ code }) => code)).toEqual([0, 0])
  const steps = ['npm', 'install', 'compile', 'install', 'compile'].flatMap((name) => [name, `end of ${name}`])
  expect(readFileSync(log, 'utf8').trim().split('\n')).toEqual(steps)
  expect(readdirSync(join(copy, 'build'))).toEqual([])
})

test('what is compiled is compiled again only when a source is newer, at whatever part of a second that was written', async () => {
  const copy = machine.copyOfPackage()
  cpSync(join(root, 'tsconfig.json'), join(copy, 'tsconfig.json'))
  const source = join(copy, 'lib', 'index.ts')
  const page = join(copy, 'lib', 'report', 'live', 'page')
  mkdirSync(page, { recursive: true })
  cpSync(join(root, 'lib', 'report', 'live', 'page', 'tsconfig.json'), join(page, 'tsconfig.json'))
  writeFileSync(join(page, 'page.ts'), 'export {}\n')
  const compile = async () => {
    const { code, stdout, stderr } = await machine.start([join(copy, 'scripts', 'compile.mjs'), '--if-stale']).ended
    expect(code, stdout).toBe(0)
    return stderr.includes('compiling')
  }
  for (const millisecond of [1, 3, 7]) {
    writeFileSync(source, `export const millisecond = ${millisecond}\n`)
    // Times as floating-point seconds are not whole milliseconds, some a little more and some a little less.
    const written = (Math.floor(Date.now() / 1000) + 60 * millisecond) * 1000 + millisecond
    for (const path of [source, join(copy, 'lib')]) utimesSync(path, new Date(), new Date(written))
    expect([await compile(), await compile()], `${millisecond} ms`).toEqual([true, false])
  }
}, 60_000)
