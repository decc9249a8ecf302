import { createRequire } from 'node:module'
import type { CustomSeriesOption } from 'echarts/charts'
import type * as ECharts from 'echarts/core'
import { printable } from '../validation/printable.js'
import { type ColorName, palette, seriesColor, seriesColors, seriesOf } from './colors.js'
import { escapeXml } from './escape.js'
import type { LossCurve, Results } from './results.js'
import { cell, methodsOf, readable, spread, tasksAt, tasksOf } from './summary.js'

/** In one file, read when it is used: its modules are some six hundred files, which importing would open at once. */
const echarts = (): typeof ECharts => createRequire(import.meta.url)('echarts')

/**
 * A metric against the task, one line per method. Over several seeds a point is their mean and its bar the standard
 * error on either side.
 *
 * @param metric key of `results.metrics`
 * @returns an SVG document whose colours are CSS variables (see colors.ts) with the light colours as fallback
 */
export function metricChart(results: Results, metric: string): string {
  const tasks = tasksOf(results)
  const methods = methodsOf(results)
  const seriesNumber = seriesOf(methods)
  const cells = methods.map((method) => tasks.map((task) => cell(results, metric, method, task)))
  return svg({
    label: `${results.metrics[metric]?.title} after each task, by method`,
    ...lineChartSize(methods),
    option: {
      legend: legend(methods.map(readable), 640),
      grid: { left: 64, right: 24, top: legendHeight(methods), bottom: 48 },
      xAxis: { ...axis(), type: 'category', data: tasks.map((task) => `Task ${task}`) },
      yAxis: { ...axis(), type: 'value', min: ({ min }: { min: number }) => Math.min(0, min) },
      series: methods.flatMap((method, m) => {
        const n = seriesNumber(method)
        const color = paint(seriesColor(n))
        const line = {
          name: readable(method),
          type: 'line',
          silent: true,
          symbol: 'circle',
          symbolSize: 8,
          lineStyle: { color, width: 2.5, type: dash(n) },
          itemStyle: { color },
          data: cells[m]!.map((c) => c?.mean ?? null),
        }
        const bars = cells[m]!.flatMap((c, i) =>
          c?.error === undefined ? [] : [[i, c.mean - c.error, c.mean + c.error]],
        )
        return bars.length === 0 ? [line] : [line, errorBars(color, bars)]
      }),
    },
  })
}

/** The training loss of one seed over all its steps, task after task, one line per method, on a logarithmic axis. */
export function lossChart(results: Results, curves: readonly LossCurve[], seed: number): string {
  const methods = methodsOf(results)
  const seriesNumber = seriesOf(methods)
  const ends: number[] = []
  const lines = methods.map((method) => {
    const points: [number, number][] = []
    let offset = 0
    for (const task of tasksOf(results)) {
      const curve = curves.find((c) => c.method === method && c.seed === seed && c.task === task)
      if (curve === undefined) continue
      for (const [step, loss] of curve.points) points.push([offset + step, loss])
      offset += curve.points.at(-1)?.[0] ?? 0
      ends[task - 1] = Math.max(ends[task - 1] ?? 0, offset)
    }
    return points
  })
  // Where each task ends, except the last, whose end is the chart's own. A task whose losses are lost has none.
  const borders = Object.values(ends)
    .slice(0, -1)
    .map((xAxis) => ({ xAxis }))
  return svg({
    label: `Training loss, seed ${seed}, by method`,
    ...lineChartSize(methods),
    option: {
      legend: legend(methods.map(readable), 640),
      grid: { left: 64, right: 24, top: legendHeight(methods), bottom: 56 },
      xAxis: { ...axis(), type: 'value', max: 'dataMax', splitLine: { show: false }, ...named('Training steps') },
      yAxis: { ...axis(), type: 'log' },
      series: methods.map((method, m) => ({
        name: readable(method),
        type: 'line',
        silent: true,
        symbol: 'none',
        lineStyle: { color: paint(seriesColor(seriesNumber(method))), width: 1.5, type: dash(seriesNumber(method)) },
        itemStyle: { color: paint(seriesColor(seriesNumber(method))) },
        data: lines[m],
        markLine:
          m === 0
            ? {
                silent: true,
                symbol: 'none',
                label: { show: false },
                lineStyle: { color: paint('muted'), type: 'dashed', width: 1, opacity: 0.5 },
                data: borders,
              }
            : undefined,
      })),
    },
  })
}

