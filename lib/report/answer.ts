import { pairedDifference } from './paired.js'
import type { Results, TaskResult } from './results.js'
import { alpha, holm } from './significance.js'
import { cell, formatNumber, inSentence, methodsOf, spread, tasksAt, tasksOf } from './summary.js'
import { enumerate } from './table.js'

const distance = 'frechetDistance'
/** Below this precision, nearly none of a method's images lies among the real ones. */
const leastPrecision = 0.05

interface Ranked {
  readonly method: string
  readonly value: number
}

/**
 * What the results say, in plain sentences made of their numbers: how far each method's images are from the real ones after the last task,
 * whether that makes one of them the closest, and which classes they show. No method is called the closest where the difference may be chance
 * or the numbers are not to be trusted.
 *
 * @returns paragraphs; empty when no task has been learned
 */
export function answer(results: Results): string[] {
  const last = tasksOf(results).at(-1)
  if (last === undefined) return []
  const ranked = methodsOf(results)
    .flatMap((method) => {
      const found = cell(results, distance, method, last)
      return found === undefined ? [] : [{ method, value: found.mean }]
    })
    .sort((a, b) => a.value - b.value)
  const isFar = ranked[0] !== undefined && isFarFromReal(results, ranked[0].method, last)
  return [...distances(results, ranked, last, isFar), ...shares(results, last, isFar)]
}

function distances(results: Results, ranked: readonly Ranked[], last: number, isFar: boolean): string[] {
  const [best] = ranked
  if (best === undefined) return []
  const counts = ranked.map(({ method }) => tasksAt(results, method, last).length)
  const [fewest, most] = [Math.min(...counts), Math.max(...counts)]
  const over = most > 1 ? `, on average over ${fewest === most ? most : `${fewest} to ${most}`} seeds,` : ''
  const after = `After task ${last}${over} the distance to the real images of all classes learned`
  const parts = ends(ranked).map(({ method, value }) => `${formatNumber(value)} for ${inSentence(method)}`)
  const reference = cell(results, distance, best.method, last)?.reference
  const readable =
    reference === undefined
      ? ''
      : ` For comparison: that of real training images to them is ${formatNumber(reference)}.`
  return [
    `${after} is ${enumerate(parts)}${ofHowMany(ranked)}; lower is better.${readable} ${verdict(results, ranked, last, isFar)}`.trim(),
  ]
}

/** Which method comes closest, or why none can be said to. */
function verdict(results: Results, ranked: readonly Ranked[], last: number, isFar: boolean): string {
  const [best, second] = ranked
  if (best === undefined || second === undefined) return ''
  const none = (why: string) => `Which of them comes closest can't be said: ${why}.`
  if (isFar) return none('nearly none of the generated images lies among the real ones (precision near 0)')
  const deficient = [best, second].some(({ method }) => isRankDeficient(results, method, last))
  if (deficient) return none('there are fewer images than features, so that the distance is mostly about chance')
  const others = ranked.slice(1).map(({ method }) => ({
    method,
    difference: pairedDifference(results, distance, method, best.method),
  }))
  if (others.some(({ difference }) => difference === undefined))
    return none('that takes three seeds, which show how much of a difference is chance')
  // Each of them is to differ: by Holm's correction, as there may be many.
  const ps = holm(others.map(({ difference }) => difference!.p))
  const alike = others.find(({ difference }, i) => difference!.mean <= 0 || ps[i]! > alpha)
  if (alike) {
    const names = `${inSentence(best.method)} and ${inSentence(alike.method)}`
    return none(`the difference between ${names} is within what chance makes between seeds`)
  }
  return `${inSentence(best.method).replace(/^./, (c) => c.toUpperCase())} comes closest, by more than what chance makes between seeds.`
}

/** Which classes are drawn: nothing about how good the images are. */
function shares(results: Results, last: number, isFar: boolean): string[] {
  // What a classifier sees in images unlike any real one means nothing.
  if (isFar) return []
  const found = methodsOf(results).flatMap((method) => {
    const ofSeeds = tasksAt(results, method, last).flatMap(({ run, task }) => {
      const earlier = run.tasks.filter((t) => t.task < last).flatMap((t) => t.classes)
      return earlierShare(task, earlier) ?? []
    })
    if (ofSeeds.length === 0) return []
    const generated = spread(ofSeeds.map((f) => f.generated)).mean
    return [{ method, generated, real: spread(ofSeeds.map((f) => f.real)).mean }]
  })
  const [first] = found
  // Where every task brings all classes, none of them is an earlier task's own.
  if (first === undefined || last === 1 || first.real >= 0.999) return []
  const ranked = [...found].sort((a, b) => b.generated - a.generated)
  const parts = (found.length > shown ? ends(ranked) : found).map(
    ({ method, generated }) => `${percent(generated)} of ${inSentence(method)}'s`,
  )
  return [
    `Which classes are drawn, however well: of the real images ${percent(first.real)} show a class from an earlier task, and of the ` +
      `generated ones, as the classifier labels them, ${enumerate(parts)}${ofHowMany(ranked)}. This says nothing about the quality of ` +
      'the images.',
  ]
}

function isFarFromReal(results: Results, method: string, task: number): boolean {
  const found = cell(results, 'precision', method, task)
  return found !== undefined && found.mean < leastPrecision
}

function isRankDeficient(results: Results, method: string, last: number): boolean {
  return tasksAt(results, method, last).some(({ task }) => task.metrics[distance]?.note?.startsWith('rank-deficient'))
}

/** How many methods a sentence can name. */
const shown = 4

/** The first ones and the last one, where there are too many to name them all. */
function ends<T>(ranked: readonly T[]): T[] {
  return ranked.length <= shown ? [...ranked] : [...ranked.slice(0, shown - 1), ranked.at(-1)!]
}

function ofHowMany(ranked: readonly unknown[]): string {
  return ranked.length <= shown ? '' : `, the first three and the last of ${ranked.length} methods`
}

/** Share of the images, real and generated, that show one of the given classes; undefined without class frequencies. */
function earlierShare(task: TaskResult, classes: readonly number[]) {
  const detail = Object.values(task.metrics).find((value) => value.detail?.generated && value.detail.real)?.detail
  if (detail?.real === undefined || detail.generated === undefined) return undefined
  const share = (of: readonly number[]) => classes.reduce((sum, c) => sum + (of[c] ?? 0), 0)
  return { real: share(detail.real), generated: share(detail.generated) }
}

function percent(share: number): string {
  const value = share * 100
  return `${value > 0 && value < 1 ? 'under 1' : value.toFixed(0)}\u00a0%`
}
