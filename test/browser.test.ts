import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { imageGrid } from '../lib/images/grid.js'
import { palette } from '../lib/report/colors.js'
import { renderPage } from '../lib/report/page.js'
import { temporaryFolder } from './support/folders.js'
import { madeUpCurves, madeUpResults } from './support/results.js'

const chromium = (process.env.PATH ?? '')
  .split(path.delimiter)
  .flatMap((folder) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => path.join(folder, name)))
  .find((file) => existsSync(file))
if (chromium === undefined) console.warn('skipped: there is no Chromium on PATH to open the page in')

/** Runs a headless Chromium of its own on a file. */
async function browse(folder: string, file: string, ...args: string[]): Promise<string> {
  const flags = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    `--user-data-dir=${path.join(folder, 'profile')}`,
  ]
  const url = pathToFileURL(path.join(folder, file)).href
  const { stdout } = await promisify(execFile)(chromium as string, [...flags, ...args, url], {
    maxBuffer: 2 ** 26,
    timeout: 90_000,
  })
  return stdout
}

/** What the page does for a person with a mouse or a keyboard, and what axe-core finds in it. */
const visit = `
const seen = {}
const samples = document.querySelector('.samples')
const shown = () => [...samples.querySelectorAll('[data-task]')].filter((cell) => cell.offsetParent).map((cell) => cell.dataset.task)
seen.all = shown().length
const slider = document.querySelector('.tasks input[type=range]')
slider.value = 0
slider.dispatchEvent(new Event('input'))
seen.first = [...new Set(shown())]
seen.says = document.querySelector('.tasks output').textContent
document.querySelector('.tasks input[type=checkbox]').click()
seen.again = shown().length
const dialog = document.querySelector('dialog')
const zoom = samples.querySelectorAll('.zoom')[1]
zoom.focus()
zoom.click()
seen.caption = [dialog.open, dialog.querySelector('figcaption').textContent, document.activeElement.textContent]
dialog.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }))
seen.later = dialog.querySelector('figcaption').textContent
seen.disabled = [...dialog.querySelectorAll('button')].map((button) => button.disabled)
const open = await axe.run()
dialog.close()
seen.focus = document.activeElement === zoom
const blobs = []
URL.createObjectURL = (blob) => (blobs.push(blob), '#')
document.querySelector('#numbers .csv').click()
seen.csv = await blobs[0].text()
seen.tables = document.querySelectorAll('main table').length - document.querySelectorAll('.csv').length
for (const details of document.querySelectorAll('details')) details.open = true
seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth
const closed = await axe.run()
seen.violations = [...open.violations, ...closed.violations].map(({ id, nodes }) => id + ': ' + nodes[0].html.slice(0, 200))
seen.passes = closed.passes.length
parent.postMessage(seen, '*')
`

test.skipIf(chromium === undefined)(
  'pictures are enlarged, tasks and tables at hand; nothing hinders anybody at 1280 and 390 pixels, light and dark',
  async () => {
    const folder = await temporaryFolder()
    await writePage(folder)
    const page = await readFile(path.join(folder, 'report.html'), 'utf8')
    const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
    const tested = page
      .replace(/<meta http-equiv="Content-Security-Policy"[^>]*>/, '')
      .replace('</body>', () => `<script>${axe}</script><script type="module">${visit}</script></body>`)
    const dark = tested.replaceAll('@media (prefers-color-scheme: dark)', '@media all')
    expect(dark).not.toBe(tested)
    await writeFile(path.join(folder, 'light.html'), tested)
    await writeFile(path.join(folder, 'dark.html'), dark)
    const frames = [1280, 390].flatMap((width) =>
      ['light', 'dark'].map((mode) => `<iframe src="${mode}.html" width="${width}" height="900"></iframe>`),
    )
    const listen = `addEventListener('message', ({ data }) => {
      const text = document.createElement('pre')
      text.textContent = encodeURIComponent(JSON.stringify(data))
      document.body.append(text)
    })`
    await writeFile(path.join(folder, 'all.html'), `<script>${listen}</script><body>${frames.join('')}</body>`)
    const dom = await browse(folder, 'all.html', '--virtual-time-budget=60000', '--window-size=1400,1000', '--dump-dom')
    const seen = [...dom.matchAll(/<pre>([^<]*)<\/pre>/g)].map(([, text]) => JSON.parse(decodeURIComponent(text!)))
    expect(seen).toHaveLength(4)
    for (const one of seen) {
      expect(one).toMatchObject({
        // Two tasks; a name, real images and two methods.
        all: 8,
        first: ['1'],
        says: 'Task 1 T-shirt/top, Trouser',
        again: 8,
        caption: [true, 'Finetune after task 1, seed 1', 'Close'],
        later: 'Finetune after task 2, seed 1',
        disabled: [false, true, false],
        focus: true,
        tables: 0,
        overflow: 0,
        violations: [],
      })
      expect(one.passes).toBeGreaterThan(20)
      const lines = one.csv.replace('\ufeff', '').split('\r\n')
      expect(lines[0]).toMatch(
        /^Method,"Fréchet distance ↓ small CNN, 64 features","Fréchet distance ↓ small CNN, 64 features \(error\)"/,
      )
      expect(lines[1]).toMatch(/^Finetune,146\.9,0\.5,3\.456,0,/)
    }
  },
  120_000,
)

