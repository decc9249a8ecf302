import type { Results, TaskResult } from './results.js'
import { cell, formatNumber, inSentence, methodsOf, seedsOf, spread, tasksAt, tasksOf } from './summary.js'
import { enumerate } from './table.js'

/**
 * What the results say, in plain sentences made of their numbers: how far each method's images are from the real ones
 * after the last task, and how many of them still show a class of an earlier task.
 *
 * @returns paragraphs; empty when no task has been learned
 */
export function answer(results: Results): string[] {
  const last = tasksOf(results).at(-1)
  if (last === undefined) return []
  const after = `After task ${last}`
  const over = seedsOf(results).length > 1 ? `, on average over ${seedsOf(results).length} seeds,` : ''
  const paragraphs: string[] = []

  const metric = 'frechetDistance'
  if (metric in results.metrics) {
    const ranked = methodsOf(results)
      .flatMap((method) => {
        const found = cell(results, metric, method, last)
        return found === undefined ? [] : [{ method, value: found.mean }]
      })
      .sort((a, b) => a.value - b.value)
    const best = ranked[0]
    if (best !== undefined && ranked.length > 1) {
      const parts = ends(ranked).map(({ method, value }) => `${formatNumber(value)} for ${inSentence(method)}`)
      paragraphs.push(
        `${after}${over} ${inSentence(best.method)} comes closest to the real images of all classes learned: ` +
          `its distance to them is the smallest, ${enumerate(parts)}${ofHowMany(ranked)}.`,
      )
    } else if (best !== undefined) {
      paragraphs.push(
        `${after}${over} the distance of ${inSentence(best.method)}'s images to the real ones is ${formatNumber(best.value)}.`,
      )
    }
  }

  const shares = methodsOf(results).flatMap((method) => {
    const found = tasksAt(results, method, last).flatMap(({ run, task }) => {
      const earlier = run.tasks.filter((t) => t.task < last).flatMap((t) => t.classes)
      return earlierShare(task, earlier) ?? []
    })
    if (found.length === 0) return []
    const generated = spread(found.map((f) => f.generated)).mean
    return [{ method, generated, real: spread(found.map((f) => f.real)).mean }]
  })
  const first = shares[0]
  // Where every task brings all classes, none of them is an earlier task's own.
  if (first !== undefined && last > 1 && first.real < 0.999) {
    const ranked = [...shares].sort((a, b) => b.generated - a.generated)
    const parts = (shares.length > shown ? ends(ranked) : shares).map(
      ({ method, generated }) => `${percent(generated)} of ${inSentence(method)}'s`,
    )
    paragraphs.push(
      `Of the real images ${percent(first.real)} show a class from an earlier task. Of the generated ones, ` +
        `as the classifier sees them: ${enumerate(parts)}${ofHowMany(ranked)}.`,
    )
  }
  return paragraphs
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
