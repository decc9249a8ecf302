import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { startCommand } from './support/child.js'
import { temporaryFolder } from './support/folders.js'
import {
  appendEvents,
  learning,
  lossesEvent,
  part,
  picture,
  writeRunFolder,
  writeStatus,
} from './support/run-folder.js'

const executable = (process.env.PATH ?? '')
  .split(path.delimiter)
  .flatMap((folder) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => path.join(folder, name)))
  .find((file) => existsSync(file))
if (executable === undefined) console.warn('skipped: there is no Chromium on PATH to open the page in')

// The page's script is the compiled one, and so must be of these sources.
beforeAll(async () => {
  const compile = fileURLToPath(new URL('../scripts/compile.mjs', import.meta.url))
  await promisify(execFile)(process.execPath, [compile, '--if-stale'])
}, 180_000)

/** A made-up run folder, and its page's address. */
async function watch(...args: string[]) {
  const folder = await temporaryFolder()
  const run = path.join(folder, 'run')
  const results = await writeRunFolder(run)
  const command = startCommand(folder, 'watch', run, ...args)
  onTestFinished(() => void command.child.kill('SIGKILL'))
  const address = await new Promise<string>((resolve, reject) => {
    command.child.stderr.on('data', () => {
      const [found] = /http:\S+/.exec(command.output.stderr) ?? []
      if (found) resolve(found)
    })
    command.ended.then(({ stderr }) => reject(new Error(stderr)))
  })
  return { ...command, folder, run, results, address }
}

/** The status of a response, its headers and its first bytes; a path goes out as it is. */
function get(address: string, options: { path?: string; method?: string; headers?: Record<string, string> } = {}) {
  return new Promise<{ status: number; headers: Record<string, unknown>; text: string }>((resolve, reject) => {
    const url = new URL(address)
    const { path = url.pathname, method, headers } = options
    const asked = request({ host: url.hostname, port: url.port, path, method, headers }, (response) => {
      let text = ''
      const end = () => resolve({ status: response.statusCode!, headers: response.headers, text })
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      // Events don't end.
      if (response.headers['content-type'] === 'text/event-stream') setTimeout(end, 500).unref()
      response.on('end', end)
    })
    asked.on('error', reject).end()
    onTestFinished(() => void asked.destroy())
  })
}

test('the page is served to this machine by its token alone, reads only, and a reader that comes back is told what it missed', async () => {
  const { address, run, folder, child, ended } = await watch()
  const { pathname, port, hostname } = new URL(address)
  expect(hostname).toBe('127.0.0.1')
  expect(pathname).toMatch(/^\/[\w-]{22}\/$/)
  const page = await get(address)
  expect(page.status).toBe(200)
  const csp = String(page.headers['content-security-policy'])
  expect(csp).toMatch(/default-src 'none'; script-src 'self'; style-src 'self'/)
  expect(csp).not.toContain('unsafe')
  expect(page.headers).toMatchObject({ 'referrer-policy': 'no-referrer', 'x-content-type-options': 'nosniff' })
  const status = async (path: string, options = {}) => (await get(address, { path, ...options })).status
  for (const wrong of ['/', '/x/', `/${'A'.repeat(22)}/events`, pathname.slice(0, -2)]) {
    expect(await status(wrong), wrong).toBe(404)
  }
  // A name of another site that leads here is the browser's only way to let that site read the page.
  for (const host of ['evil.example', `evil.example:${port}`, '127.0.0.1.evil.example', '10.0.0.1']) {
    expect(await status(pathname, { headers: { host } }), host).toBe(403)
  }
  expect(await status(pathname, { headers: { host: 'localhost:9000' } })).toBe(200)
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS'])
    expect(await status(pathname, { method }), method).toBe(405)
  const image = (file: string) => status(`${pathname}image?file=${encodeURIComponent(file)}`)
  expect(await image('live/samples/step-20.png')).toBe(200)
  for (const file of ['../../etc/passwd', '/etc/passwd', 'config.json', 'live/samples/../../config.json']) {
    expect(await image(file), file).toBe(404)
  }
  for (const file of ['../page.js', '%2e%2e/server.js', 'page.d.ts', 'tsconfig.json']) {
    expect(await status(pathname + file), file).toBe(404)
  }

  const events = async (id?: string) => {
    const { text } = await get(address, { path: `${pathname}events`, headers: id ? { 'last-event-id': id } : {} })
    return [...text.matchAll(/^data: (.+)\nid: (\d+)$/gm)].map(([, data, id]) => ({ ...JSON.parse(data!), id }))
  }
  const all = await events()
  expect(new Set(all.map(({ topic }) => topic))).toEqual(new Set(['run', 'status', 'found', 'curve', 'samples', 'log']))
  const { id } = all.at(-1)!
  expect(await events(id)).toEqual([])
  await appendEvents(run, { kind: 'warning', message: 'missed' })
  await new Promise((resolve) => setTimeout(resolve, 1500))
  expect(await events(id)).toMatchObject([{ topic: 'log', lines: [{}, {}, { text: 'missed' }] }])
  // Numbers that this server never gave.
  for (const wrong of ['999999', '-1', 'x']) expect((await events(wrong)).length).toBe(all.length)

  const taken = startCommand(folder, 'watch', run, '--port', port)
  expect(await taken.ended).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/^ERR_INVALID_ARGUMENT: --port is \d+, which is taken/),
  })
  child.kill('SIGINT')
  expect(await ended).toMatchObject({ status: 130 })
  await expect(get(address)).rejects.toThrow('ECONNREFUSED')
})