/** The denoising loss on held-out images after the last task, by band of timesteps; one line per method, the mean over the seeds. */
export function denoisingChart(results: Results): string {
  const last = tasksOf(results).at(-1) ?? 0
  const methods = methodsOf(results)
  const seriesNumber = seriesOf(methods)
  const found = methods.map((method) => tasksAt(results, method, last).flatMap(({ task }) => task.denoising ?? []))
  const bands = [...new Map(found.flat().map(({ from, to }) => [from, to]))].sort(([a], [b]) => a - b)
  return svg({
    label: `Denoising loss on held-out images after task ${last}, by timestep and method`,
    ...lineChartSize(methods),
    option: {
      legend: legend(methods.map(readable), 640),
      grid: { left: 64, right: 24, top: legendHeight(methods), bottom: 56 },
      xAxis: {
        ...axis(),
        type: 'category',
        data: bands.map(([from, to]) => `${from}–${to - 1}`),
        ...named('Timesteps'),
      },
      yAxis: { ...axis(), type: 'log' },
      series: methods.map((method, m) => ({
        name: readable(method),
        type: 'line',
        silent: true,
        symbol: 'circle',
        symbolSize: 6,
        lineStyle: { color: paint(seriesColor(seriesNumber(method))), width: 2, type: dash(seriesNumber(method)) },
        itemStyle: { color: paint(seriesColor(seriesNumber(method))) },
        data: bands.map(([from]) => {
          const losses = found[m]!.filter((band) => band.from === from).map(({ loss }) => loss)
          return losses.length === 0 ? null : spread(losses).mean
        }),
      })),
    },
  })
}

/**
 * How often each class is drawn after the last task, per method, beside its share of the real images; the mean over
 * the seeds that got there.
 *
 * @param metric key of a metric whose detail has `real` and `generated`, one share per class of the data set
 */
export function frequencyChart(results: Results, metric: string): string {
  const last = tasksOf(results).at(-1) ?? 0
  const methods = methodsOf(results)
  const seriesNumber = seriesOf(methods)
  const shares = (method: string, kind: 'real' | 'generated') => {
    const details = tasksAt(results, method, last).flatMap(({ task }) => task.metrics[metric]?.detail?.[kind] ?? [])
    const perSeed = details.length / results.classes.length
    return results.classes.map((_, c) =>
      perSeed === 0
        ? null
        : spread(Array.from({ length: perSeed }, (_, s) => details[s * results.classes.length + c]!)).mean,
    )
  }
  const bar = (name: string, color: ColorName, data: (number | null)[]) => ({
    name,
    type: 'bar',
    silent: true,
    barGap: '8%',
    barCategoryGap: '28%',
    itemStyle: { color: paint(color), borderRadius: [2, 2, 0, 0] },
    data: data.map((share) => (share === null ? null : Number((share * 100).toFixed(2)))),
  })
  return svg({
    label: `Share of each class among the images generated after task ${last}, by method, beside the real share`,
    width: 1000,
    height: 292 + legendHeight(['real images', ...methods], 1000),
    option: {
      legend: legend(['Real images', ...methods.map(readable)], 1000),
      grid: { left: 56, right: 16, top: legendHeight(['real images', ...methods], 1000), bottom: 40 },
      xAxis: {
        ...axis(),
        type: 'category',
        data: [...results.classes],
        axisLabel: { ...text(), interval: 0, width: 88, overflow: 'truncate' },
      },
      yAxis: { ...axis(), type: 'value', min: 0, axisLabel: { ...text(), formatter: '{value} %' } },
      series: [
        bar('Real images', 'real', shares(methods[0] ?? '', 'real')),
        ...methods.map((method) =>
          bar(readable(method), seriesColor(seriesNumber(method)), shares(method, 'generated')),
        ),
      ],
    },
  })
}

