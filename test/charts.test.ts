import sharp from 'sharp'
import { expect, test } from 'vitest'
import { denoisingChart, frequencyChart, lossChart, metricChart } from '../lib/report/charts.js'
import { palette } from '../lib/report/colors.js'
import { cell } from '../lib/report/summary.js'
import { madeUpCurves, madeUpResults } from './support/results.js'

type Point = [x: number, y: number]

/** Corner points of the unfilled paths in a colour of the palette, as they are drawn. */
function lines(svg: string, color: string): Point[][] {
  return [...svg.matchAll(/<path [^>]*>/g)]
    .map(([tag]) => tag)
    .filter((tag) => tag.includes('fill="none"') && tag.includes(`stroke="var(--${color},`))
    .map((tag) => corners(/ d="([^"]*)"/.exec(tag)![1]!))
}

/** Height of the filled paths in a colour, in the order they are drawn. */
function heights(svg: string, color: string): number[] {
  return [...svg.matchAll(/<path [^>]*>/g)]
    .map(([tag]) => tag)
    .filter((tag) => tag.includes(`fill="var(--${color},`))
    .map((tag) => {
      const ys = corners(/ d="([^"]*)"/.exec(tag)![1]!).map(([, y]) => y)
      return Math.max(...ys) - Math.min(...ys)
    })
}

function corners(d: string): Point[] {
  return [...d.matchAll(/[ML](-?[\d.]+) (-?[\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)])
}

test('a metric is drawn to scale, one line per method', () => {
  const results = madeUpResults()
  const svg = metricChart(results, 'frechetDistance')
  const [finetune] = lines(svg, 'series-1').filter((points) => points.length === 2)
  const [distillation] = lines(svg, 'series-2').filter((points) => points.length === 2)
  // Both start at 33; the one rises by 113.4 and the other by 4.25.
  expect(distillation![0]![1]).toBeCloseTo(finetune![0]![1], 1)
  const rise = ([from, to]: Point[]) => from![1] - to![1]
  expect(rise(finetune!) / rise(distillation!)).toBeCloseTo(113.4 / 4.25, 0)
})

test('over several seeds every point has a bar of one standard error on either side', () => {
  const results = madeUpResults([1, 2, 3])
  const svg = metricChart(results, 'frechetDistance')
  const points = lines(svg, 'series-1')
  const curve = points.find((line) => line.length === 2 && line[0]![0] + 20 < line[1]![0])!
  const bars = points.filter((line) => line.length === 2 && line[0]![0] === line[1]![0])
  const at = (task: number) => cell(results, 'frechetDistance', 'finetune', task)!
  const unit = (curve[0]![1] - curve[1]![1]) / (at(2).mean - at(1).mean)
  expect(bars).toHaveLength(2)
  for (const [i, bar] of bars.entries()) {
    expect(Math.abs(bar[0]![1] - bar[1]![1])).toBeCloseTo(2 * at(i + 1).error! * unit, 0)
    expect((bar[0]![1] + bar[1]![1]) / 2).toBeCloseTo(curve[i]![1], 0)
  }
  expect(lines(metricChart(madeUpResults(), 'frechetDistance'), 'series-1').some(([a, b]) => a![0] === b![0])).toBe(
    false,
  )
})

test('class frequencies are bars as high as the shares', () => {
  const svg = frequencyChart(madeUpResults(), 'classFrequencies')
  // The last of each colour is its mark in the legend.
  const real = heights(svg, 'real').slice(0, -1)
  const distillation = heights(svg, 'series-2').slice(0, -1)
  expect(real).toHaveLength(4)
  expect(distillation).toHaveLength(4)
  for (const [i, share] of [0.2, 0.25, 0.3, 0.25].entries()) {
    expect(distillation[i]! / real[i]!).toBeCloseTo(share / 0.25, 1)
  }
})

test('denoising losses are drawn by band, on a logarithmic axis', () => {
  const svg = denoisingChart(madeUpResults())
  const drop = (color: string) => {
    const [line] = lines(svg, color).filter((points) => points.length === 2 && points[0]![1] !== points[1]![1])
    return line![1]![1] - line![0]![1]
  }
  // From 0.1 to 0.01, and from 0.1 to 0.02.
  expect(drop('series-1') / drop('series-2')).toBeCloseTo(1 / Math.log10(5), 1)
})

test('losses run on from task to task', () => {
  const results = madeUpResults()
  const svg = lossChart(results, madeUpCurves(results), 42)
  const [curve] = lines(svg, 'series-1').filter((points) => points.length > 2)
  expect(curve).toHaveLength(40)
  expect(curve!.every(([x], i) => i === 0 || x > curve![i - 1]![0])).toBe(true)
})

test('a task whose losses are lost is left out, and those after it are drawn', () => {
  const results = madeUpResults()
  const svg = lossChart(
    results,
    madeUpCurves(results).filter(({ task }) => task === 2),
    42,
  )
  const [curve] = lines(svg, 'series-1').filter((points) => points.length > 2)
  expect(curve).toHaveLength(20)
})

test('charts are well-formed images in the palette’s colours only', async () => {
  const results = madeUpResults([1, 2])
  const svgs = [
    metricChart(results, 'classFrequencies'),
    frequencyChart(results, 'classFrequencies'),
    lossChart(results, madeUpCurves(results), 1),
    denoisingChart(results),
  ]
  for (const svg of svgs) {
    expect((await sharp(Buffer.from(svg)).metadata()).format).toBe('svg')
    const seen = svg.replaceAll(/<path [^>]*fill-opacity="0"[^>]*>/g, '')
    const colors = new Set([...seen.matchAll(/(?:fill|stroke)="([^"]+)"/g)].map(([, color]) => color!))
    const known = Object.entries(palette).map(([name, { light }]) => `var(--${name}, ${light})`)
    for (const color of colors) expect(['none', '#000', 'transparent', ...known]).toContain(color)
    expect(svg).toMatch(/role="img" aria-label="[^"]+"/)
  }
})