let browser: Browser | undefined
beforeAll(async () => {
  if (executable) browser = await chromium.launch({ executablePath: executable, args: ['--no-sandbox'] })
}, 60_000)
afterAll(() => browser?.close())

/** What axe-core finds wrong with a page. */
async function violations(page: Page): Promise<unknown> {
  const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
  // The page's policy lets no script in: this one comes by the debugger.
  await page.evaluate(await readFile(axe, 'utf8'))
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> }
    }
    const { violations } = await axe.run()
    return violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])
  })
}

test.skipIf(executable === undefined)(
  'somebody who watches a run sees how far it is, and what comes',
  async () => {
    const { address, run, results } = await watch()
    const context = await browser!.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: 'light' })
    onTestFinished(() => context.close())
    const page = await context.newPage()
    const complaints: string[] = []
    page.on('pageerror', ({ message }) => complaints.push(message))
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
    await page.goto(address)
    const text = (id: string) => page.locator(`#${id}`).innerText()
    const until = (id: string, expected: string | RegExp) =>
      expect.poll(() => text(id), { timeout: 20_000 }).toMatch(expected)

    await until('title', 'Fashion & <friends> in two tasks')
    expect(await text('state')).toBe('Running')
    expect(await text('doing')).toBe('Part 3 of 6: task 1 of 2 by finetune, seed 2: learning, 25 %')
    expect((await text('now')).replaceAll(/\s+/g, ' ')).toBe(
      'Step 25 of 100 Loss 0.125 Norm of the gradient 0.5 Learning rate 2.00e-4 Steps a second 12.5 Memory (peak) 300 MiB (320) ' +
        'Task: time left 1 min 5 s Run: time left 1 h 1 min',
    )
    expect(await page.locator('#run-progress').evaluate((bar: { value?: number }) => bar.value)).toBeCloseTo(2.25 / 6)
    // The seed of the task in progress.
    const rows = async () =>
      (await page.locator('#progress-table tbody tr').allInnerTexts()).map((row) => row.split(/\s+/).join(' '))
    expect(await rows()).toEqual(['finetune 25 % –', 'generative-distillation – –'])
    const label = (chart: string) => page.locator(`#chart-${chart}`).getAttribute('aria-label')
    expect(await label('loss')).toBe('Loss: finetune 0.05 at step 20')
    expect(await label('gradNorm')).toBe('Norm of the gradient: finetune 0.1 at step 20')
    expect(await label('memory')).toBe('Memory, MiB: finetune 300 at step 20')
    // A line is drawn in the method's colour.
    expect(await page.locator('#chart-loss svg path[stroke="#c2571a"]').count()).toBeGreaterThan(0)
    expect(await text('step-text')).toBe('20')
    const grey = () =>
      page.locator('#sample').evaluate(async (image) => {
        const picture = image as unknown as { complete: boolean; naturalWidth: number; decode(): Promise<void> }
        await picture.decode()
        return picture.naturalWidth
      })
    expect(await grey()).toBe(64)
    expect(await text('lines')).toContain('warning: the disk is <b>slow</b>')
    expect(await violations(page)).toEqual([])

    // By keyboard: past the link to the progress and the button to the seeds; then the slider.
    await page.keyboard.press('Tab')
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to the progress')
    await page.locator('#seed').focus()
    await page.keyboard.press('ArrowUp')
    await expect.poll(rows).toEqual(['finetune done, 12 s done, 12 s', 'generative-distillation shared done, 12 s'])
    expect(await label('loss')).toBe('Loss: finetune 0.01 at step 200')
    expect(await text('metric-tables')).toMatch(/Fréchet distance.*\nMethod\s+Task 1\s+Task 2\nfinetune\s+33\s+146\.4/)
    expect(await page.locator('#grids img').count()).toBe(6)
    await page.locator('#step').focus()
    await page.keyboard.press('ArrowLeft')
    expect(await text('step-text')).toBe('10')

    // The run goes on: what comes is there without anything that the watcher does.
    const now = part('finetune', 2, 1)
    await appendEvents(run, lossesEvent(now, 30, 0.02), { kind: 'warning', message: 'hot' })
    await writeFile(path.join(run, 'live/samples/step-30.png'), await picture(30))
    await writeStatus(run, learning(now, 40))
    await until('doing', /40 %$/)
    await until('lines', 'warning: hot')
    // The step that was chosen stays.
    expect(await text('step-text')).toBe('10')
    await page.locator('#step').press('End')
    expect(await text('step-text')).toBe('30')
    await page.locator('#seed').selectOption('2')
    await expect.poll(() => label('loss')).toBe('Loss: finetune 0.02 at step 30')

    // Paused, it stands still.
    await page.getByRole('button', { name: 'Pause updates' }).press('Enter')
    await writeStatus(run, learning(now, 50))
    await new Promise((resolve) => setTimeout(resolve, 2000))
    expect(await text('doing')).toMatch(/40 %$/)
    await page.getByRole('button', { name: 'Pause updates' }).press('Enter')
    await until('doing', /50 %$/)

    // A new page has all of it, and so has a phone in the dark.
    await page.reload()
    await until('lines', 'warning: hot')
    await page.setViewportSize({ width: 390, height: 800 })
    await page.emulateMedia({ colorScheme: 'dark' })
    await expect.poll(() => page.locator('#chart-loss svg path[stroke="#e8894f"]').count()).toBeGreaterThan(0)
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390)
    expect(await violations(page)).toEqual([])

    await writeFile(path.join(run, 'next.json'), JSON.stringify({ ...results, complete: true }))
    await rename(path.join(run, 'next.json'), path.join(run, 'results.json'))
    await until('state', 'Complete')
    expect(complaints).toEqual([])
  },
  120_000,
)
