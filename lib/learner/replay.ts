import { setImmediate } from 'node:timers/promises'
import { isDeepStrictEqual, types } from 'node:util'
import { placeIn, rangeOf, timestepTable } from '../config/timesteps.js'
import { copiedAtOnce } from '../data/allocate.js'
import { positionsByClass } from '../data/dataset.js'
import { mersenneTwister, torchRandperm } from '../data/torch-random.js'
import { call, withCancel } from '../engine/call.js'
import { bring } from '../engine/image-store.js'
import type { NativeSession } from '../engine/native-learner.js'
import type { CancelFlag } from '../engine/native-values.js'
import { sampleUses } from '../engine/sample-use.js'
import { ContinualDiffusionError, invalid } from '../errors.js'
import { classNamesOf } from '../streams/learned-classes.js'
import { type Core, live, type PoolImages } from './core.js'
import { keepFirst, type SortedImages } from './kept-replay.js'
import { proportioned } from './labels.js'
import type { LearnOptions, PoolProgress, ReplayClassifier } from './learn-options.js'
import type { ReplayImages } from './options.js'
import { atOnce, mostCalls, type PlannedPool, pixelsOf, shapeOf } from './plan-pools.js'
import type { LearnedTask } from './schemas.js'

/** Images whose classes are noted without letting others run. */
const listedAtOnce = 2 ** 16
/** Positions of a pool that is drawn from evenly, which has each image of a rare class many times: 1 GiB. */
const mostPositions = 2 ** 28

/** How far a task's training is, and what it calls back. */
interface Filling extends Pick<LearnOptions, 'classifier' | 'onPool' | 'signal'> {
  /** Images that are generated at once, see {@link generatedAtOnce}. */
  readonly batchSize: number
  /** How likely each class is, for a network that takes labels. */
  readonly weights: Float64Array | undefined
  /** The null label's row in the table of such a network. */
  readonly nullLabel: number
  readonly task: LearnedTask
  readonly where: string
}

/** How many steps from `step` on all pools last. */
export function stepsToRefresh(pools: readonly PlannedPool[], step: number): number {
  return Math.min(...pools.map(({ refresh }) => refresh - (step % refresh)))
}

/**
 * Brings the pools that a step needs, or that a training begins with at that step, to the session. A pool is a function of the learner's
 * seed and teacher, of the task and of the number of pools before it.
 */
export async function fillPools(
  core: Core,
  session: NativeSession,
  pools: readonly PlannedPool[],
  step: number,
  begins: boolean,
  filling: Filling,
): Promise<void> {
  for (const [number, pool] of pools.entries()) {
    if (!begins && step % pool.refresh !== 0) continue
    const told = await classesTold(pool, filling)
    // Pools that differ in what the networks are told have the same images.
    const same = pools.findIndex((other) => isDeepStrictEqual({ ...other, isUntold: pool.isUntold }, pool))
    const generated = await generate(core, pools, same, Math.floor(step / pool.refresh), filling)
    const labels = pool.isUntold ? untold(core, pool, generated.labels, filling.nullLabel) : generated.labels
    const name = `${filling.where}: replay pool`
    const whole = { name, images: generated.images, labels, ...shapeOf(core.settings.unet) }
    if (told === undefined) {
      const indices = new Int32Array(pool.images).map((_, i) => i)
      await setReplay(core, session, number, whole, indices)
      continue
    }
    const sorted = await sortByClass(core, generated, told, filling)
    if (pool.keep) {
      const kept = await keepFirst(core.kept, sorted, filling.task.number, pool.images)
      const { dataset } = kept[0]!
      await setReplay(core, session, number, { ...dataset, name }, await evened(positionsByClass(dataset)))
      core.kept = kept
    } else {
      await setReplay(core, session, number, whole, await evened(sorted.byClass))
    }
  }
  core.pool = undefined // the session has its images, which may be gigabytes
}

/** Gives a session the images of a pool, and where to draw from in them. */
async function setReplay(
  core: Core,
  session: NativeSession,
  pool: number,
  images: Parameters<typeof bring>[0],
  indices: Int32Array,
): Promise<void> {
  const native = await bring(images, core.settings.device, 0)
  try {
    await call(() => session.setReplay({ pool, images: [{ images: native, indices }] }))
  } finally {
    call(() => native.dispose()) // the session has them now
  }
}

/** A pool's labels with the null label in place of the classes. */
function untold(core: Core, { source }: PlannedPool, labels: Int32Array, nullLabel: number): Int32Array {
  const { timesteps } = core.settings.schedule
  return labels.map((label) => (source.stopAtTimestep ? nullLabel * timesteps + (label % timesteps) : nullLabel))
}

