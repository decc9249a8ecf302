/** How the benchmarks measure: in turn, and by the median. */
import { spawnSync } from 'node:child_process'

/** @param {readonly number[]} values at least one */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (/** @type {number} */ i) => /** @type {number} */ (sorted[i])
  return (at(Math.ceil(values.length / 2) - 1) + at(Math.floor(values.length / 2))) / 2
}

/** @param {() => Promise<unknown>} work */
export async function milliseconds(work) {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/**
 * Measures several things round after round, so that what else the machine does meets all of them alike: for `seconds`, but
 * at least three rounds, after one that doesn't count.
 * @template {string} Name
 * @param {number} seconds
 * @param {Record<Name, () => Promise<number>>} measurements each gives milliseconds
 * @returns {Promise<{ rounds: number, medians: Record<Name, number>, byRound: Record<Name, number[]> }>}
 */
export async function inTurn(seconds, measurements) {
  if (!(seconds >= 0)) throw new Error(`--seconds is ${seconds}; expected a number from 0`)
  /** @type {[Name, () => Promise<number>, number[]][]} */
  const all = /** @type {Name[]} */ (Object.keys(measurements)).map((name) => [name, measurements[name], []])
  let rounds = -1
  for (let end = Number.POSITIVE_INFINITY; rounds < 3 || performance.now() < end; rounds++) {
    if (rounds === 0) end = performance.now() + seconds * 1000
    for (const [, measure, found] of all) {
      const value = await measure()
      if (rounds >= 0) found.push(value)
    }
  }
  const byRound = /** @type {Record<Name, number[]>} */ (
    Object.fromEntries(all.map(([name, , found]) => [name, found]))
  )
  const medians = Object.fromEntries(all.map(([name, , found]) => [name, median(found)]))
  return { rounds, medians: /** @type {Record<Name, number>} */ (medians), byRound }
}

/** The most memory that this process has had, in MiB: its own on the machine. */
export function peakMemory() {
  return process.resourceUsage().maxRSS / 1024
}

/**
 * What is in use of a GPU, in MiB, by all processes; undefined on the CPU. libtorch gives none back while it runs, so
 * afterwards this is the peak.
 * @param {string} device
 */
export function deviceMemory(device) {
  if (device === 'cpu') return undefined
  const query = ['--query-gpu=memory.used', '--format=csv,noheader,nounits', '-i', device.replace('cuda:', '')]
  return Number(spawnSync('nvidia-smi', query, { encoding: 'utf8' }).stdout)
}