const magenta = [255, 0, 255] as const

async function writePage(folder: string): Promise<void> {
  const results = madeUpResults([1, 2])
  const pixels = Uint8Array.from({ length: 64 * 3 }, (_, i) => magenta[i % 3]!)
  const png = await imageGrid({ data: pixels, count: 1, height: 8, width: 8, channels: 3 })
  const files = results.runs.flatMap(({ tasks }) => tasks.flatMap(({ samples, realSamples }) => [samples, realSamples]))
  const html = renderPage({
    results,
    sources: [{ name: 'run', folder: 'runs/x', begun: new Date(0), results, config: {} }],
    curves: madeUpCurves(results),
    grids: new Map(files.map((file) => [file, png])),
  })
  await writeFile(path.join(folder, 'report.html'), html)
}

test.skipIf(chromium === undefined)(
  'a browser finds every part of the page where it belongs',
  async () => {
    const folder = await temporaryFolder()
    await writePage(folder)
    const dom = await browse(folder, 'report.html', '--dump-dom')
    const sections = dom.split('<section id="').slice(1)
    const counted = sections.map((html) => [
      html.slice(0, html.indexOf('"')),
      (html.match(/<img /g) ?? []).length,
      (html.match(/<svg /g) ?? []).length,
      (html.match(/<table/g) ?? []).length,
    ])
    expect(counted).toEqual([
      // Two tasks, real images and two methods, two seeds.
      ['samples', 12, 0, 0],
      ['numbers', 0, 0, 1],
      ['by-task', 0, 2, 2],
      // A heat map for each method, and a table.
      ['forgetting', 0, 0, 3],
      ['solver', 0, 0, 3],
      ['frequencies', 0, 1, 0],
      ['denoising', 0, 1, 0],
      ['losses', 0, 2, 0],
      ['cost', 0, 0, 1],
      ['making', 0, 0, 0],
    ])
  },
  120_000,
)

test.skipIf(chromium === undefined)(
  'a browser shows the samples, the charts and the heat maps',
  async () => {
    const folder = await temporaryFolder()
    await writePage(folder)
    const png = path.join(folder, 'page.png')
    await browse(folder, 'report.html', '--hide-scrollbars', '--window-size=1200,7000', `--screenshot=${png}`)
    const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true })
    const near = (hex: string) => {
      const color = [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16))
      let pixels = 0
      for (let i = 0; i < data.length; i += info.channels) {
        if (color.every((value, c) => Math.abs(data[i + c]! - value) < 8)) pixels++
      }
      return pixels
    }
    // Six pictures of the first seed, each at least as wide as its column may become; the second seed's are folded away.
    expect(near('#ff00ff')).toBeGreaterThan(6 * 150 * 150)
    expect(near('#ff00ff')).toBeLessThan(6 * 400 * 400)
    // Lines, bars and marks in the colours of the two methods, and no third.
    for (const color of ['series-1', 'series-2', 'real'] as const) {
      expect(near(palette[color].light)).toBeGreaterThan(2000)
    }
    expect(near(palette['series-3'].light)).toBeLessThan(100)
    // The heat maps' worst cells are in the full colour.
    expect(near(palette.heat.light)).toBeGreaterThan(2 * 40 * 25)
  },
  120_000,
)