function errorBars(color: string, data: readonly (readonly number[])[]): CustomSeriesOption {
  return {
    type: 'custom',
    silent: true,
    z: 3,
    data: data.map((values) => [...values]),
    renderItem: (_params, api) => {
      const [x, low] = api.coord([api.value(0), api.value(1)]) as [number, number]
      const [, high] = api.coord([api.value(0), api.value(2)]) as [number, number]
      const line = (x1: number, y1: number, x2: number, y2: number) => ({
        type: 'line' as const,
        shape: { x1, y1, x2, y2 },
        style: { stroke: color, fill: 'none', lineWidth: 1.5, opacity: 0.7 },
      })
      return {
        type: 'group',
        children: [line(x, low, x, high), line(x - 5, low, x + 5, low), line(x - 5, high, x + 5, high)],
      }
    },
  }
}

function legend(names: readonly string[], width: number) {
  return {
    top: 4,
    left: 'center',
    width: legendWidth(width),
    icon: 'roundRect',
    itemWidth: 14,
    itemHeight: 8,
    itemGap: legendGap,
    textStyle: text(),
    // The reader's font may run wider than the estimate that entries are placed by.
    formatter: (name: string) => name + '\u00a0'.repeat(Math.ceil(name.length / 9)),
    data: [...names],
  }
}

/** Methods beyond the number of colours are told apart by their lines. */
function dash(n: number): 'solid' | 'dashed' | 'dotted' {
  return (['solid', 'dashed', 'dotted'] as const)[Math.floor(n / seriesColors) % 3]!
}

function lineChartSize(methods: readonly string[]) {
  return { width: 640, height: 292 + legendHeight(methods) }
}

/** Space for the legend above a chart: its entries, set line by line. */
function legendHeight(methods: readonly string[], width = 640): number {
  let [lines, x] = [1, 0]
  for (const method of methods) {
    const entry = readable(method).length * letterWidth + 19 + legendGap
    if (x > 0 && x + entry > legendWidth(width)) [lines, x] = [lines + 1, 0]
    x += entry
  }
  return 18 + lines * (14 + legendGap)
}

/** In pixels, of the charts' text in a wide font. */
const letterWidth = 7.8
const legendGap = 16

function legendWidth(width: number): number {
  return 0.85 * width
}

function axis() {
  return {
    axisLine: { show: true, lineStyle: { color: paint('rule') } },
    axisTick: { show: false },
    axisLabel: text(),
    splitLine: { lineStyle: { color: paint('rule') } },
  }
}

function named(name: string) {
  return { name, nameLocation: 'middle', nameGap: 32, nameTextStyle: text() }
}

function text() {
  return { color: paint('muted'), fontSize: 13, fontFamily: 'inherit' }
}

// ECharts computes with colours and so knows no CSS variables: each name is drawn in a colour of its own that occurs
// nowhere else, which is replaced in the finished SVG.
const names = Object.keys(palette) as ColorName[]

function paint(name: ColorName): string {
  return `#0a0b${(0x10 + names.indexOf(name)).toString(16)}`
}

function svg(options: { label: string; width: number; height: number; option: ECharts.EChartsCoreOption }): string {
  const chart = echarts().init(null, null, { renderer: 'svg', ssr: true, width: options.width, height: options.height })
  try {
    chart.setOption({ animation: false, ...options.option })
    const drawn = printable(chart.renderToSVGString()) // it escapes markup, but no control characters
    return (
      names
        .reduce((all, name) => all.replaceAll(paint(name), `var(--${name}, ${palette[name].light})`), drawn)
        // Hover effects and what scripts would look for.
        .replace(/<style ?>.*?<\/style>/s, '')
        .replace(/ (?:ecmeta_\w+|class)="[^"]*"/g, '')
        .replace('<svg ', `<svg role="img" aria-label="${escapeXml(options.label)}" `)
    )
  } finally {
    chart.dispose()
  }
}
