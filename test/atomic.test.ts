import { execFileSync } from 'node:child_process'
import { readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { beforeAll, expect, it } from 'vitest'
import { replaceFolder } from '../lib/engine/whole-folder.js'
import { RunFolder } from '../lib/experiment/folder.js'
import { replaceFile } from '../lib/files/atomic.js'
import { temporaryFolder } from './support/folders.js'
import { compile, run, start } from './support/processes.js'

const ours = { marker: 'x', isOurs: () => true }

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

it.each(['/proc/x', '/proc/x/y/z', '/dev/null/x'])(
  'a folder that can not be made is an error and no wait: %s',
  async (folder) => {
    await expect(replaceFile(path.join(folder, 'page.html'), async () => {})).rejects.toMatchObject({
      code: 'ERR_WRITE_FAILED',
    })
    await expect(replaceFolder(path.join(folder, 'learner'), ours, async () => {})).rejects.toMatchObject({
      code: 'ERR_WRITE_FAILED',
    })
    await expect(RunFolder.create(path.join(folder, 'run'), 'x', {})).rejects.toMatchObject({
      code: 'ERR_WRITE_FAILED',
    })
  },
)

it('a device or a pipe is not replaced by a file of its name', async () => {
  const pipe = path.join(await temporaryFolder(), 'page.html')
  execFileSync('mkfifo', [pipe])
  await expect(replaceFile(pipe, (at) => writeFile(at, 'new'))).rejects.toMatchObject({
    code: 'ERR_WRITE_FAILED',
    message: expect.stringMatching(/page.html is no file; name a new file/),
  })
  expect((await stat(pipe)).isFIFO()).toBe(true)
})

it('what a link is to lead to is made, where it leads to nothing yet', async () => {
  const folder = await temporaryFolder()
  await symlink('made/page.html', path.join(folder, 'page'))
  await symlink(path.join(folder, 'made/learner'), path.join(folder, 'latest'))
  await replaceFile(path.join(folder, 'page'), (at) => writeFile(at, 'new'))
  await replaceFolder(path.join(folder, 'latest'), ours, (at) => writeFile(path.join(at, 'x'), 'new'))
  expect(await readFile(path.join(folder, 'made/page.html'), 'utf8')).toBe('new')
  expect(await readFile(path.join(folder, 'made/learner/x'), 'utf8')).toBe('new')
  expect(await readlink(path.join(folder, 'page'))).toBe('made/page.html')
  expect((await readdir(folder)).sort()).toEqual(['latest', 'made', 'page'])
})

it('a folder in the place of a file is told as such', async () => {
  const folder = await temporaryFolder()
  const error = await replaceFile(folder, (at) => writeFile(at, 'new')).catch((error) => error)
  expect(error).toMatchObject({ code: 'ERR_WRITE_FAILED' })
  expect(error.message).toBe(`${folder} is a folder; name a file, e.g. one in it`)
})
