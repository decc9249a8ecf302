import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import { expect, it } from 'vitest'
import { dataSchema, loadData } from '../lib/experiment/data.js'
import { classHistogram, evaluationTable } from '../lib/report/evaluation-table.js'
import { renderPage } from '../lib/report/page.js'
import type { Results } from '../lib/report/results.js'
import { finalTable, tablesByTask } from '../lib/report/table.js'
import { oneLine, printable } from '../lib/validation/printable.js'
import { temporaryFolder } from './support/folders.js'
import { madeUpResults } from './support/results.js'
import { tinyUNet } from './support/tiny.js'

/** Clears a terminal, begins a line, a cell and an element, and turns the direction of text. */
const hostile = '\u001b[2J\u009b31mred\r\n\u2028| b | **c** <img src=x onerror=alert(1)> `d` \u202e"\''

/** Results in which all that may come from data and configurations is hostile. */
function spoiled(): Results {
  const spoil = (value: unknown, key = ''): unknown => {
    if (typeof value === 'string')
      return /^(better|samples|realSamples|learner|sharedFrom)$/.test(key) ? value : hostile
    if (Array.isArray(value)) return value.map((inner) => spoil(inner, key))
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([k, inner]) => [k, spoil(inner, k)]))
  }
  return spoil(madeUpResults()) as Results
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/

it('nothing in results reaches a terminal as more than text', () => {
  const results = spoiled()
  const values = Object.fromEntries(
    Object.keys(results.metrics).map((name) => [name, { value: 1, real: 1, generated: 1, note: hostile }]),
  )
  const evaluation = { real: 1, generated: 1, values }
  for (const text of [
    finalTable(results),
    tablesByTask(results),
    evaluationTable({ evaluation, metrics: results.metrics, classes: [hostile], seed: 1 }),
    classHistogram([0, 0], [hostile]),
  ]) {
    expect(text).not.toMatch(controls)
    expect(text).toContain('\\u001b[2J\\u009b31mred\\u000d\\u000a\\u2028')
  }
  expect(classHistogram([0], [hostile]).split('\n')).toHaveLength(1)
})

it('nothing in results ends a cell of Markdown or is markup in it', () => {
  const table = finalTable(spoiled(), 'markdown').split('\n\n')[1]!.split('\n')
  const cells = (line: string) => line.match(/(?<!\\)(?:\\\\)*\|/g)?.length
  expect(new Set(table.map(cells)).size).toBe(1)
  const text = table.join('\n')
  expect(text).not.toMatch(controls)
  expect(text).not.toMatch(/<img|(?<!\\)\*\*c|(?<!\\)`/)
})

it('nothing in results is markup in the page', () => {
  const results = spoiled()
  const config = { title: hostile, methods: [], seeds: [] }
  const html = renderPage({
    results,
    sources: [{ name: hostile, folder: hostile, begun: undefined, config, results }],
    curves: [],
    grids: new Map(),
  })
  expect(html).not.toContain('<img src=x')
  expect(controls.exec(html)).toBeNull()
})

it('what is printed keeps its lines, and a name is one', () => {
  expect(printable('a\nb\u001b')).toBe('a\nb\\u001b')
  expect(oneLine('a\nb\u001b')).toBe('a\\u000ab\\u001b')
  // As JSON it stays what it was.
  const json = JSON.stringify({ name: hostile })
  expect(JSON.parse(printable(json))).toEqual({ name: hostile })
})

it('nothing in a warning reaches a terminal as more than text', async () => {
  // As a folder of images without train/ and test/ makes one.
  const folder = path.join(await temporaryFolder(), 'a\u001b[2J\u009b31m')
  for (const name of ['one', 'two']) {
    await mkdir(path.join(folder, name), { recursive: true })
    const image = sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } }).png()
    for (const i of [1, 2, 3, 4, 5]) await image.toFile(path.join(folder, name, `${i}.png`))
  }
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
  await loadData(dataSchema.parse({ name: 'image-folder', folder }), tinyUNet)
  expect((await warned).message).toMatch(/a\\u001b\[2J\\u009b31m has no train/)
})
