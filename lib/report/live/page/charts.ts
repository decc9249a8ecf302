import type * as ECharts from 'echarts'
import type { LiveCurve, LivePoint } from '../entries.js'
import { byId, digits, mebibytes } from './dom.js'

declare const echarts: typeof ECharts

/** What is drawn of a point of a curve, by the chart's name. */
const charts = {
  loss: { title: 'Loss', at: 1, isLog: true },
  gradNorm: { title: 'Norm of the gradient', at: 2, isLog: true },
  lr: { title: 'Learning rate', at: 3, isLog: false },
  stepsPerSecond: { title: 'Steps a second', at: 4, isLog: false },
  memory: { title: 'Memory, MiB', at: 5, isLog: false },
} as const

export interface Method {
  readonly label: string
  readonly series: number
}

const drawn = new Map<string, ECharts.ECharts>()

/** Draws the curves of one seed, over the steps of all tasks. */
export function drawCharts(methods: readonly Method[], curves: readonly LiveCurve[]): void {
  const lines = methods.flatMap((method) => {
    const own = curves.filter((curve) => curve.method === method.label).sort((a, b) => a.task - b.task)
    return own.length === 0 ? [] : [{ ...method, ...joined(own, curves) }]
  })
  const ends = [...new Set(lines.flatMap(({ ends }) => ends))]
  for (const [name, { title, at, isLog }] of Object.entries(charts)) {
    const series = lines.map(({ label, series, points }) => ({
      label,
      series,
      points: points.map((point) => [point[0], at === 5 ? mebibytes(point[at]) : point[at]] as const),
    }))
    draw(name, title, isLog, series, ends)
  }
}

/** The curves of a method's tasks one after the other. A first task that another method learned for it leaves its place. */
function joined(own: readonly LiveCurve[], all: readonly LiveCurve[]) {
  const points: LivePoint[] = []
  const ends: number[] = []
  const longest = (task: number) =>
    Math.max(0, ...all.filter((curve) => curve.task === task).map((curve) => curve.points.at(-1)?.[0] ?? 0))
  let offset = 0
  for (let task = 1; task < (own[0]?.task ?? 1); task++) offset += longest(task)
  for (const [i, { points: found }] of own.entries()) {
    for (const [step, ...values] of found) points.push([offset + step, ...values])
    offset += found.at(-1)?.[0] ?? 0
    if (i < own.length - 1) ends.push(offset)
  }
  return { points, ends }
}

function draw(
  name: string,
  title: string,
  isLog: boolean,
  series: readonly { label: string; series: number; points: readonly (readonly [number, number])[] }[],
  ends: readonly number[],
): void {
  const element = byId(`chart-${name}`)
  const chart = drawn.get(name) ?? echarts.init(element, undefined, { renderer: 'svg' })
  drawn.set(name, chart)
  const style = getComputedStyle(document.documentElement)
  const color = (variable: string) => style.getPropertyValue(`--${variable}`).trim()
  const axis = {
    axisLabel: { color: color('muted'), hideOverlap: true },
    axisLine: { lineStyle: { color: color('rule') } },
    splitLine: { lineStyle: { color: color('rule') } },
  }
  const border = { silent: true, symbol: 'none', label: { show: false } }
  const dash = { color: color('muted'), type: 'dashed' as const, width: 1, opacity: 0.6 }
  chart.setOption(
    {
      animation: false,
      tooltip: {
        trigger: 'axis',
        renderMode: 'richText',
        confine: true,
        valueFormatter: (v: unknown) => digits(v as number),
      },
      legend: { type: 'scroll', top: 0, textStyle: { color: color('text') }, pageTextStyle: { color: color('text') } },
      grid: { left: 8, right: 16, top: 36, bottom: 8, containLabel: true },
      xAxis: { ...axis, type: 'value', max: 'dataMax', splitLine: { show: false } },
      // A value of 0 has no place on a logarithmic axis.
      yAxis: {
        ...axis,
        type: isLog && series.every(({ points }) => points.every(([, y]) => y > 0)) ? 'log' : 'value',
        scale: !isLog,
      },
      series: series.map(({ label, series: n, points }, i) => ({
        name: label,
        type: 'line',
        symbol: points.length === 1 ? 'circle' : 'none',
        data: points,
        lineStyle: {
          color: color(`series-${(n % 8) + 1}`),
          width: 1.8,
          type: (['solid', 'dashed', 'dotted'] as const)[Math.floor(n / 8) % 3],
        },
        itemStyle: { color: color(`series-${(n % 8) + 1}`) },
        ...(i === 0 && { markLine: { ...border, lineStyle: dash, data: ends.map((xAxis) => ({ xAxis })) } }),
      })),
    } as ECharts.EChartsOption,
    { notMerge: true },
  )
  const newest = series.map(
    ({ label, points }) => `${label} ${digits(points.at(-1)?.[1])} at step ${points.at(-1)?.[0]}`,
  )
  element.setAttribute('aria-label', `${title}: ${newest.join('; ') || 'nothing yet'}`)
}

export function resizeCharts(): void {
  for (const chart of drawn.values()) chart.resize()
}
