import type { MethodRun, Results, TaskResult } from './results.js'

/** A metric of one method after one task, over the seeds that got that far. */
export interface Cell {
  readonly mean: number
  /** Standard error of the mean over the seeds; undefined for fewer than two. */
  readonly error: number | undefined
  readonly values: readonly number[]
  readonly real: number
  readonly generated: number
  /** The metric of real training images, the mean over the seeds. */
  readonly reference: number | undefined
  /** Of a single seed: the value's own 95 % confidence interval, where it has one. */
  readonly interval: readonly [low: number, high: number] | undefined
  /** What is to be known of the values, e.g. that there are too few images for so many features. */
  readonly notes: readonly string[]
}

/** Labels of the methods that have learned a task, in the order they are shown in. */
export function methodsOf(results: Results): string[] {
  const begun = new Set(results.runs.filter((run) => run.tasks.length > 0).map((run) => run.method))
  return results.methods.map((method) => method.label).filter((label) => begun.has(label))
}

/** Seeds with which a method has learned a task, in the order they ran in. */
export function seedsOf(results: Results): number[] {
  return [...new Set(results.runs.filter((run) => run.tasks.length > 0).map((run) => run.seed))]
}

/** Numbers of the tasks that at least one method has learned. */
export function tasksOf(results: Results): number[] {
  return [...new Set(results.runs.flatMap((run) => run.tasks.map((task) => task.task)))].sort((a, b) => a - b)
}

/** The results of one method after one task, one entry per seed. */
export function tasksAt(results: Results, method: string, task: number): { run: MethodRun; task: TaskResult }[] {
  return results.runs
    .filter((run) => run.method === method)
    .flatMap((run) => run.tasks.filter((t) => t.task === task).map((t) => ({ run, task: t })))
}

/** The value of a metric; undefined where it could not be measured: a number that isn't finite, for which JSON has null. */
export function measuredValue(found: { readonly value: number | null } | undefined): number | undefined {
  return Number.isFinite(found?.value) ? (found!.value as number) : undefined
}

/** A metric of one method after one task; undefined when no seed has got there, or when a seed's value could not be measured. */
export function cell(results: Results, metric: string, method: string, task: number): Cell | undefined {
  const found = tasksAt(results, method, task).flatMap(({ task: t }) => t.metrics[metric] ?? [])
  const first = found[0]
  if (first === undefined) return undefined
  const values = found.flatMap((value) => measuredValue(value) ?? [])
  // The mean over the other seeds would pass over the worst one.
  if (values.length < found.length) return undefined
  const references = found.flatMap(({ reference }) => reference ?? [])
  const reference = references.length === 0 ? undefined : spread(references).mean
  const notes = [...new Set(found.flatMap(({ note }) => note ?? []))]
  const interval = found.length === 1 ? first.interval : undefined
  return { ...spread(values), values, real: first.real, generated: first.generated, reference, interval, notes }
}

/** Arithmetic mean, and its standard error √(Σ(xᵢ − mean)² / (n − 1)) / √n. */
export function spread(values: readonly number[]): { mean: number; error: number | undefined } {
  const n = values.length
  const mean = values.reduce((sum, value) => sum + value, 0) / n
  if (n < 2) return { mean, error: undefined }
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { mean, error: Math.sqrt(squares / (n - 1) / n) }
}

/**
 * Three significant digits, without an exponent where a plain number can be read: 146, 37.2, 4.05, 0.0831.
 */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  const size = Math.abs(value)
  if (size === 0) return '0'
  if (size >= 100) return value.toFixed(0)
  if (size >= 10) return value.toFixed(1)
  if (size >= 1) return value.toFixed(2)
  if (size >= 0.001) return value.toFixed(size >= 0.1 ? 3 : 4)
  return value.toExponential(1)
}

/**
 * `37.2`, `37.2 [36.1, 38.4]` with its interval, or `37.2 ± 1.3` over several seeds: the error to as many decimals as the mean, or to its first
 * digit. What has a note is marked with a dagger.
 */
export function formatCell(cell: Pick<Cell, 'mean' | 'error'> & Partial<Cell>): string {
  return `${withError(cell)}${cell.notes?.length ? ` ${dagger}` : ''}`
}

/** Marks a value with a note, and the note. */
export const dagger = '†'

function withError({ mean, error, interval }: Pick<Cell, 'mean' | 'error'> & Partial<Cell>): string {
  const text = formatNumber(mean)
  if (error === undefined) return interval === undefined ? text : `${text} [${interval.map(formatNumber).join(', ')}]`
  if (text.includes('e') || error === 0) return `${text} ± ${formatNumber(error)}`
  const decimals = text.split('.')[1]?.length ?? 0
  return `${text} ± ${error < 10 ** -decimals ? error.toPrecision(1) : error.toFixed(decimals)}`
}

const numerals = ['no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten']

/** A count as a sentence has it: a word up to ten. */
export function inWords(count: number): string {
  return numerals[count] ?? String(count)
}

/** Words of method names that are not written as any other word. */
const spellings: Readonly<Record<string, string>> = { ewc: 'EWC', gaussian: 'Gaussian', lwf: 'LwF' }

/** `generative-distillation` → `generative distillation`, `ewc+joint` → `EWC + joint`. */
export function inSentence(name: string): string {
  return name
    .replaceAll('+', ' + ')
    .replaceAll(/(?<=[a-z])-(?=[a-z])|(?<=\d)-/g, ' ')
    .replaceAll(/[a-z]+/g, (word) => (Object.hasOwn(spellings, word) ? spellings[word]! : word))
}

/** As {@link inSentence}, with a capital at its beginning. */
export function readable(name: string): string {
  const words = inSentence(name)
  return words.charAt(0).toUpperCase() + words.slice(1)
}