/** The first pool of clean images that a task begins with; undefined where its objective has none. */
export async function firstPool(
  core: Core,
  pools: readonly PlannedPool[],
  filling: Filling,
): Promise<ReplayImages | undefined> {
  const number = pools.findIndex(({ source }) => !source.stopAtTimestep)
  if (number < 0) return undefined
  await classesTold(pools[number]!, filling) // what is wrong with them is to be known before
  const { images, labels } = await generate(core, pools, number, 0, filling)
  // A copy: what becomes of it must not change what the task is learned from.
  const data = new Uint8Array(images.length)
  for (let from = 0; from < images.length; from += copiedAtOnce) {
    data.set(images.subarray(from, from + copiedAtOnce), from)
    await setImmediate()
  }
  const batch = { data, count: images.length / pixelsOf(core.settings.unet), ...shapeOf(core.settings.unet) }
  return filling.weights ? { ...batch, labels: labels.slice() } : batch
}

async function generate(
  core: Core,
  pools: readonly PlannedPool[],
  number: number,
  round: number,
  { task, weights, batchSize, onPool, signal, where }: Filling,
): Promise<PoolImages> {
  const { source, images: total, timesteps } = pools[number] as PlannedPool
  const { sampler, stopAtTimestep } = source
  // Noise of its own for each task, for each of its pools and for each call.
  const seed = live(core).state.seed + 2 ** 32 * task.number
  const first = (round * pools.length + number) * mostCalls
  const what = [sampler, stopAtTimestep ?? false, timesteps, total, batchSize, weights && [...weights]]
  const key = JSON.stringify([what, seed, first, core.teachers])
  if (core.pool?.key === key) return core.pool
  core.pool = undefined
  const each = pixelsOf(core.settings.unet)
  const images = stopAtTimestep ? new Float32Array(total * each) : new Uint8Array(total * each)
  const { schedule } = core.settings
  const table = timestepTable(timesteps, schedule, where)
  const [begin, end] = rangeOf(timesteps) ?? [0, schedule.timesteps]
  const random = stopAtTimestep ? uniform(seed, first) : () => 0
  // In random order, as the classes are in that of the positions.
  const strata = table?.stratified ? torchRandperm(total, Math.floor(random() * 2 ** 32)) : undefined
  const timestep = (i: number) => {
    const u = random()
    return begin + (table ? placeIn(table, strata ? (strata[i]! + u) / total : u) : Math.floor(u * (end - begin)))
  }
  const classAt = weights && proportioned(weights, total)
  const numbers = new Int32Array(total)
  const distance = stopAtTimestep ? schedule.timesteps : 1
  const { group } = core.settings
  for (let from = 0; from < total; from += atOnce) {
    const count = Math.min(atOnce, total - from)
    const use = { purpose: sampleUses.pool, part: first + from / atOnce }
    const labels = classAt && new Int32Array(count).map((_, i) => classAt(from + i))
    const options = { weights: 'teacher' as const, count, batchSize, sampler, labels, seed, use }
    const stopTimesteps = new Int32Array(count).map((_, i) => timestep(from + i))
    numbers.set(
      stopTimesteps.map((t, i) => (labels?.[i] ?? 0) * distance + t),
      from,
    )
    if (group && (from / atOnce) % group.size !== group.rank) continue // another process generates them
    const some = await withCancel(signal, (flag: CancelFlag) =>
      call(async () =>
        stopAtTimestep
          ? (await live(core).sample({ ...options, stopTimesteps, format: 'float32' }, flag)).data
          : live(core).sample({ ...options, format: 'uint8' }, flag),
      ),
    )
    images.set(some, from * each)
    onPool?.({ task: task.number, images: from + count, total } satisfies PoolProgress)
  }
  await group?.gather(images, signal)
  const pool = { key, images, labels: numbers }
  core.pool = pool
  return pool
}

/** @returns numbers in [0, 1), one after the other */
function uniform(seed: number, part: number): () => number {
  const random = mersenneTwister(
    (Math.imul(seed % 2 ** 32, 0x9e3779b9) ^ Math.imul(seed / 2 ** 32, 0x85ebca6b) ^ part) >>> 0,
  )
  return () => random() / 2 ** 32
}

/**
 * Each position as often as makes all lists equally long, as nearly as whole numbers allow. Empty lists stay empty.
 *
 * @param most positions in all, at least one for each list. Longer lists lose their end rather than evenness: a task draws
 * more than `most` images before it has seen all.
 */
