import { createHash } from 'node:crypto'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { fitPictures } from '../lib/images/fit.js'
import { imageGrid } from '../lib/images/grid.js'
import { palette, seriesColor, seriesOf } from '../lib/report/colors.js'
import { renderPage } from '../lib/report/page.js'
import type { Results } from '../lib/report/results.js'
import { forgettingSection } from '../lib/report/sections/forgetting.js'
import { madeUpCurves, madeUpResults } from './support/results.js'

async function page(results: Results): Promise<string> {
  const png = await imageGrid({ data: new Uint8Array(4 * 64).fill(128), count: 4, height: 8, width: 8, channels: 1 })
  const files = results.runs.flatMap(({ tasks }) => tasks.flatMap(({ samples, realSamples }) => [samples, realSamples]))
  const grids = new Map(files.map((file) => [file, png]))
  const sources = [{ name: 'run', folder: 'runs/x', begun: new Date(0), results, config: { note: '</pre><script>' } }]
  return renderPage({ results, sources, curves: madeUpCurves(results), grids })
}

test('the page loads nothing, and runs its own script only', async () => {
  const html = await page(madeUpResults([1, 2]))
  const images = [...html.matchAll(/<img [^>]*src="data:image\/png;base64,([^"]*)"/g)]
  // Two tasks; real images, finetune and distillation; two seeds.
  expect(images).toHaveLength(2 * 3 * 2)
  for (const [, base64] of images) {
    expect((await sharp(Buffer.from(base64!, 'base64')).metadata()).format).toBe('png')
  }
  const { script, rest } = apart(html.replaceAll(/ src="data:image\/png;base64,[^"]*"/g, ''))
  const hash = createHash('sha256').update(script).digest('base64')
  const policy = /<meta http-equiv="Content-Security-Policy" content="([^"]*)">/.exec(html)![1]
  expect(policy).toBe(`default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-${hash}'`)
  expect(script).not.toMatch(/fetch|XMLHttpRequest|import|eval|innerHTML|https?:/)
  expect(rest).not.toMatch(/\b(src|href|srcset|action)=/)
  expect(rest).not.toMatch(/https?:|\/\/|@import|url\((?!#)|<script|<link|<iframe/)
})

/** The one script of a page, and the page without it. */
function apart(html: string): { script: string; rest: string } {
  const found = html.split(/<script type="module">|<\/script>/)
  expect(found).toHaveLength(3)
  return { script: found[1]!, rest: found[0]! + found[2]! }
}

test('the numbers in the tables are those of the results', async () => {
  const results = madeUpResults([1, 2])
  const html = await page(results)
  const byTask = /<section id="by-task">.*?<\/section>/s.exec(html)![0]
  const tables = [...byTask.matchAll(/<tbody>(.*?)<\/tbody>\s*<tfoot>(.*?)<\/tfoot>/gs)]
  expect(tables).toHaveLength(2)
  const texts = (row: string) =>
    [...row.matchAll(/<td>(.*?)<\/td>/g)].map(([, text]) => text!.replaceAll(/<[^>]*>/g, ''))
  for (const [m, metric] of Object.keys(results.metrics).entries()) {
    const rows = [...tables[m]![1]!.matchAll(/<tr>(.*?)<\/tr>/gs)]
    expect(rows).toHaveLength(2)
    for (const [i, { label }] of results.methods.entries()) {
      for (const [t, text] of texts(rows[i]![1]!).entries()) {
        const values = results.runs
          .filter((run) => run.method === label)
          .map((run) => run.tasks[t]!.metrics[metric]!.value!)
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length
        expect(Math.abs(Number(text.split(' ± ')[0]) / mean - 1)).toBeLessThan(0.005)
      }
    }
    expect(texts(tables[m]![2]!)).toEqual(['200 / 1000', '400 / 1000'])
  }
})

test('heat maps of hundreds of tasks are drawn', () => {
  const results = madeUpResults()
  const [run] = results.runs
  const values = { frechetDistance: { value: 1, real: 1, generated: 1 } }
  const alone = Array.from({ length: 500 }, (_, j) => ({ task: j + 1, real: 1, generated: 1, values }))
  const tasks = alone.map(({ task }) => ({ ...run!.tasks[0]!, task, alone: alone.slice(0, task), solver: undefined }))
  const html = forgettingSection({ ...results, runs: [{ ...run!, tasks }] })
  expect(html.match(/<td class="cell/g)).toHaveLength((500 * 501) / 2)
})

test('heat maps are redder where a task is forgotten, and have a dash where nothing can be measured', async () => {
  const html = await page(madeUpResults())
  const maps = [...html.matchAll(/<figure class="heat">(.*?)<\/figure>/gs)].map(([, map]) => map!)
  // One per method for the distance, and for the solver.
  expect(maps).toHaveLength(4)
  const cells = (map: string) =>
    [...map.matchAll(/<td class="(\w+)[^"]*"(?: style="--shade: (\d+)%")?>([^<]*)<\/td>/g)].map(([, ...cell]) => cell)
  expect(cells(maps[0]!)).toEqual([
    ['cell', '0', '20.0'],
    ['empty', undefined, ''],
    ['unknown', undefined, '–'],
    ['cell', '0', '20.0'],
  ])
  expect(cells(maps[1]!)).toEqual([
    ['cell', '0', '20.0'],
    ['empty', undefined, ''],
    ['cell', '100', '30.0'],
    ['cell', '0', '20.0'],
  ])
  // Where higher is better, the lowest is the reddest.
  expect(cells(maps[2]!)[2]).toEqual(['cell', '100', '0.100'])
  // Forgetting and backward transfer: a distance that grew by 10.
  expect(html).toMatch(/Forgetting.*?Generative distillation<\/th><td>10\.0<\/td><td>-10\.0<\/td>/s)
})

test('what comes from outside is escaped', async () => {
  const html = await page(madeUpResults())
  expect(html).toContain('<h1>Fashion &amp; &lt;friends&gt; in two tasks</h1>')
  expect(html).toContain('&lt;/pre&gt;&lt;script&gt;')
})

test('a run that is not complete says so, and shows what there is', async () => {
  const results = madeUpResults()
  const begun = { ...results, complete: false, runs: results.runs.slice(0, 1) }
  expect(await page(begun)).toMatch(/not complete/)
  expect(await page(results)).not.toMatch(/not complete/)
})

test('every element is closed by its own end tag', async () => {
  const html = apart(await page(madeUpResults([1, 2])))
    .rest.replace('<!doctype html>', '')
    .replaceAll(/<style>.*?<\/style>/gs, '')
  const open: string[] = []
  for (const [, close, name, rest] of html.matchAll(/<(\/?)([a-zA-Z0-9]+)([^>]*)>/g)) {
    if (close) expect(open.pop()).toBe(name)
    else if (!['meta', 'img', 'br'].includes(name!) && !rest!.endsWith('/')) open.push(name!)
  }
  expect(open).toEqual([])
})

test('a method has the same colour whatever other methods there are', () => {
  const colours = (labels: string[]) => labels.map((label) => seriesColor(seriesOf(labels)(label)))
  const [joint, ewc] = colours(['joint', 'ewc'])
  expect(colours(['finetune', 'ewc', 'recommended', 'joint'])).toEqual(['series-1', ewc, 'series-4', joint])
  const eight = ['joint', 'joint-equal', 'my-own', 'ewc', 'ewc-online', 'finetune', 'recommended', 'lwf-distillation']
  expect(new Set(colours(eight)).size).toBe(8)
  const many = Array.from({ length: 24 }, (_, i) => `ewc-${i}`)
  expect(new Set(many.map(seriesOf(many))).size).toBe(24)
})

test('what can not be measured does not read as no forgetting', async () => {
  const html = await page(madeUpResults())
  const row = /<section id="numbers">.*?<tbody>\s*<tr>.*?Finetune<\/th>(.*?)<\/tr>/s.exec(html)![1]!
  expect(row).toMatch(/<td>not measured<\/td>$/)
})

test('the page says when the run began, how to run it again, and with what configuration', async () => {
  const html = await page(madeUpResults())
  const header = /<header>.*?<\/header>/s.exec(html)![0]
  expect(header).toContain('Begun: 1970-01-01 00:00 UTC')
  expect(header).toContain(`npx continual-diffusion run 'runs/x/config.json'`)
  expect(html).toMatch(/<details open><summary>Configuration/)
})

test('a value has all its digits, its interval and a mark for its note; the note stands below', async () => {
  const results = madeUpResults()
  const [run] = results.runs
  const task = run!.tasks[1]!
  const frechetDistance = { ...task.metrics.frechetDistance!, value: 37.123456, interval: [36.5, 38.25] as const }
  const metrics = { ...task.metrics, frechetDistance }
  const html = await page({ ...results, runs: [{ ...run!, tasks: [run!.tasks[0]!, { ...task, metrics }] }] })
  const numbers = /<section id="numbers">.*?<\/section>/s.exec(html)![0]
  expect(numbers).toContain('<data value="37.123456" data-low="36.5" data-high="38.25">37.1 [36.5, 38.3] †</data>')
  expect(numbers).toContain('<li>† A note.</li>')
})

test('the rows of a grid have the names of their classes', async () => {
  const results = madeUpResults()
  const runs = results.runs.map((run) => ({
    ...run,
    tasks: run.tasks.map((task) => ({ ...task, rows: ['T-shirt/top', '<b>'] })),
  }))
  const html = await page({ ...results, runs })
  expect(html.match(/<ol class="rows"><li>T-shirt\/top<\/li><li>&lt;b&gt;<\/li><\/ol><img /g)).toHaveLength(4)
})

test('pictures that are too large together are shown at the size at which each pixel stands once, and then with loss', async () => {
  const noise = Uint8Array.from({ length: 9 * 28 * 28 }, (_, i) => createHash('md5').update(String(i)).digest()[0]!)
  const grid = await imageGrid({ data: noise, count: 9, height: 28, width: 28, channels: 1 }, { scale: 3 })
  const pngs = new Map(Array.from({ length: 6 }, (_, i) => [`${i}.png`, grid]))
  const all = [...pngs.values()].reduce((sum, { length }) => sum + length, 0)
  expect(await fitPictures(pngs, all)).toEqual({ pictures: pngs, isLossy: false })

  const exact = await fitPictures(pngs, all - 1)
  expect(exact.isLossy).toBe(false)
  const [first] = exact.pictures.values()
  const { data, info } = await sharp(first).raw().toBuffer({ resolveWithObject: true })
  expect(info).toMatchObject({ format: 'raw', width: 3 * 29 - 1, height: 3 * 29 - 1 })
  // The first row of the first image.
  expect([...data.subarray(0, 4 * info.channels)].filter((_, i) => i % info.channels === 0)).toEqual([
    ...noise.subarray(0, 4),
  ])

  const lossy = await fitPictures(pngs, all / 5)
  expect(lossy.isLossy).toBe(true)
  expect([...lossy.pictures.values()].reduce((sum, { length }) => sum + length, 0)).toBeLessThan(all / 5)
})

// WCAG 2.2: relative luminance, and a contrast of at least 4.5 for text.
test.each(['light', 'dark'] as const)(
  'text can be read on the full colour of a heat map, and muted text on a %s page',
  (mode) => {
    const luminance = (hex: string) => {
      const [r, g, b] = [1, 3, 5].map((at) => {
        const c = Number.parseInt(hex.slice(at, at + 2), 16) / 255
        return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
      })
      return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!
    }
    const contrast = (a: string, b: string) => {
      const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y)
      return (high! + 0.05) / (low! + 0.05)
    }
    expect(contrast(palette.text[mode], palette.heat[mode])).toBeGreaterThan(4.5)
    expect(contrast(palette.muted[mode], palette.background[mode])).toBeGreaterThan(4.5)
  },
)
