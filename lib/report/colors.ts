import type { MethodName } from '../methods/by-name.js'

/**
 * Colours of pages and charts, as CSS variables with a value for light and one for dark pages. Series colours are told
 * apart by people with the common kinds of colour blindness.
 */
export const palette = {
  background: { light: '#fbfaf8', dark: '#16181c' },
  surface: { light: '#ffffff', dark: '#1e2126' },
  text: { light: '#1d1f23', dark: '#e6e4df' },
  muted: { light: '#676b73', dark: '#9a9da5' },
  rule: { light: '#e3e0da', dark: '#33373e' },
  real: { light: '#b4b0a8', dark: '#6d7178' },
  // Between these and the surface, the text keeps a contrast of 4.5.
  heat: { light: '#d9704f', dark: '#a4482e' },
  'series-1': { light: '#c2571a', dark: '#e8894f' },
  'series-2': { light: '#3d6fb4', dark: '#7aa8e6' },
  'series-3': { light: '#1f8a70', dark: '#52bf9f' },
  'series-4': { light: '#8e5aa8', dark: '#bb8ad3' },
  'series-5': { light: '#a58312', dark: '#d6b64a' },
  'series-6': { light: '#b0416b', dark: '#e07da3' },
  'series-7': { light: '#4c7f9c', dark: '#8fbdd6' },
  'series-8': { light: '#6b7d1e', dark: '#a9bb5a' },
} as const

export type ColorName = keyof typeof palette

export const seriesColors = 8

/** Methods in the order of their colours and, beyond those, of their lines. */
const series: readonly MethodName[] = [
  'finetune',
  'generative-distillation',
  'generative-replay',
  'recommended',
  'joint',
  'experience-replay',
  'partial-generation-distillation',
  'gaussian-distillation',
  'symmetric-gaussian-distillation',
  'lwf-distillation',
  'ewc',
  'rank-1-ewc',
  'synaptic-intelligence',
  'teacher-to-student',
  'conditional-distillation',
]

/**
 * The series of each method, by its label: the same on every page, whatever other methods are there, as long as no two want the same colour.
 * A label that begins with a method's name wants that method's series.
 */
export function seriesOf(labels: readonly string[]): (label: string) => number {
  const taken = new Map<string, number>()
  const wanted = labels.map((label) => {
    const exact = (series as readonly string[]).indexOf(label)
    const names = series.filter((name) => label.startsWith(name)).sort((a, b) => b.length - a.length)
    return { label, exact: exact >= 0, first: names[0] === undefined ? hash(label) : series.indexOf(names[0]) }
  })
  const isFree = (n: number) => ![...taken.values()].includes(n)
  const isFreeColor = (n: number) => ![...taken.values()].some((other) => seriesColor(other) === seriesColor(n))
  for (const { label, first } of [...wanted.filter((one) => one.exact), ...wanted.filter((one) => !one.exact)]) {
    const all = Array.from({ length: seriesCount }, (_, i) => (first + i) % seriesCount)
    taken.set(label, all.find(isFreeColor) ?? all.find(isFree) ?? first)
  }
  return (label) => taken.get(label) ?? 0
}

/** Each colour with a solid, a dashed and a dotted line. */
const seriesCount = 3 * seriesColors

function hash(label: string): number {
  return [...label].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)!) % 1_000_003, 0) % seriesCount
}

/** The colour of the n-th series, from 0; after {@link seriesColors} they begin anew. */
export function seriesColor(n: number): ColorName {
  return `series-${(n % seriesColors) + 1}` as ColorName
}

/** The palette as CSS declarations, e.g. `--text: #1d1f23;`. */
export function cssVariables(mode: 'light' | 'dark'): string {
  return Object.entries(palette)
    .map(([name, value]) => `--${name}: ${value[mode]};`)
    .join(' ')
}