export async function evened(lists: readonly (readonly number[])[], most = mostPositions): Promise<Int32Array> {
  const filled = lists.filter(({ length }) => length > 0)
  const longest = Math.min(Math.max(...filled.map(({ length }) => length)), Math.floor(most / filled.length))
  const positions = new Int32Array(filled.length * longest)
  for (const [n, list] of filled.entries()) {
    for (let i = 0; i < longest; i++) positions[n * longest + i] = list[i % list.length]!
    await setImmediate() // they may be many
  }
  return positions
}

/** The classes of the earlier tasks, and where the classifier has their logits. */
interface ClassesTold {
  readonly names: readonly string[]
  readonly columns: readonly number[]
}

/**
 * @returns undefined for a pool whose images a classifier doesn't tell apart
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` where the classifier can't tell the classes of the earlier tasks, or the pool can't keep some of each
 */
async function classesTold(
  { even, keep, images }: PlannedPool,
  { task, weights, classifier, where }: Filling,
): Promise<ClassesTold | undefined> {
  if (!even || weights) return undefined
  const { classes } = classifier as ReplayClassifier
  const seen = new Set<string>()
  for (const [i, earlier] of task.earlier.entries()) {
    const own = classNamesOf(earlier)
    if (own.length === 0) {
      throw invalid(
        `${where}: the replay pool is to be drawn from evenly by class, and the classes of task ${earlier.number ?? i + 1} aren't known; expected them ` +
          "in task.earlier, or a pool with classes: 'as-generated'",
      )
    }
    for (const name of own) seen.add(name)
    await setImmediate()
  }
  const names = [...seen]
  if (names.length === 0) {
    throw invalid(
      `${where}: the replay pool is to be drawn from evenly by class, and the task has no earlier tasks with classes; expected them in ` +
        'task.earlier',
    )
  }
  const columns = names.map((name) => {
    const column = classes.indexOf(name)
    if (column >= 0) return column
    throw invalid(
      `${where}: the classifier doesn't know the class ${name} of an earlier task; it knows ${classes.join(', ')}`,
    )
  })
  if (keep && images < names.length) {
    throw invalid(
      `${where}: the replay pool has ${images} images and is to keep some of each of ${names.length} classes; expected at least ` +
        `${names.length} images`,
    )
  }
  return { names, columns }
}

/** A pool's images by class, as the classifier tells them. */
async function sortByClass(
  core: Core,
  { images }: PoolImages,
  { names, columns }: ClassesTold,
  { task, classifier, onPool, signal, where }: Filling,
): Promise<SortedImages> {
  const { classes, classify } = classifier as ReplayClassifier
  const each = pixelsOf(core.settings.unet)
  const total = images.length / each
  const { group } = core.settings
  // By the first process of a group: by another one's rounding an image might be of another class.
  const found = new Float64Array(total)
  for (let from = 0; from < total && (group?.rank ?? 0) === 0; from += atOnce) {
    signal?.throwIfAborted()
    const count = Math.min(atOnce, total - from)
    // A copy, as the classifier may be the user's own.
    const data = images.slice(from * each, (from + count) * each) as Uint8Array
    const { logits } = await classify.call(classifier, { data, count, ...shapeOf(core.settings.unet) })
    if (!types.isFloat32Array(logits) || logits.length !== count * classes.length || !logits.every(Number.isFinite)) {
      throw new ContinualDiffusionError(
        'ERR_BAD_DATA',
        `${where}: the classifier gave ${logits?.length} logits for ${count} images of ${classes.length} classes; expected a ` +
          `Float32Array of ${count * classes.length} finite numbers`,
      )
    }
    for (let i = 0; i < count; i++) {
      const row = columns.map((column) => logits[i * classes.length + column] as number)
      found[from + i] = row.indexOf(Math.max(...row))
    }
  }
  await group?.sum(found, signal)
  const byClass: number[][] = columns.map(() => [])
  for (let from = 0; from < total; from += listedAtOnce) {
    for (let i = from; i < Math.min(total, from + listedAtOnce); i++) byClass[found[i]!]?.push(i)
    await setImmediate()
  }
  const counts = Object.fromEntries(names.map((name, i) => [name, byClass[i]?.length ?? 0]))
  onPool?.({ task: task.number, images: total, total, classes: counts })
  return { images: images as Uint8Array, ...shapeOf(core.settings.unet), names, byClass }
}
