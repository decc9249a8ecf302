import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { beforeAll, expect, it } from 'vitest'
import { temporaryFolder } from './support/folders.js'
import { compile, run, start } from './support/processes.js'

beforeAll(compile, 120_000)

const atomic = pathToFileURL(path.resolve('dist/files/atomic.js')).href

it('what a killed process left beside a file is removed by the next write, and what a living one writes is not', async () => {
  const folder = await temporaryFolder()
  const file = path.join(folder, 'page.html')
  const write = (then: string) => [
    '--input-type=module',
    '-e',
    `import { replaceFile } from ${JSON.stringify(atomic)}
     import { writeFile } from 'node:fs/promises'
     await replaceFile(${JSON.stringify(file)}, async (at) => { await writeFile(at, 'new'); ${then} })`,
  ]
  const killed = await run(write("process.kill(process.pid, 'SIGKILL')"))
  expect(killed.signal).toBe('SIGKILL')
  expect(await readdir(folder)).toEqual([expect.stringMatching(/^page\.html\..*\.tmp$/)])
  await writeFile(path.join(folder, 'page.html.deadbeef.tmp'), 'of somebody')

  const living = start(
    write("console.log(at); await new Promise((end) => process.stdin.once('data', end)); process.stdin.destroy()"),
  )
  const at = await new Promise<string>((resolve) =>
    living.child.stdout.once('data', (text) => resolve(String(text).trim())),
  )
  expect((await run(write(''))).code).toBe(0)
  expect((await readdir(folder)).sort()).toEqual(['page.html', path.basename(at), 'page.html.deadbeef.tmp'].sort())
  living.child.stdin.write('go on')
  expect((await living.ended).code).toBe(0)
  expect(await readFile(file, 'utf8')).toBe('new')
})
